/**
 * The layers below a new one as they show through it, looked up without a mount and without ever leaving them: every
 * single lookup is one name in a real directory of one layer, and links are resolved here, inside the root.
 *
 * Paths are latin1 text, which keeps every byte; "" is the root, others are relative to it.
 */
import {
  AT_FDCWD,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  S_IFLNK,
  S_IFMT,
} from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Name, Stat, Sys } from "../sys/sys.ts";

const OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
/** As the kernel's own limits on one path. */
const MAX_LINKS = 40;
const MAX_PATH = 4095;

export interface MergedDir {
  kind: "directory";
  path: string;
  /** The lowers that have it, topmost first. */
  has: Fd[];
  /** Those of them whose entries show: none below a directory that the new layer makes opaque. */
  shows: Fd[];
}

/** Anything but a directory, in the layer that it shows from. */
export interface MergedFile {
  kind: "link" | "file";
  path: string;
  layer: Fd;
  stat: Stat;
}

/** What a path led through, each as its real path. */
export interface Trace {
  links: MergedFile[];
  dirs: string[];
  end: MergedDir | MergedFile;
}

type Seen = "absent" | "whiteout" | "merged" | "opaque" | Stat;

export class Merged implements Disposable {
  readonly root: MergedDir;
  readonly #sys: Sys;
  readonly #own: Fd | undefined;
  readonly #lowers: Fd[] = [];

  /** `own`: the new layer's directory, of which only what hides lower layers counts; `lowers`: diff directories, topmost first. */
  constructor(sys: Sys, own: string | undefined, lowers: string[]) {
    this.#sys = sys;
    this.#own = own === undefined ? undefined : sys.openat(AT_FDCWD, own, OPEN_DIR);
    try {
      for (const lower of lowers) this.#lowers.push(sys.openat(AT_FDCWD, lower, OPEN_DIR));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    const shows = this.#own !== undefined && isOpaque(sys, this.#own) ? [] : this.#lowers;
    this.root = { kind: "directory", path: "", has: this.#lowers, shows };
  }

  [Symbol.dispose](): void {
    if (this.#own !== undefined) this.#sys.close(this.#own);
    for (const fd of this.#lowers) this.#sys.close(fd);
  }

  /** What shows under a name, itself, not what it may lead to. */
  child(dir: MergedDir, name: string): MergedDir | MergedFile | undefined {
    const path = dir.path === "" ? name : `${dir.path}/${name}`;
    if (dir.shows.length === 0) return undefined;
    const own = this.#own === undefined ? "absent" : this.#look(this.#own, path);
    if (own === "whiteout") return undefined;
    const has: Fd[] = [];
    for (const layer of dir.shows) {
      const seen = this.#look(layer, path);
      if (seen === "absent") continue;
      if (typeof seen === "object" && has.length === 0) return fileOf(path, layer, seen);
      // A whiteout, a link or a file ends the merged directory, and an opaque one is the last of it.
      if (seen === "merged" || seen === "opaque") has.push(layer);
      if (seen !== "merged") break;
    }
    if (has.length === 0) return undefined;
    return { kind: "directory", path, has, shows: own === "opaque" ? [] : has };
  }

  /** Follows links as the kernel does with the root as "/"; the last component only with `follow`. Undefined if it leads nowhere. */
  resolve(path: string, follow: boolean): Trace | undefined {
    const links: MergedFile[] = [];
    const dirs = new Set<string>();
    const chain = [this.root];
    const todo = componentsOf(path).toReversed();
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === "..") {
        if (chain.length > 1) chain.pop();
        continue;
      }
      const found = this.child(chain.at(-1) as MergedDir, name);
      if (found === undefined || found.path.length > MAX_PATH) return undefined;
      if (found.kind === "directory") {
        chain.push(found);
        dirs.add(found.path);
        continue;
      }
      if (todo.length === 0 && !(follow && found.kind === "link"))
        return { links, dirs: [...dirs], end: found };
      if (found.kind !== "link" || links.length === MAX_LINKS) return undefined;
      links.push(found);
      const target = this.readlink(found);
      if (target.startsWith("/")) chain.length = 1;
      todo.push(...componentsOf(target).toReversed());
    }
    return { links, dirs: [...dirs], end: chain.at(-1) as MergedDir };
  }

  readlink({ layer, path }: MergedFile): string {
    const fd = openBelow(this.#sys, layer, path, O_PATH | O_NOFOLLOW);
    try {
      return Buffer.from(this.#sys.readlink(fd, "")).toString("latin1");
    } finally {
      this.#sys.close(fd);
    }
  }

  #look(root: Fd, path: string): Seen {
    try {
      const fd = openBelow(this.#sys, root, path, OPEN_DIR);
      try {
        return isOpaque(this.#sys, fd) ? "opaque" : "merged";
      } finally {
        this.#sys.close(fd);
      }
    } catch (error) {
      if (hasCode(error, "ENOENT")) return "absent";
      if (!hasCode(error, "ENOTDIR", "ELOOP")) throw error;
      return this.#lookAtFile(root, path);
    }
  }

  #lookAtFile(root: Fd, path: string): Seen {
    let fd: Fd;
    try {
      fd = openBelow(this.#sys, root, path, O_PATH | O_NOFOLLOW);
    } catch (error) {
      // Not it, but what it would lie in is no directory.
      if (hasCode(error, "ENOTDIR", "ELOOP")) return "absent";
      throw error;
    }
    try {
      const stat = this.#sys.stat(fd, "", 0);
      return isWhiteout(stat) ? "whiteout" : stat;
    } finally {
      this.#sys.close(fd);
    }
  }
}

function fileOf(path: string, layer: Fd, stat: Stat): MergedFile {
  return { kind: (stat.mode & S_IFMT) === S_IFLNK ? "link" : "file", path, layer, stat };
}

function isWhiteout({ mode, rdev }: Stat): boolean {
  return (mode & S_IFMT) === S_IFCHR && rdev.major === 0 && rdev.minor === 0;
}

/** One entry of one layer, reached through real directories only. Errors: ENOENT; ENOTDIR or ELOOP if something else is in the way. */
export function openBelow(sys: Sys, root: Fd, path: string, flags: number): Fd {
  const where = path === "" ? "." : Buffer.from(path, "latin1");
  return sys.openat2(root, where, { flags, resolve: RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS });
}

export function isOpaque(sys: Sys, dir: Name | Fd): boolean {
  return ["trusted.overlay.opaque", "user.overlay.opaque"].some(
    (key) => sys.getxattr(dir, key)?.[0] === "y".charCodeAt(0),
  );
}

/** Of latin1 text, without empty ones and "."; ".." stays. */
export function componentsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
