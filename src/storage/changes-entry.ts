/**
 * One entry of a tree on disk, looked at without following or opening what should not be: its header for a tar,
 * and what overlayfs' marks on it mean.
 */
import type { EntryType } from "../archive/archive.ts";
import type { TarHeader } from "../archive/tar-writer.ts";
import { fail } from "../core/error.ts";
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Name, Stat, Sys } from "../sys/sys.ts";
import { shown } from "./unpack-tree.ts";
import { isForeignXattr } from "./unpack-xattrs.ts";

const TYPES: Record<number, EntryType> = {
  [k.S_IFREG]: "file",
  [k.S_IFDIR]: "directory",
  [k.S_IFLNK]: "symlink",
  [k.S_IFCHR]: "char",
  [k.S_IFBLK]: "block",
  [k.S_IFIFO]: "fifo",
};

const OVERLAY = /^(?:trusted|user)\.overlay\.(.+)$/;
const OPAQUE_VALUES = ["y".charCodeAt(0), "x".charCodeAt(0)];

export interface Found {
  stat: Stat;
  /** A whiteout of overlayfs, in either of its forms. */
  whiteout: boolean;
  /** A directory that hides what is below it. */
  opaque: boolean;
  xattrs: Map<string, Uint8Array>;
}

/** Where to reach an entry's attributes by a path whose only untrusted part is the last, which is not followed. */
function attributePath(dir: Fd, name: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), name]);
}

/**
 * Looks at `name` in `dir`. Undefined if it is gone, which happens in a tree that is in use. With `overlay`, the marks of
 * overlayfs are understood. Errors: unimplemented for marks that point into other layers.
 */
export function look(sys: Sys, dir: Fd, name: Uint8Array, overlay: boolean): Found | undefined {
  try {
    const stat = sys.stat(dir, name, k.AT_SYMLINK_NOFOLLOW);
    return describe(sys, { stat, target: attributePath(dir, name), name }, overlay);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** As {@link look}, for something that is open. */
export function lookAt(sys: Sys, fd: Fd, overlay: boolean): Found {
  return describe(sys, { stat: sys.stat(fd, "", 0), target: fd, name: Buffer.from(".") }, overlay);
}

interface Seen {
  stat: Stat;
  target: Name | Fd;
  name: Uint8Array;
}

function describe(sys: Sys, { stat, target, name }: Seen, overlay: boolean): Found {
  const device = stat.rdev.major === 0 && stat.rdev.minor === 0;
  const found: Found = { stat, whiteout: false, opaque: false, xattrs: new Map() };
  if (overlay && (stat.mode & k.S_IFMT) === k.S_IFCHR && device) return { ...found, whiteout: true };
  for (const key of sys.listxattr(target)) {
    if (overlay) readMark(sys, { key, target, name }, found);
    if (isForeignXattr(key)) continue;
    const value = sys.getxattr(target, key);
    if (value !== undefined) found.xattrs.set(key, value.slice());
  }
  return found;
}

function readMark(sys: Sys, at: { key: string; target: Name | Fd; name: Uint8Array }, found: Found): void {
  const mark = OVERLAY.exec(at.key)?.[1];
  if (mark === "opaque") found.opaque = OPAQUE_VALUES.includes(sys.getxattr(at.target, at.key)?.[0] ?? 0);
  else if (mark === "whiteout") found.whiteout = true;
  else if (mark === "redirect" || mark === "metacopy") {
    throw fail("unimplemented", `"${shown(at.name)}" has its content in another layer (overlay ${mark})`, {
      reason: "overlay-mark",
      hint: "overlay must be mounted with redirect_dir=off and metacopy=off",
    });
  }
}

/** The tar header, without name and content; undefined for sockets, which tar cannot hold. */
export function headerOf({ stat, xattrs }: Found): Omit<TarHeader, "name"> | undefined {
  const type = TYPES[stat.mode & k.S_IFMT];
  if (type === undefined) return undefined;
  return {
    type,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    size: type === "file" ? stat.size : 0,
    mtimeNs: stat.mtimeNs,
    device: stat.rdev,
    xattrs,
  };
}
