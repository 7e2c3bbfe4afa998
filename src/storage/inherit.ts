/**
 * Directories that a layer's tar does not list but has entries in ("implied" ones). Unpacked on its own, a layer
 * gets them as 0755 root:root; what they must look like is what the layers below say. Without this an image's
 * /tmp would lose its sticky bit to any layer that adds a file in it.
 */
import {
  AT_FDCWD,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
} from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Name, Sys } from "../sys/sys.ts";

const OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
const SLASH = 0x2f;

/** Overlay's own marks belong to one directory of one layer; labels belong to the host. */
function isCopied(key: string): boolean {
  return (
    !key.startsWith("trusted.overlay.") && !key.startsWith("user.overlay.") && key !== "security.selinux"
  );
}

export function copyXattrs(sys: Sys, from: Name | Fd, to: Name | Fd): void {
  for (const key of sys.listxattr(from)) {
    if (!isCopied(key)) continue;
    const value = sys.getxattr(from, key);
    if (value !== undefined) sys.setxattr(to, key, value);
  }
}

/** One directory on the way: which of the lowers can be seen through it, topmost first. */
interface Level {
  name: string;
  lowers: Fd[];
}

/**
 * Gives each implied directory of `diff` the mode, owner, extended attributes and times of the topmost directory at the
 * same path in `lowers` (diff directories, topmost first), where it is visible from above. `implied` holds paths
 * relative to `diff`, as bytes, "" for the root itself.
 */
export function inheritMetadata(sys: Sys, diff: string, lowers: string[], implied: Iterable<Name>): void {
  const paths = [...implied].map((path) => split(path)).toSorted(comparePaths);
  if (paths.length === 0 || lowers.length === 0) return;
  const walk = new Walk(sys, diff, lowers);
  try {
    for (const path of paths) walk.visit(path);
  } finally {
    walk.close();
  }
}

/** Holds one descriptor a layer, however deep it goes. */
class Walk {
  readonly #sys: Sys;
  readonly #own: Fd;
  readonly #roots: Fd[] = [];
  readonly #levels: Level[] = [];

  constructor(sys: Sys, diff: string, lowers: string[]) {
    this.#sys = sys;
    this.#own = sys.openat(AT_FDCWD, diff, OPEN_DIR);
    for (const lower of lowers) this.#roots.push(sys.openat(AT_FDCWD, lower, OPEN_DIR));
    this.#levels.push({ name: "", lowers: this.#roots });
  }

  visit(path: string[]): void {
    let depth = 1;
    while (depth < this.#levels.length && this.#levels[depth]?.name === path[depth - 1]) depth++;
    this.#levels.length = depth;
    for (; depth <= path.length; depth++) this.#levels.push(this.#below(path.slice(0, depth)));
    const from = this.#levels[path.length]?.lowers[0];
    if (from !== undefined) this.#copy(from, toBytes(path));
  }

  #below(path: string[]): Level {
    const level: Level = { name: path.at(-1) as string, lowers: [] };
    const bytes = toBytes(path);
    // An opaque directory hides all below it.
    if (this.#look(this.#own, bytes) !== "merged") return level;
    for (const root of this.#levels.at(-1)?.lowers ?? []) {
      const found = this.#look(root, bytes);
      if (found === "merged" || found === "opaque") level.lowers.push(root);
      // A whiteout, a link or a file ends the merged directory as an opaque one does.
      if (found === "opaque" || found === "other") break;
    }
    return level;
  }

  #look(root: Fd, path: Uint8Array): "absent" | "merged" | "opaque" | "other" {
    try {
      const fd = openBelow(this.#sys, root, path);
      try {
        return isOpaque(this.#sys, fd) ? "opaque" : "merged";
      } finally {
        this.#sys.close(fd);
      }
    } catch (error) {
      if (hasCode(error, "ENOENT")) return "absent";
      if (hasCode(error, "ENOTDIR", "ELOOP")) return "other";
      throw error;
    }
  }

  #copy(root: Fd, path: Uint8Array): void {
    const from = openBelow(this.#sys, root, path);
    try {
      const to = openBelow(this.#sys, this.#own, path);
      try {
        copyMetadata(this.#sys, from, to);
      } finally {
        this.#sys.close(to);
      }
    } finally {
      this.#sys.close(from);
    }
  }

  close(): void {
    this.#sys.close(this.#own);
    for (const fd of this.#roots) this.#sys.close(fd);
  }
}

/** Errors: ENOTDIR or ELOOP for anything but a directory reached through directories. */
function openBelow(sys: Sys, root: Fd, path: Uint8Array): Fd {
  const where = path.length === 0 ? "." : path;
  return sys.openat2(root, where, { flags: OPEN_DIR, resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS });
}

function toBytes(path: string[]): Uint8Array {
  return Buffer.from(path.join("/"), "latin1");
}

function copyMetadata(sys: Sys, from: Fd, to: Fd): void {
  const stat = sys.stat(from, "", 0);
  sys.chown(to, "", stat.uid, stat.gid);
  copyXattrs(sys, from, to);
  sys.fchmod(to, stat.mode & 0o7777);
  sys.utimes(to, "", stat.atimeNs, stat.mtimeNs);
}

function isOpaque(sys: Sys, dir: Fd): boolean {
  return ["trusted.overlay.opaque", "user.overlay.opaque"].some(
    (key) => sys.getxattr(dir, key)?.[0] === "y".charCodeAt(0),
  );
}

/** Components as latin1 text, which keeps every byte and compares fast. */
function split(path: Name): string[] {
  const bytes = Buffer.from(path as string);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === SLASH) end--;
  return bytes
    .subarray(0, end)
    .toString("latin1")
    .split("/")
    .filter((part) => part !== "" && part !== ".");
}

/** Parents before children, siblings together: each directory is opened once. */
function comparePaths(a: string[], b: string[]): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [x, y] = [a[i] as string, b[i] as string];
    if (x !== y) return x < y ? -1 : 1;
  }
  return a.length - b.length;
}
