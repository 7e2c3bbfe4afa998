/**
 * Directories that a layer's tar does not list but has entries in ("implied" ones). Unpacked on its own, a layer
 * gets them as 0755 root:root; what they must look like is what the layers below say. Without this an image's
 * /tmp would lose its sticky bit to any layer that adds a file in it.
 */
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Name, Sys } from "../sys/sys.ts";
import { componentsOf, Merged, type MergedDir, openBelow } from "./merged.ts";

const OPEN_DIR = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

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

/**
 * Gives each implied directory of `diff` the mode, owner, extended attributes and times of the topmost directory at the
 * same path in `lowers` (diff directories, topmost first), where it is visible from above. `implied` holds paths
 * relative to `diff`, as bytes, "" for the root itself. Returns those (as latin1 text) that stand where the lowers have a link.
 */
export function inheritMetadata(sys: Sys, diff: string, lowers: string[], implied: Iterable<Name>): string[] {
  const paths = [...implied].map((path) => split(path)).toSorted(comparePaths);
  if (paths.length === 0 || lowers.length === 0) return [];
  const own = sys.openat(AT_FDCWD, diff, OPEN_DIR);
  try {
    using merged = new Merged(sys, diff, lowers);
    const walk = new Walk(merged);
    const overLinks: string[] = [];
    for (const path of paths) {
      const found = walk.to(path);
      if (found === "link") overLinks.push(path.join("/"));
      else if (found !== undefined) copyMetadata(sys, found, own);
    }
    return overLinks;
  } finally {
    sys.close(own);
  }
}

/** Goes from one path to the next of a sorted list, and looks at each directory on the way once. */
class Walk {
  readonly #merged: Merged;
  readonly #levels: { name: string; found: MergedDir | "link" | undefined }[];

  constructor(merged: Merged) {
    this.#merged = merged;
    this.#levels = [{ name: "", found: merged.root }];
  }

  to(path: string[]): MergedDir | "link" | undefined {
    let depth = 1;
    while (depth < this.#levels.length && this.#levels[depth]?.name === path[depth - 1]) depth++;
    this.#levels.length = depth;
    for (; depth <= path.length; depth++) {
      const name = path[depth - 1] as string;
      const above = this.#levels[depth - 1]?.found;
      const found = typeof above === "object" ? this.#merged.child(above, name) : undefined;
      this.#levels.push({ name, found: found?.kind === "directory" ? found : linkOrNothing(found?.kind) });
    }
    return this.#levels[path.length]?.found;
  }
}

function linkOrNothing(kind: "link" | "file" | undefined): "link" | undefined {
  return kind === "link" ? "link" : undefined;
}

function copyMetadata(sys: Sys, { path, has }: MergedDir, own: Fd): void {
  const from = openBelow(sys, has[0] as Fd, path, OPEN_DIR);
  try {
    const to = openBelow(sys, own, path, OPEN_DIR);
    try {
      const stat = sys.stat(from, "", 0);
      sys.chown(to, "", stat.uid, stat.gid);
      copyXattrs(sys, from, to);
      sys.fchmod(to, stat.mode & 0o7777);
      sys.utimes(to, "", stat.atimeNs, stat.mtimeNs);
    } finally {
      sys.close(to);
    }
  } catch (error) {
    // A later entry has put something else there.
    if (!hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) throw error;
  } finally {
    sys.close(from);
  }
}

/** Components as latin1 text, which keeps every byte and compares fast. */
function split(path: Name): string[] {
  return componentsOf(Buffer.from(path as string).toString("latin1"));
}

/** Parents before children, siblings together: each directory is opened once. */
function comparePaths(a: string[], b: string[]): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [x, y] = [a[i] as string, b[i] as string];
    if (x !== y) return x < y ? -1 : 1;
  }
  return a.length - b.length;
}
