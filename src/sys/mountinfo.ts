/** /proc/PID/mountinfo (proc(5)), byte-exact: mount points are not text. */
import { readFileSync } from "node:fs";

export interface MountInfo {
  id: number;
  parent: number;
  /** "254:0" */
  device: string;
  /** Directory of the file system that is the root of this mount. */
  root: Buffer;
  mountPoint: Buffer;
  options: string[];
  /** "shared:1", "master:2", "propagate_from:3", "unbindable"; none of them for a private mount. */
  propagation: string[];
  type: string;
  source: Buffer;
  superOptions: string[];
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescaped(field: string): Buffer {
  const latin = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
  return Buffer.from(latin, "latin1");
}

function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(" ");
  const dash = fields.indexOf("-", 6);
  if (dash < 0 || fields.length < dash + 3) return undefined;
  const [id = "", parent = "", device = "", root = "", mountPoint = "", options = ""] = fields;
  return {
    id: Number(id),
    parent: Number(parent),
    device,
    root: unescaped(root),
    mountPoint: unescaped(mountPoint),
    options: options.split(","),
    propagation: fields.slice(6, dash),
    type: fields[dash + 1] as string,
    source: unescaped(fields[dash + 2] as string),
    superOptions: (fields[dash + 3] ?? "").split(","),
  };
}

/** In the file's order, which is the order of mounting within one place. */
export function parseMountinfo(bytes: Uint8Array): MountInfo[] {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString("latin1")
    .split("\n")
    .map(parseLine)
    .filter((mount) => mount !== undefined);
}

/** Mounts that process sees, this thread's own namespace by default. */
export function mounts(pid?: number): MountInfo[] {
  return parseMountinfo(readFileSync(`/proc/${pid ?? "thread-self"}/mountinfo`));
}

/** Mounts at `path` or below it, innermost and latest first: the order to unmount them in. */
export function mountsBelow(path: string | Uint8Array): MountInfo[] {
  const base = Buffer.from(path);
  const below = (point: Buffer): boolean =>
    point.subarray(0, base.length).equals(base) &&
    (point.length === base.length || point[base.length] === 47);
  return mounts()
    .filter((mount) => base.equals(Buffer.from("/")) || below(mount.mountPoint))
    .toReversed();
}
