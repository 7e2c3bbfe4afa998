/** What of an archive may appear among a person's files: nothing that does more there than lie there. */
import type { EntryType, TarEntry, TarSink } from "../archive/archive.ts";
import { fail } from "../core/error.ts";
import { AT_SYMLINK_NOFOLLOW, O_DIRECTORY, O_RDONLY, S_IFDIR, S_IFLNK, S_IFMT } from "../sys/const.ts";
import { components, isAbsolute, isDotDot, joined } from "../sys/path-bytes.ts";
import type { Rooted } from "../sys/rooted.ts";
import type { Fd, Sys } from "../sys/sys.ts";
import { shown } from "./unpack-tree.ts";

const REFUSED: ReadonlySet<EntryType> = new Set(["char", "block", "fifo"]);
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const PERMISSIONS = 0o777;

/** The sink with set-id bits and extended attributes taken off every entry. Errors: invalid-argument for a device or a pipe. */
export function harmless(sink: TarSink): TarSink {
  return {
    entry: (entry) => {
      check(entry);
      sink.entry({ ...entry, mode: entry.mode & PERMISSIONS, xattrs: NO_XATTRS });
    },
    data: (chunk, offset) => sink.data(chunk, offset),
    endEntry: () => sink.endEntry(),
  };
}

function check(entry: TarEntry): void {
  if (REFUSED.has(entry.type)) {
    throw refused(entry.name, `is a ${entry.type === "fifo" ? "pipe" : "device"}`);
  }
}

function refused(name: Uint8Array, why: string): Error {
  return fail("invalid-argument", `refusing to unpack "${shown(name)}": it ${why}`, {
    reason: "unpack-harmful",
  });
}

/**
 * Refuses a tree with a link that leads out of it. A link may begin with as many ".." as it lies deep and have none after
 * that; then what it leads to lies inside whatever the other links are. Looked at where the links have come to lie, because an
 * entry's name may go through links itself, and a hard link may put one elsewhere.
 */
export function checkLinks(sys: Sys, root: Rooted): void {
  const open: Uint8Array[][] = [[]];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const fd = root.openFile(joined(path), O_RDONLY | O_DIRECTORY);
    try {
      open.push(...directoriesIn(sys, fd, path));
    } finally {
      sys.close(fd);
    }
  }
}

/** Paths of the directories in a directory whose links are all harmless. */
function directoriesIn(sys: Sys, fd: Fd, path: Uint8Array[]): Uint8Array[][] {
  return sys.readdir(fd).flatMap(({ name }) => {
    const own = [...path, name];
    const type = sys.stat(fd, name, AT_SYMLINK_NOFOLLOW).mode & S_IFMT;
    if (type === S_IFLNK && leadsOut(sys.readlink(fd, name), path.length)) {
      throw refused(joined(own), "is a link that leads out of the archive");
    }
    return type === S_IFDIR ? [own] : [];
  });
}

/** Whether a link in a directory `depth` below the top could lead out of the tree. */
export function leadsOut(target: Uint8Array, depth: number): boolean {
  const parts = components(target);
  const up = parts.findIndex((part) => !isDotDot(part));
  const ups = up < 0 ? parts.length : up;
  return isAbsolute(target) || ups > depth || parts.slice(ups).some(isDotDot);
}
