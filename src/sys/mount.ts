/** Mounts: the MountCalls of `sys.ts`, but for overlays. */
import { call, cstring } from "./libc.ts";

// oxlint-disable-next-line max-params -- the five of mount(2)
export function mount(source: string, target: string, type: string, flags: number, data = ""): void {
  call("mount", target, cstring(source), cstring(target), cstring(type), flags, cstring(data));
}

export function umount(target: string, flags = 0): void {
  call("umount2", target, cstring(target), flags);
}

export function chroot(path: string): void {
  call("chroot", path, cstring(path));
  call("chdir", "/", cstring("/"));
}
