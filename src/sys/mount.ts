/** Mounts: the MountCalls of `sys.ts`, but for overlays. */
import * as k from "./const.ts";
import { call, cstring } from "./libc.ts";
import type { Fd } from "./sys.ts";

// oxlint-disable-next-line max-params -- the five of mount(2)
export function mount(source: string, target: string, type: string, flags: number, data = ""): void {
  call("mount", target, cstring(source), cstring(target), cstring(type), flags, cstring(data));
}

export function umount(target: string, flags = 0): void {
  call("umount2", target, cstring(target), flags);
}

const OPEN_TREE_CLONE = 1;
const AT_RECURSIVE = 0x8000;

export function cloneMounts(path: string): Fd {
  return call("open_tree", path, k.AT_FDCWD, cstring(path), OPEN_TREE_CLONE | AT_RECURSIVE | k.O_CLOEXEC);
}

export function chroot(path: string): void {
  call("chroot", path, cstring(path));
  call("chdir", "/", cstring("/"));
}
