/** A directory of the host that files are put into, beneath its descriptor: no link in it is ever followed. */
import { fail } from "../core/error.ts";
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { randomName } from "../sys/path-bytes.ts";
import type { Fd, Stat, Sys } from "../sys/sys.ts";

const OPEN_DIR = k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW;

/** Something that is there; holds its directory open. */
export interface Present extends Disposable {
  isFile: boolean;
  size: number;
  /** For reading; the caller closes it. Only for a regular file. */
  open(): Fd;
}

export interface Move {
  dir: Fd;
  name: string;
  /** Relative, without "." and "..". */
  path: string;
}

export interface PutOptions {
  overwrite: boolean;
  /** On the same file system: takes what is replaced, and what is taken back. */
  staging: Fd;
  /** Takes back what was done. */
  undo: DisposableStack;
}

export class HostDirectory implements Disposable {
  readonly fd: Fd;
  readonly #sys: Sys;
  readonly #path: string;
  readonly #open: Fd[] = [];

  private constructor(sys: Sys, path: string, fd: Fd) {
    this.#sys = sys;
    this.#path = path;
    this.fd = fd;
  }

  /** A link as the directory itself is the caller's choice and followed. */
  static open(sys: Sys, path: string): HostDirectory {
    return new HostDirectory(sys, path, sys.open(path, k.O_RDONLY | k.O_DIRECTORY));
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) this.#sys.close(fd);
    this.#sys.close(this.fd);
  }

  /** Undefined if there is nothing. Errors: invalid-argument where a link or a file stands in the way. */
  find(path: string): Present | undefined {
    const parts = path.split("/");
    const name = parts.pop() as string;
    const dir = this.#enter(parts);
    if (dir === undefined) return undefined;
    const stat = this.#lstat(dir, name);
    if (stat === undefined) {
      this.#sys.close(dir);
      return undefined;
    }
    return {
      isFile: (stat.mode & k.S_IFMT) === k.S_IFREG,
      size: stat.size,
      open: () => this.#sys.openat(dir, name, k.O_RDONLY | k.O_NOFOLLOW | k.O_NONBLOCK),
      [Symbol.dispose]: () => this.#sys.close(dir),
    };
  }

  taken(path: string): Error {
    return fail("already-exists", `"${this.#path}/${path}" exists already`, {
      reason: "file-exists",
      hint: "use --overwrite to replace it",
    });
  }

  /** Renames something to its place, with the directories it needs. Errors: already-exists, invalid-argument as {@link find}. */
  put({ dir: from, name: as, path }: Move, options: PutOptions): void {
    const { staging, undo } = options;
    const parts = path.split("/");
    const name = parts.pop() as string;
    const dir = this.#enter(parts, undo) as Fd;
    // Stays open for whoever takes things back.
    this.#open.push(dir);
    if (!this.#renameFresh(from, as, dir, name)) {
      if (!options.overwrite) throw this.taken(path);
      const old = `old-${randomName()}`;
      this.#sys.rename(dir, name, staging, old);
      undo.defer(() => this.#sys.rename(staging, old, dir, name));
      this.#sys.rename(from, as, dir, name, k.RENAME_NOREPLACE);
    }
    undo.defer(() => this.#sys.rename(dir, name, staging, `back-${randomName()}`));
  }

  /** False if there is something of that name. */
  #renameFresh(from: Fd, as: string, dir: Fd, name: string): boolean {
    try {
      this.#sys.rename(from, as, dir, name, k.RENAME_NOREPLACE);
      return true;
    } catch (error) {
      if (hasCode(error, "EEXIST")) return false;
      // Some network file systems do not have this kind of rename.
      if (!hasCode(error, "EINVAL") || this.#lstat(dir, name) !== undefined) throw error;
      this.#sys.rename(from, as, dir, name);
      return true;
    }
  }

  #lstat(dir: Fd, name: string): Stat | undefined {
    try {
      return this.#sys.stat(dir, name, k.AT_SYMLINK_NOFOLLOW);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** The directory at the end of the parts; the caller closes it. Missing ones are made where they can be taken back, else it is undefined. */
  #enter(parts: string[], undo?: DisposableStack): Fd | undefined {
    let dir = this.#sys.openat(this.fd, ".", OPEN_DIR);
    for (const [at, part] of parts.entries()) {
      let next: Fd | undefined;
      try {
        next = this.#step(dir, part, undo);
      } catch (error) {
        throw hasCode(error, "ENOTDIR", "ELOOP") ? this.#inTheWay(parts.slice(0, at + 1)) : error;
      } finally {
        this.#sys.close(dir);
      }
      if (next === undefined) return undefined;
      dir = next;
    }
    return dir;
  }

  #step(dir: Fd, part: string, undo: DisposableStack | undefined): Fd | undefined {
    try {
      return this.#sys.openat(dir, part, OPEN_DIR);
    } catch (error) {
      if (!hasCode(error, "ENOENT")) throw error;
    }
    if (undo === undefined) return undefined;
    this.#sys.mkdir(dir, part, 0o777);
    const parent = this.#sys.dup(dir);
    this.#open.push(parent);
    undo.defer(() => this.#sys.unlink(parent, part, k.AT_REMOVEDIR));
    return this.#sys.openat(dir, part, OPEN_DIR);
  }

  #inTheWay(parts: string[]): Error {
    return fail("invalid-argument", `"${this.#path}/${parts.join("/")}" is not a directory, or is a link`, {
      reason: "path-in-the-way",
      hint: "choose another directory",
    });
  }
}
