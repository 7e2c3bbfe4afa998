/**
 * The one way into a tree that others have written: a container's root, a layer, a volume, a build context.
 *
 * Every path is resolved by the kernel with the tree as its root (openat2 RESOLVE_IN_ROOT |
 * RESOLVE_NO_MAGICLINKS): absolute paths and links start at the tree's root, ".." stops there, /proc's magic links are refused.
 * Nothing is checked first and used later, so there is no race to win. Paths are text or bytes; "", "." and "/" are the root itself.
 *
 * Errors: SysError with the path as given (ENOENT, ENOTDIR, ELOOP for a magic link or too many links, …).
 */
import { fail } from "../core/error.ts";
import * as k from "./const.ts";
import { hasCode } from "./errno.ts";
import { components, isAbsolute, isDotDot, joined, randomName, toBytes } from "./path-bytes.ts";
import { removeTree } from "./remove-tree.ts";
import type { Fd, Name, Stat, Sys } from "./sys.ts";

const IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS;
const DIR_PATH = k.O_PATH | k.O_DIRECTORY;

/** As the kernel's own limit on links in one path. */
const MAX_LINKS = 40;

export interface Owner {
  uid: number;
  gid: number;
}

export interface Parent {
  /** Descriptor of the directory, possibly O_PATH; the caller closes it. */
  dir: Fd;
  /** Last component; never ".", "..", empty or with a slash. Use it only relative to `dir`, with calls that do not follow links. */
  name: Uint8Array;
  /** Directories that `create` made, outermost first, as paths relative to the root. */
  created: Uint8Array[];
}

interface DirectoryMode {
  mode: number;
  owner?: Owner | undefined;
}

export class Rooted {
  readonly fd: Fd;
  readonly #sys: Sys;

  private constructor(sys: Sys, fd: Fd) {
    this.#sys = sys;
    this.fd = fd;
  }

  /** `path` is trusted and must be a directory; a link in its last component is followed. */
  static open(sys: Sys, path: Name): Rooted {
    return new Rooted(sys, sys.open(path, DIR_PATH));
  }

  /** A directory that is open already; the descriptor is this object's from now on. */
  static at(sys: Sys, fd: Fd): Rooted {
    return new Rooted(sys, fd);
  }

  [Symbol.dispose](): void {
    this.#sys.close(this.fd);
  }

  /**
   * Opens what the path leads to; the caller closes it. With O_NOFOLLOW the last component is not followed
   * (ELOOP, or the link itself with O_PATH); O_CREAT through a link creates its target inside the root. Opening
   * a fifo or a device acts on it: for files of unknown type use {@link openRegular}.
   */
  openFile(path: Name, flags: number, mode = 0): Fd {
    const request = { flags, mode: (flags & k.O_CREAT) === 0 ? 0 : mode, resolve: IN_ROOT };
    return this.#sys.openat2(this.fd, path.length === 0 ? "." : path, request);
  }

  /** Opens a regular file for reading without ever opening anything else. Errors: invalid-argument if it is none. Needs /proc. */
  openRegular(path: Name): { fd: Fd; stat: Stat } {
    return this.#at(path, k.O_PATH, (fd) => {
      const stat = this.#sys.stat(fd, "", 0);
      if ((stat.mode & k.S_IFMT) !== k.S_IFREG) {
        throw fail("invalid-argument", `"${toText(path)}" is not a regular file`, { reason: "not-regular" });
      }
      return { fd: this.#sys.open(`/proc/self/fd/${fd}`, k.O_RDONLY | k.O_NONBLOCK | k.O_NOCTTY), stat };
    });
  }

  /**
   * The directory that the last component lies in. The path before it is resolved in the root; the
   * last component itself is not looked at. With `create`, missing directories are made (mode 0755
   * unless given, exactly: the umask does not count); a dangling link on the way has its target made, inside the root.
   * Errors: invalid-argument if the last component is ".." or there is none.
   */
  parent(path: Name, options: { create?: boolean; mode?: number; owner?: Owner } = {}): Parent {
    const parts = components(path);
    const name = parts.pop();
    if (name === undefined || isDotDot(name)) {
      throw fail("invalid-argument", `"${toText(path)}" does not name an entry of a directory`, {
        reason: "no-last-component",
      });
    }
    const created: Uint8Array[] = [];
    if (options.create !== true) return { dir: this.openFile(joined(parts), DIR_PATH), name, created };
    const how = { mode: options.mode ?? 0o755, owner: options.owner };
    return { dir: this.#openOrMake(parts, how, created), name, created };
  }

  /** Of the entry itself, not of what a link leads to. */
  lstat(path: Name): Stat {
    return this.#at(path, k.O_PATH | k.O_NOFOLLOW, (fd) => this.#sys.stat(fd, "", 0));
  }

  stat(path: Name): Stat {
    return this.#at(path, k.O_PATH, (fd) => this.#sys.stat(fd, "", 0));
  }

  /** True if the path leads to something; a dangling link does not, nor does a path through a non-directory. */
  exists(path: Name): boolean {
    try {
      this.#sys.close(this.openFile(path, k.O_PATH));
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return false;
      throw error;
    }
  }

  /** Whole contents. Errors: invalid-argument if not a regular file, resource-exhausted if longer than `limit` bytes. */
  readFile(path: Name, limit: number): Uint8Array {
    const { fd, stat } = this.openRegular(path);
    try {
      // One byte more than it should have, to see the end; the file may still be growing.
      let into = new Uint8Array(Math.min(stat.size, limit) + 1);
      let length = 0;
      for (;;) {
        const more = this.#sys.read(fd, into.subarray(length));
        if (more === 0) return into.subarray(0, length);
        length += more;
        if (length > limit) break;
        if (length === into.length) into = Buffer.concat([into], Math.min(length * 2, limit + 1));
      }
      throw fail("resource-exhausted", `"${toText(path)}" is larger than ${limit} bytes`, {
        reason: "file-too-large",
      });
    } finally {
      this.#sys.close(fd);
    }
  }

  readlink(path: Name): Uint8Array {
    return this.#at(path, k.O_PATH | k.O_NOFOLLOW, (fd) => this.#sys.readlink(fd, ""));
  }

  /** `mkdir -p`: the last component may exist as a directory or as a link to one. Returns what it made, outermost first. */
  mkdirAll(path: Name, mode: number, owner?: Owner): Uint8Array[] {
    const created: Uint8Array[] = [];
    this.#sys.close(this.#openOrMake(components(path), { mode, owner }, created));
    return created;
  }

  /**
   * Puts a file there in one step (written aside, then renamed over the last component, which is not
   * followed). `parents` makes missing directories. Errors: EISDIR, resource-exhausted; nothing is left behind then.
   */
  writeFile(
    path: Name,
    bytes: Uint8Array,
    options: { mode?: number; uid?: number; gid?: number; parents?: boolean } = {},
  ): void {
    const { dir, name } = this.parent(path, { create: options.parents === true });
    const aside = `.berth-${randomName()}`;
    using undo = new DisposableStack();
    undo.defer(() => this.#sys.close(dir));
    const fd = this.#sys.openat(dir, aside, k.O_WRONLY | k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW, 0o600);
    undo.defer(() => this.#sys.close(fd));
    try {
      this.#sys.write(fd, bytes);
      this.#sys.chown(fd, "", options.uid ?? 0, options.gid ?? 0);
      this.#sys.fchmod(fd, options.mode ?? 0o644);
      this.#sys.rename(dir, aside, dir, name);
    } catch (error) {
      this.#sys.unlink(dir, aside);
      throw error;
    }
  }

  /** Removes the entry and all below it; see {@link removeTree}. Idempotent, also if the directory it would lie in is missing. */
  remove(path: Name): void {
    let parent: Parent;
    try {
      parent = this.parent(path);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return;
      throw error;
    }
    try {
      removeTree(this.#sys, parent.dir, parent.name);
    } finally {
      this.#sys.close(parent.dir);
    }
  }

  /** The path with all links resolved, absolute within the root ("/" for the root itself). True at the moment of the call only. */
  realpath(path: Name): Uint8Array {
    const root = this.#hostPath(this.fd);
    const found = this.#at(path, k.O_PATH, (fd) => this.#hostPath(fd));
    const prefix = root.length === 1 ? 0 : root.length;
    const inside = Buffer.compare(found.subarray(0, prefix), root.subarray(0, prefix)) === 0;
    if (!inside || (found.length > prefix && !isAbsolute(found.subarray(prefix)))) {
      throw fail("aborted", `"${toText(path)}" moved while it was being resolved`, { reason: "moved" });
    }
    return found.length === prefix ? Buffer.from("/") : found.slice(prefix);
  }

  #hostPath(fd: Fd): Uint8Array {
    return this.#sys.readlink(k.AT_FDCWD, `/proc/self/fd/${fd}`);
  }

  #at<T>(path: Name, flags: number, body: (fd: Fd) => T): T {
    const fd = this.openFile(path, flags);
    try {
      return body(fd);
    } finally {
      this.#sys.close(fd);
    }
  }

  #openOrMake(parts: Uint8Array[], how: DirectoryMode, created: Uint8Array[]): Fd {
    let wanted = parts;
    for (let links = 0; ; links++) {
      const existing = this.#deepest(wanted);
      if (existing.depth === wanted.length) return existing.fd;
      const made = this.#makeBelow(existing, wanted, { how, created });
      if (typeof made === "number") return made;
      if (links >= MAX_LINKS) {
        throw fail("invalid-argument", `too many links in "${toText(joined(parts))}"`, { reason: "ELOOP" });
      }
      wanted = made;
    }
  }

  /** Opens the longest leading part of the path that is there. */
  #deepest(parts: Uint8Array[]): { fd: Fd; depth: number } {
    for (let depth = parts.length; ; depth--) {
      try {
        return { fd: this.openFile(joined(parts.slice(0, depth)), DIR_PATH), depth };
      } catch (error) {
        if (depth === 0 || !hasCode(error, "ENOENT")) throw error;
      }
    }
  }

  /**
   * Makes the missing directories one by one. Returns the innermost, or, where a dangling link stands in
   * the way, the path to go on with: the link's target in place of the link. Closes `from.fd`.
   */
  #makeBelow(
    from: { fd: Fd; depth: number },
    parts: Uint8Array[],
    { how, created }: { how: DirectoryMode; created: Uint8Array[] },
  ): Fd | Uint8Array[] {
    let dir = from.fd;
    try {
      for (let depth = from.depth; depth < parts.length; depth++) {
        const path = parts.slice(0, depth + 1);
        const next = this.#makeOne(dir, path, { how, created });
        if (typeof next !== "number") return [...next, ...parts.slice(depth + 1)];
        this.#sys.close(dir);
        dir = next;
      }
      const result = dir;
      dir = -1;
      return result;
    } finally {
      if (dir >= 0) this.#sys.close(dir);
    }
  }

  #makeOne(
    dir: Fd,
    path: Uint8Array[],
    { how, created }: { how: DirectoryMode; created: Uint8Array[] },
  ): Fd | Uint8Array[] {
    const name = path.at(-1) as Uint8Array;
    // ".." after a directory that was just made: only the kernel, from the root, may say where that is.
    if (isDotDot(name)) return this.openFile(joined(path), DIR_PATH);
    try {
      this.#sys.mkdir(dir, name, how.mode);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      return this.#existing(dir, path);
    }
    const fd = this.#sys.openat(dir, name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    created.push(joined(path));
    try {
      this.#sys.fchmod(fd, how.mode);
      if (how.owner !== undefined) this.#sys.chown(fd, "", how.owner.uid, how.owner.gid);
    } catch (error) {
      this.#sys.close(fd);
      throw error;
    }
    return fd;
  }

  /** Something of that name is there though it could not be opened before: a dangling link, or somebody was faster. */
  #existing(dir: Fd, path: Uint8Array[]): Fd | Uint8Array[] {
    const name = path.at(-1) as Uint8Array;
    if ((this.#sys.stat(dir, name, k.AT_SYMLINK_NOFOLLOW).mode & k.S_IFMT) !== k.S_IFLNK) {
      return this.#sys.openat(dir, name, DIR_PATH | k.O_NOFOLLOW);
    }
    const target = this.#sys.readlink(dir, name);
    return [...(isAbsolute(target) ? [] : path.slice(0, -1)), ...components(target)];
  }
}

function toText(path: Name): string {
  return Buffer.from(toBytes(path)).toString();
}
