/**
 * What an upper directory changes in the layers below it, in docker's terms: a directory on the way
 * to a change counts as changed, one that was merely copied up does not, and of what was deleted only
 * the top is named.
 */
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Stat, Sys } from "../sys/sys.ts";
import { type Found, look } from "./changes-entry.ts";
import { keyOf } from "./unpack-tree.ts";

export interface Change {
  /** Added, changed, deleted. */
  kind: "A" | "C" | "D";
  /** Absolute within the tree. */
  path: string;
}

const OPEN_DIR = k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW | k.O_NONBLOCK;

function isDirectory(stat: Stat): boolean {
  return (stat.mode & k.S_IFMT) === k.S_IFDIR;
}

/** As docker's comparison: size and times do not count for directories. */
function differs(a: Found, b: Found): boolean {
  const [x, y] = [a.stat, b.stat];
  if (x.mode !== y.mode || x.uid !== y.uid || x.gid !== y.gid) return true;
  if (x.rdev.major !== y.rdev.major || x.rdev.minor !== y.rdev.minor) return true;
  const capability = (found: Found): Uint8Array =>
    found.xattrs.get("security.capability") ?? new Uint8Array(0);
  if (Buffer.compare(capability(a), capability(b)) !== 0) return true;
  return !isDirectory(x) && (x.size !== y.size || x.mtimeNs !== y.mtimeNs);
}

export class ChangeList {
  readonly #sys: Sys;
  readonly #ignored: ReadonlySet<string>;
  readonly changes: Change[] = [];

  /** `ignored`: absolute paths that do not count, with all below them. */
  constructor(sys: Sys, ignored: ReadonlySet<string> = new Set()) {
    this.#sys = sys;
    this.#ignored = ignored;
  }

  /**
   * Compares a directory with what the lowers (topmost first) show at the same place. Returns whether anything below
   * has changed. `hidden`: the directory is opaque, so the lowers are only what it replaced.
   */
  directory(upper: Fd, lowers: Fd[], at: { path: string; hidden: boolean }): boolean {
    const before = this.changes.length;
    const seen = new Set<string>();
    for (const { name } of this.#sys.readdir(upper)) {
      seen.add(keyOf(name));
      this.#entry(upper, lowers, { name, path: `${at.path}/${Buffer.from(name).toString()}` }, at.hidden);
    }
    if (at.hidden) this.#replaced(lowers, at.path, seen);
    return this.changes.length > before;
  }

  #entry(upper: Fd, lowers: Fd[], at: { name: Uint8Array; path: string }, hidden: boolean): void {
    if (this.#ignored.has(at.path)) return;
    const own = look(this.#sys, upper, at.name, true);
    if (own === undefined) return;
    const old = this.#lower(lowers, at.name);
    if (own.whiteout) {
      if (old !== undefined) this.changes.push({ kind: "D", path: at.path });
      return;
    }
    const isOldDirectory = old !== undefined && isDirectory(old.stat);
    const below = isOldDirectory ? this.#openAll(lowers, at.name) : [];
    try {
      const place = this.changes.length;
      const inside = isDirectory(own.stat)
        ? this.#descend(upper, below, {
            ...at,
            hidden: hidden || own.opaque || (old !== undefined && !isOldDirectory),
          })
        : this.#replaced(below, at.path, new Set());
      if (old === undefined) this.changes.splice(place, 0, { kind: "A", path: at.path });
      else if (inside || differs(own, old)) this.changes.splice(place, 0, { kind: "C", path: at.path });
    } finally {
      for (const fd of below) this.#sys.close(fd);
    }
  }

  #descend(upper: Fd, below: Fd[], at: { name: Uint8Array; path: string; hidden: boolean }): boolean {
    let fd: Fd;
    try {
      fd = this.#sys.openat(upper, at.name, OPEN_DIR);
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return false;
      throw error;
    }
    try {
      return this.directory(fd, below, at);
    } finally {
      this.#sys.close(fd);
    }
  }

  /** What the lowers show and the upper does not have is deleted. */
  #replaced(lowers: Fd[], path: string, kept: Set<string>): boolean {
    const before = this.changes.length;
    const seen = new Set(kept);
    for (const lower of lowers) {
      for (const { name } of this.#sys.readdir(lower)) {
        const key = keyOf(name);
        if (seen.has(key)) continue;
        seen.add(key);
        if (look(this.#sys, lower, name, true)?.whiteout === true) continue;
        this.changes.push({ kind: "D", path: `${path}/${Buffer.from(name).toString()}` });
      }
    }
    return this.changes.length > before;
  }

  /** What the merged lowers show under this name. */
  #lower(lowers: Fd[], name: Uint8Array): Found | undefined {
    for (const lower of lowers) {
      const found = look(this.#sys, lower, name, true);
      if (found !== undefined) return found.whiteout ? undefined : found;
    }
    return undefined;
  }

  /** The directories that merge under this name, topmost first; the caller closes them. */
  #openAll(lowers: Fd[], name: Uint8Array): Fd[] {
    const open: Fd[] = [];
    for (const lower of lowers) {
      const found = look(this.#sys, lower, name, true);
      if (found === undefined) continue;
      if (found.whiteout || !isDirectory(found.stat)) break;
      open.push(this.#sys.openat(lower, name, OPEN_DIR));
      if (found.opaque) break;
    }
    return open;
  }
}
