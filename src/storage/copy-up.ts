/**
 * What a layer's tar takes for granted of the layers below it, put into its directory before it is unpacked: links
 * that its names lead through, directories on the way, and files that it makes hard links to. With that in place the tar
 * means there what it means on top of the lower layers, and the sandboxed child that unpacks needs to see nothing else.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import * as k from "../sys/const.ts";
import { Rooted } from "../sys/rooted.ts";
import type { Fd, Sys } from "../sys/sys.ts";
import { copyXattrs } from "./inherit.ts";
import { componentsOf, type Merged, type MergedFile, openBelow, type Trace } from "./merged.ts";

/** Paths are latin1 text, as everywhere in {@link Merged}. */
export interface Wants {
  /** Directories without an entry of their own. */
  implied: string[];
  /** Those of them that a link shows through: the tar means where the link leads. */
  overLinks: string[];
  /** Targets of hard links. */
  targets: string[];
}

export interface CopyUp {
  dirs: Set<string>;
  links: Map<string, MergedFile>;
  files: Map<string, MergedFile>;
}

/**
 * Finds out what to copy. A link that does not lead to a directory (dangling, a loop, to a file) is left alone, as are
 * targets that are nowhere or are directories.
 */
export function planCopyUp(merged: Merged, wants: Wants): CopyUp {
  const plan: CopyUp = { dirs: new Set(), links: new Map(), files: new Map() };
  const overLinks = new Set(wants.overLinks);
  for (const path of wants.implied) {
    const trace = overLinks.size === 0 ? undefined : throughLink(merged, path, overLinks);
    if (trace !== undefined) take(plan, trace);
  }
  for (const target of wants.targets) {
    const trace = merged.resolve(target, false);
    if (trace === undefined || trace.end.kind === "directory") continue;
    take(plan, trace);
    plan.files.set(trace.end.path, trace.end);
  }
  return plan;
}

/** The longest leading part of the path that leads to a directory, if a link stands in it. */
function throughLink(merged: Merged, path: string, overLinks: Set<string>): Trace | undefined {
  const parts = componentsOf(path);
  let longest: Trace | undefined;
  let isThrough = false;
  for (let length = 1; length <= parts.length; length++) {
    const prefix = parts.slice(0, length).join("/");
    isThrough ||= overLinks.has(prefix);
    const trace = merged.resolve(prefix, true);
    if (trace?.end.kind !== "directory") break;
    longest = trace;
  }
  return isThrough ? longest : undefined;
}

function take(plan: CopyUp, { links, dirs }: Trace): void {
  for (const dir of dirs) plan.dirs.add(dir);
  for (const link of links) plan.links.set(link.path, link);
}

/**
 * Carries it out in an empty directory. Directories are made as 0755 root:root: what they look like is inherited later, or
 * said by the tar. Returns the bytes of the regular files. Errors: canceled, those of the disk.
 */
export function copyUp(ctx: Ctx, sys: Sys, plan: CopyUp, diff: string): number {
  using root = Rooted.open(sys, diff);
  for (const dir of plan.dirs) root.mkdirAll(Buffer.from(dir, "latin1"), 0o755, { uid: 0, gid: 0 });
  const made = new Map<string, MergedFile>();
  let bytes = 0;
  for (const file of [...plan.links.values(), ...plan.files.values()]) {
    checkCanceled(ctx);
    const id = `${file.layer} ${file.stat.ino}`;
    const first = made.get(id);
    if (first === undefined) bytes += copyFile(ctx, sys, root, file);
    else if (first.path !== file.path) linkFile(sys, root, first, file);
    made.set(id, first ?? file);
  }
  return bytes;
}

function at<T>(sys: Sys, root: Rooted, path: string, body: (dir: Fd, name: Uint8Array) => T): T {
  const { dir, name } = root.parent(Buffer.from(path, "latin1"));
  try {
    return body(dir, name);
  } finally {
    sys.close(dir);
  }
}

function linkFile(sys: Sys, root: Rooted, from: MergedFile, to: MergedFile): void {
  at(sys, root, from.path, (fromDir, fromName) =>
    at(sys, root, to.path, (dir, name) => sys.link(fromDir, fromName, dir, name)),
  );
}

function copyFile(ctx: Ctx, sys: Sys, root: Rooted, file: MergedFile): number {
  const { stat, layer, path } = file;
  const isRegular = (stat.mode & k.S_IFMT) === k.S_IFREG;
  const from = openBelow(sys, layer, path, isRegular ? k.O_RDONLY | k.O_NOFOLLOW : k.O_PATH | k.O_NOFOLLOW);
  try {
    return at(sys, root, path, (dir, name) => {
      if (isRegular) copyRegular(ctx, sys, { from, dir, name, size: stat.size });
      else if (file.kind === "link") sys.symlink(sys.readlink(from, ""), dir, name);
      else sys.mknod(dir, name, stat.mode, stat.rdev);
      // The order that keeps all of it: a change of owner clears capabilities and setuid.
      sys.chown(dir, name, stat.uid, stat.gid);
      const byName = Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), name]);
      copyXattrs(sys, attributesOf(from, isRegular, file), byName);
      if (file.kind !== "link") chmod(sys, dir, name, stat.mode & 0o7777);
      sys.utimes(dir, name, stat.atimeNs, stat.mtimeNs);
      return isRegular ? stat.size : 0;
    });
  } finally {
    sys.close(from);
  }
}

/** Attributes of what is no regular file are reached by name: their descriptor is O_PATH, whose magic link would be followed. */
function attributesOf(from: Fd, isRegular: boolean, { layer, path }: MergedFile): Fd | Uint8Array {
  return isRegular ? from : Buffer.from(`/proc/self/fd/${layer}/${path}`, "latin1");
}

function chmod(sys: Sys, dir: Fd, name: Uint8Array, mode: number): void {
  const fd = sys.openat(dir, name, k.O_PATH | k.O_NOFOLLOW);
  try {
    sys.fchmod(fd, mode);
  } finally {
    sys.close(fd);
  }
}

const CHUNK = 1 << 20;

interface Copy {
  from: Fd;
  dir: Fd;
  name: Uint8Array;
  size: number;
}

/** Holes stay holes. */
function copyRegular(ctx: Ctx, sys: Sys, { from, dir, name, size }: Copy): void {
  const to = sys.openat(dir, name, k.O_WRONLY | k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW, 0o600);
  try {
    const chunk = Buffer.allocUnsafeSlow(CHUNK);
    const zeros = Buffer.alloc(CHUNK);
    let position = 0;
    for (let length = sys.read(from, chunk); length > 0; length = sys.read(from, chunk)) {
      checkCanceled(ctx);
      const isHole = Buffer.compare(chunk.subarray(0, length), zeros.subarray(0, length)) === 0;
      if (!isHole) sys.write(to, chunk.subarray(0, length), position);
      position += length;
    }
    sys.truncate(to, size);
  } finally {
    sys.close(to);
  }
}
