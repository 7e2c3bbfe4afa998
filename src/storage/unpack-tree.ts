/**
 * The directory side of unpacking: where an entry goes, without ever trusting a path.
 *
 * Parents are resolved by the kernel inside the root (see sys/rooted.ts). What is remembered between entries are
 * descriptors of directories, never resolved paths, and all of them are forgotten as soon as anything
 * is removed, because only a removal can change what an already resolved path means.
 */
import { fail } from "../core/error.ts";
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { components, isDotDot, joined } from "../sys/path-bytes.ts";
import { removeTree } from "../sys/remove-tree.ts";
import type { Rooted } from "../sys/rooted.ts";
import type { Fd, Stat, Sys } from "../sys/sys.ts";

/** An entry's place. `dir` belongs to the tree: do not close it, do not keep it past the entry. */
export interface Place {
  dir: Fd;
  name: Uint8Array;
}

/** Open directories kept for the next entries: archives list a directory's files one after the other. */
const MAX_OPEN = 32;
const MAX_PATH = 4095;
/** Bytes of the names of directories without an entry: far above any real layer, and bounded. */
const MAX_IMPLIED = 32 << 20;

/** A path as a map key: exact for any bytes. */
export function keyOf(path: Uint8Array): string {
  return Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString("latin1");
}

/** A path for a message. */
export function shown(path: Uint8Array): string {
  const text = Buffer.from(path).toString().slice(0, 200);
  // oxlint-disable-next-line no-control-regex -- names from an archive must not reach a terminal raw
  return text.replace(/[\u0000-\u001f\u007f]/g, "?");
}

export function pointsOutside(path: Uint8Array): Error {
  return fail("invalid-argument", `tar entry "${shown(path)}" points outside of the archive's root`, {
    reason: "outside-root",
  });
}

/** Components with "." and empty ones dropped and ".." taken back, as by Go's path.Clean. Errors: invalid-argument. */
export function cleanPath(path: Uint8Array): Uint8Array[] {
  if (path.length > MAX_PATH) {
    throw fail("invalid-argument", `tar entry "${shown(path)}…" has a name of ${path.length} bytes`, {
      reason: "name-too-long",
      hint: `Linux allows ${MAX_PATH}`,
    });
  }
  const parts: Uint8Array[] = [];
  for (const part of components(path)) {
    if (!isDotDot(part)) parts.push(part);
    else if (parts.pop() === undefined) throw pointsOutside(path);
  }
  return parts;
}

function isWhiteout(stat: Stat): boolean {
  return (stat.mode & k.S_IFMT) === k.S_IFCHR && stat.rdev.major === 0 && stat.rdev.minor === 0;
}

export class UnpackTree {
  readonly #sys: Sys;
  readonly #root: Rooted;
  readonly #opaqueKey: string;
  readonly #open = new Map<string, Fd>();
  readonly #implied = new Set<string>();
  #impliedBytes = 0;

  /** `overlayXattr` names the attributes that overlayfs will read: "trusted", or "user" without privileges. */
  constructor(sys: Sys, root: Rooted, overlayXattr: "trusted" | "user") {
    this.#sys = sys;
    this.#root = root;
    this.#opaqueKey = `${overlayXattr}.overlay.opaque`;
    this.#implied.add("");
  }

  /** Directories that were made without an entry of their own, outermost first; the empty path is the root. */
  get implied(): Uint8Array[] {
    return [...this.#implied].map((key) => Buffer.from(key, "latin1"));
  }

  /** Takes the directories that are there for implied ones: others are made for entries below them. */
  adopt(): void {
    const found: Uint8Array[][] = [[]];
    for (let parts = found.pop(); parts !== undefined; parts = found.pop()) {
      for (const name of this.#directoriesIn(parts)) {
        const path = [...parts, name];
        this.#implied.add(keyOf(joined(path)));
        found.push(path);
      }
    }
  }

  #directoriesIn(parts: Uint8Array[]): Uint8Array[] {
    const fd = this.#root.openFile(joined(parts), k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    const isDirectory = (name: Uint8Array): boolean =>
      (this.#sys.stat(fd, name, k.AT_SYMLINK_NOFOLLOW).mode & k.S_IFMT) === k.S_IFDIR;
    try {
      return this.#sys
        .readdir(fd)
        .map((entry) => entry.name)
        .filter(isDirectory);
    } finally {
      this.#sys.close(fd);
    }
  }

  get rootFd(): Fd {
    return this.#root.fd;
  }

  [Symbol.dispose](): void {
    this.#forgetAll();
  }

  /** The place of a cleaned, non-empty path; missing directories above it are made. */
  place(parts: Uint8Array[]): Place {
    return { dir: this.#directory(parts.slice(0, -1)), name: parts.at(-1) as Uint8Array };
  }

  /** As {@link place}, but nothing is made: undefined if a directory on the way is missing. */
  find(parts: Uint8Array[]): Place | undefined {
    const name = parts.at(-1);
    if (name === undefined) return undefined;
    if (parts.length === 1) return { dir: this.#root.fd, name };
    const key = keyOf(joined(parts.slice(0, -1)));
    const known = this.#known(key);
    if (known !== undefined) return { dir: known, name };
    try {
      const dir = this.#root.openFile(joined(parts.slice(0, -1)), k.O_PATH | k.O_DIRECTORY);
      this.#remember(key, dir);
      return { dir, name };
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
  }

  /** Of the entry itself; undefined if there is none. */
  lstat(place: Place): Stat | undefined {
    try {
      return this.#sys.stat(place.dir, place.name, k.AT_SYMLINK_NOFOLLOW);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** Removes what is there, however much. */
  clear(place: Place): void {
    const { name } = place;
    removeTree(this.#sys, place.dir, name);
    // The place itself is still in use, and its directory has not moved.
    this.#forgetAll(place.dir);
  }

  /**
   * Makes the directory, or keeps the one that is there, and returns it open; the descriptor is the
   * tree's. One that takes the place of a whiteout hides what lower layers have there: it becomes opaque.
   */
  makeDirectory(parts: Uint8Array[]): Fd {
    const place = this.place(parts);
    let hides = false;
    try {
      this.#sys.mkdir(place.dir, place.name, 0o700);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      const stat = this.lstat(place) as Stat;
      if ((stat.mode & k.S_IFMT) !== k.S_IFDIR) {
        hides = isWhiteout(stat);
        this.clear(place);
        this.#sys.mkdir(place.dir, place.name, 0o700);
      }
    }
    const key = keyOf(joined(parts));
    this.#implied.delete(key);
    const known = this.#open.get(key);
    if (known !== undefined) {
      this.#open.delete(key);
      this.#sys.close(known);
    }
    const fd = this.#sys.openat(place.dir, place.name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    this.#remember(key, fd);
    if (hides) this.#sys.setxattr(fd, this.#opaqueKey, Buffer.from("y"));
    return fd;
  }

  /** Hides what lower layers have in this directory. */
  markOpaque(parts: Uint8Array[]): void {
    const fd = this.openDirectory(parts);
    try {
      this.#sys.setxattr(fd, this.#opaqueKey, Buffer.from("y"));
    } finally {
      this.#sys.close(fd);
    }
  }

  /** The directory, made if missing, open for reading; the caller closes it. */
  openDirectory(parts: Uint8Array[]): Fd {
    this.#directory(parts);
    return this.#root.openFile(joined(parts), k.O_RDONLY | k.O_DIRECTORY);
  }

  /** The directory is this layer's alone: nothing of a lower one may be copied onto it. */
  notImplied(parts: Uint8Array[]): void {
    this.#implied.delete(parts.length === 0 ? "" : keyOf(joined(parts)));
  }

  #directory(parts: Uint8Array[]): Fd {
    if (parts.length === 0) return this.#root.fd;
    const path = joined(parts);
    const key = keyOf(path);
    const known = this.#known(key);
    if (known !== undefined) return known;
    const fd = this.#resolve(parts);
    this.#remember(key, fd);
    return fd;
  }

  #resolve(parts: Uint8Array[]): Fd {
    for (let tries = 0; ; tries++) {
      try {
        return this.#openOrMake(parts);
      } catch (error) {
        if (!hasCode(error, "ENOTDIR")) throw error;
        if (tries < parts.length && this.#replaceWhiteout(parts)) continue;
        throw fail(
          "invalid-argument",
          `tar entry below "${shown(joined(parts))}", which is not a directory`,
          {
            reason: "not-a-directory",
            cause: error,
          },
        );
      }
    }
  }

  #openOrMake(parts: Uint8Array[]): Fd {
    try {
      return this.#root.openFile(joined(parts), k.O_PATH | k.O_DIRECTORY);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
    const child = [...parts, Uint8Array.of(0x78)]; // any name: only its parent is looked at
    const { dir, created } = this.#root.parent(joined(child), { create: true, owner: { uid: 0, gid: 0 } });
    for (const path of created) {
      this.#implied.add(keyOf(path));
      this.#impliedBytes += path.length;
    }
    if (this.#impliedBytes > MAX_IMPLIED) {
      this.#sys.close(dir);
      throw fail("invalid-argument", "too many directories without an entry of their own", {
        reason: "tar-limit",
      });
    }
    return dir;
  }

  /** Turns the first whiteout on the way into an opaque directory: something is put below what was deleted. */
  #replaceWhiteout(parts: Uint8Array[]): boolean {
    for (let depth = 1; depth <= parts.length; depth++) {
      const place = this.find(parts.slice(0, depth));
      const stat = place === undefined ? undefined : this.lstat(place);
      if (stat === undefined || !isWhiteout(stat)) continue;
      const fd = this.makeDirectory(parts.slice(0, depth));
      this.#sys.fchmod(fd, 0o755);
      return true;
    }
    return false;
  }

  /** Moves it to the end of the map: what an entry has in hand is never the one that is closed to make room. */
  #known(key: string): Fd | undefined {
    const fd = this.#open.get(key);
    if (fd === undefined) return undefined;
    this.#open.delete(key);
    this.#open.set(key, fd);
    return fd;
  }

  #remember(key: string, fd: Fd): void {
    this.#open.set(key, fd);
    if (this.#open.size <= MAX_OPEN) return;
    const [oldest] = this.#open;
    if (oldest === undefined) return;
    this.#open.delete(oldest[0]);
    this.#sys.close(oldest[1]);
  }

  #forgetAll(except?: Fd): void {
    for (const [key, fd] of this.#open) {
      if (fd === except) continue;
      this.#open.delete(key);
      this.#sys.close(fd);
    }
  }
}
