/** statx(2): one layout on every architecture. */
import { AT_EMPTY_PATH, AT_NO_AUTOMOUNT } from "./const.ts";
import { call, cstring } from "./libc.ts";
import type { Fd, Name, Stat } from "./sys.ts";

const STATX_BASIC_STATS = 0x7ff;
const STATX_ATTR_MOUNT_ROOT = 0x2000;
const SECOND = 1_000_000_000n;

// One buffer for all calls: they are synchronous, and a worker has its own module instance.
const buffer = new Uint8Array(256);
const view = new DataView(buffer.buffer);

function time(offset: number): bigint {
  return view.getBigInt64(offset, true) * SECOND + BigInt(view.getUint32(offset + 8, true));
}

function long(offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

export function stat(dir: Fd, name: Name, flags: number): Stat {
  const all = flags | AT_NO_AUTOMOUNT | (name.length === 0 ? AT_EMPTY_PATH : 0);
  call("statx", name, dir, cstring(name), all, STATX_BASIC_STATS, buffer);
  return {
    mode: view.getUint16(28, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    size: long(40),
    blocks: long(48),
    nlink: view.getUint32(16, true),
    ino: view.getBigUint64(32, true),
    rdev: { major: view.getUint32(128, true), minor: view.getUint32(132, true) },
    dev: { major: view.getUint32(136, true), minor: view.getUint32(140, true) },
    atimeNs: time(64),
    ctimeNs: time(96),
    mtimeNs: time(112),
    mountRoot: (view.getUint32(8, true) & STATX_ATTR_MOUNT_ROOT) !== 0,
  };
}
