/**
 * Removing a tree that may be hostile: no link is followed, no mount is entered, and neither the
 * depth nor the width of the tree costs more than a bounded number of descriptors and stack frames.
 */
import { fail } from "../core/error.ts";
import * as k from "./const.ts";
import { hasCode } from "./errno.ts";
import { randomName } from "./path-bytes.ts";
import type { Fd, Name, Sys } from "./sys.ts";

/** Directories below this depth are moved up to the top of the tree before they are emptied. */
const MAX_DEPTH = 48;

class Removal {
  readonly #sys: Sys;
  readonly #top: Fd;
  readonly #mark = randomName();
  readonly #moved: string[] = [];
  #count = 0;

  constructor(sys: Sys, top: Fd) {
    this.#sys = sys;
    this.#top = top;
  }

  run(): void {
    this.#empty(this.#top, 0);
    for (let name = this.#moved.pop(); name !== undefined; name = this.#moved.pop()) {
      this.#removeDirectory(this.#top, name, 1);
    }
  }

  #empty(dir: Fd, depth: number): void {
    for (const { name, type } of this.#sys.readdir(dir)) {
      if (type === k.DT_DIR || !this.#unlinked(dir, name)) this.#descend(dir, name, depth + 1);
    }
  }

  /** False if it is a directory after all (the file system gives no types, or it was swapped). */
  #unlinked(dir: Fd, name: Name): boolean {
    try {
      this.#sys.unlink(dir, name);
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return true;
      if (hasCode(error, "EISDIR")) return false;
      throw error;
    }
  }

  #descend(dir: Fd, name: Name, depth: number): void {
    if (depth <= MAX_DEPTH) return this.#removeDirectory(dir, name, depth);
    const aside = `.berth-rm-${this.#mark}-${this.#count++}`;
    this.#sys.rename(dir, name, this.#top, aside, k.RENAME_NOREPLACE);
    this.#moved.push(aside);
  }

  #removeDirectory(dir: Fd, name: Name, depth: number): void {
    const fd = openToEmpty(this.#sys, dir, name);
    if (fd === undefined) return;
    try {
      this.#empty(fd, depth);
    } finally {
      this.#sys.close(fd);
    }
    this.#sys.unlink(dir, name, k.AT_REMOVEDIR);
  }
}

/** Undefined if it is gone. Errors: in-use for a mount point, because what is mounted there is somebody's data. */
function openToEmpty(sys: Sys, dir: Fd, name: Name): Fd | undefined {
  let fd: Fd;
  try {
    fd = sys.openat(dir, name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW | k.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  if (!sys.stat(fd, "", 0).mountRoot) return fd;
  sys.close(fd);
  throw fail("in-use", `refusing to remove "${Buffer.from(name)}": something is mounted on it`, {
    reason: "mount-point",
    hint: "unmount it first",
  });
}

/** Removes whatever `name` in `dir` is, with all below it; idempotent. Errors: in-use at a mount point (what was removed before stays removed). */
export function removeTree(sys: Sys, dir: Fd, name: Name): void {
  try {
    sys.unlink(dir, name);
    return;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return;
    if (!hasCode(error, "EISDIR")) throw error;
  }
  const top = openToEmpty(sys, dir, name);
  if (top === undefined) return;
  try {
    new Removal(sys, top).run();
  } finally {
    sys.close(top);
  }
  sys.unlink(dir, name, k.AT_REMOVEDIR);
}
