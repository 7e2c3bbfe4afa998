/**
 * From a directory back to an archive: a layer from an overlay upper (commit, build), a plain tar of any tree
 * (export, cp, volumes), and the list of what an upper has changed (diff).
 */
import { components } from "../sys/path-bytes.ts";
import { Rooted } from "../sys/rooted.ts";
import * as k from "../sys/const.ts";
import type { Name, Sys } from "../sys/sys.ts";
import { lookAt } from "./changes-entry.ts";
import { type Change, ChangeList } from "./changes-list.ts";
import { TreeTar, type WalkOptions } from "./changes-tar.ts";

export interface TreeRequest extends WalkOptions {
  /** A directory, a trusted path. */
  root: string;
  /**
   * Resolved inside the root; a link in the last component is followed only with `follow`. A directory stands
   * for what is in it: names are relative to it, and "./" comes first. Default: the root.
   */
  path?: Name;
  /** Name of the thing itself in the archive: "dir" gives "dir/", "dir/a", …; a file gets its own name by default. */
  name?: Name;
  follow?: boolean;
}

const OPEN_DIR = k.O_RDONLY | k.O_DIRECTORY;

/**
 * An overlay upper (or an unpacked layer) as a layer: whiteouts and opaque directories in the form of the image
 * specification, no entry for the root. Unpacking the tar and packing it again gives the same bytes.
 * Errors: invalid-argument for names a layer cannot hold, unimplemented for overlay marks that point to other layers.
 */
export async function* layerTar(
  sys: Sys,
  upper: string,
  options: Pick<WalkOptions, "filter"> = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const tree = new TreeTar(sys, { ...options, overlay: true });
  const fd = sys.open(upper, OPEN_DIR);
  try {
    if (lookAt(sys, fd, true).opaque) yield* tree.opaqueMark();
    yield* tree.children(fd);
    yield* tree.end();
  } finally {
    sys.close(fd);
  }
}

/** A plain tar of a tree or a part of one. Errors: not-found, whatever resolving the path gives. */
export async function* tarTree(sys: Sys, request: TreeRequest): AsyncGenerator<Uint8Array, void, undefined> {
  const { root, path = ".", name, follow = false, ...options } = request;
  using rooted = Rooted.open(sys, root);
  const tree = new TreeTar(sys, options);
  const stat = follow ? rooted.stat(path) : rooted.lstat(path);
  if ((stat.mode & k.S_IFMT) !== k.S_IFDIR) yield* single(rooted, tree, sys, request);
  else {
    const fd = rooted.openFile(path, OPEN_DIR);
    try {
      const prefix = name === undefined ? new Uint8Array(0) : Buffer.from(name);
      yield* tree.directory(prefix.length === 0 ? Buffer.from("./") : prefix, lookAt(sys, fd, false));
      yield* tree.children(fd, prefix);
    } finally {
      sys.close(fd);
    }
  }
  yield* tree.end();
}

function* single(rooted: Rooted, tree: TreeTar, sys: Sys, request: TreeRequest): Generator<Uint8Array> {
  const { path = ".", follow = false } = request;
  const own = components(path).at(-1) ?? Buffer.from(".");
  const { dir, name } = rooted.parent(follow ? rooted.realpath(path) : path);
  try {
    yield* tree.entry({
      dir,
      name,
      path: request.name === undefined ? own : Buffer.from(request.name),
      depth: 0,
    });
  } finally {
    sys.close(dir);
  }
}

/**
 * What the upper changes in the lowers (diff directories, topmost first), sorted by path; what is `ignored` (absolute paths)
 * does not count. Errors: unimplemented for overlay marks that point to other layers.
 */
export function listChanges(
  sys: Sys,
  upper: string,
  lowers: string[],
  ignored?: ReadonlySet<string>,
): Change[] {
  const list = new ChangeList(sys, ignored);
  const fds = [upper, ...lowers].map((path) => sys.open(path, OPEN_DIR));
  try {
    const [top = -1, ...below] = fds;
    list.directory(top, below, { path: "", hidden: lookAt(sys, top, true).opaque });
  } finally {
    for (const fd of fds) sys.close(fd);
  }
  return list.changes.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}
