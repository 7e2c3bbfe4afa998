/** Extended attributes of unpacked files: which ones a layer may set, and which failures are no reason to stop. */
import type { TarEntry } from "../archive/archive.ts";
import { hasCode } from "../sys/errno.ts";
import { call } from "../sys/libc.ts";
import type { Fd, Name, Sys } from "../sys/sys.ts";
import { type Place, shown } from "./unpack-tree.ts";

/**
 * Overlayfs' own attributes would let a layer redirect a directory to any other or make itself opaque, and
 * SELinux labels are the host's to give. All others are the image's, `security.capability` above all.
 */
export function isForeignXattr(key: string): boolean {
  return key.startsWith("trusted.overlay.") || key.startsWith("user.overlay.") || key === "security.selinux";
}

/**
 * The file system may not have them (ENOTSUP), the file's type may not take them (EPERM for user.* on
 * anything but files and directories), and privileges may be missing (EPERM for trusted.*): all of that is a warning. A lost
 * capability is not: the program that needs it would fail much later.
 */
function isTolerable(error: unknown, key: string): boolean {
  if (hasCode(error, "ENOTSUP", "EOPNOTSUPP")) return true;
  return hasCode(error, "EPERM") && key !== "security.capability";
}

type Warn = (text: string) => void;

function put(sys: Sys, target: Name | Fd, entry: TarEntry, warn: Warn): void {
  for (const [key, value] of entry.xattrs) {
    if (isForeignXattr(key)) continue;
    try {
      sys.setxattr(target, key, value);
    } catch (error) {
      if (!isTolerable(error, key)) throw error;
      warn(`extended attribute "${key.slice(0, 64)}" of "${shown(entry.name)}" left out`);
    }
  }
}

export function putXattrs(sys: Sys, fd: Fd, entry: TarEntry, warn: Warn): void {
  put(sys, fd, entry, warn);
}

/** For what cannot be opened (links, devices): by a bare name in the working directory, which therefore changes. */
export function putXattrsByName(sys: Sys, place: Place, entry: TarEntry, warn: Warn): void {
  if (entry.xattrs.size === 0) return;
  call("fchdir", place.name, place.dir);
  put(sys, place.name, entry, warn);
}
