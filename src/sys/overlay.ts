/** Overlay mounts, by the new mount calls where the kernel takes layers one by one, else by mount(2). */
import { fail } from "../core/error.ts";
import * as k from "./const.ts";
import { hasCode, SysError } from "./errno.ts";
import { close, open } from "./files.ts";
import { call, cstring, tryCall } from "./libc.ts";
import { mount } from "./mount.ts";
import type { Fd, OverlayMount } from "./sys.ts";

const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;

/** The kernel copies at most this many bytes of an fsconfig string, and of mount(2) data. */
const STRING_LIMIT = 255;
const PAGE = 4096;

/** Messages that wait in a file system context: "e overlay: …". */
function contextLog(context: Fd): string {
  const lines: string[] = [];
  const into = new Uint8Array(1024);
  for (;;) {
    const length = tryCall("read", context, into, into.byteLength);
    if (length <= 0) return lines.join("; ");
    lines.push(
      Buffer.from(into.subarray(0, length))
        .toString()
        .trim()
        .replace(/^[eiw] /, ""),
    );
  }
}

/** One fsconfig call on a context. A path too long for the kernel's copy is passed through a descriptor, kept in `paths` until the mount is made. */
class Context {
  readonly fd: Fd;
  readonly #about: string;
  readonly #paths: Fd[] = [];

  constructor(about: string) {
    this.#about = about;
    this.fd = call("fsopen", about, cstring("overlay"), FSOPEN_CLOEXEC);
  }

  set(key: string, value: string): void {
    this.#config(FSCONFIG_SET_STRING, key, value);
  }

  setPath(key: string, path: string): void {
    if (Buffer.byteLength(path) <= STRING_LIMIT) return this.set(key, path);
    const fd = open(path, k.O_PATH | k.O_DIRECTORY);
    this.#paths.push(fd);
    this.set(key, `/proc/self/fd/${fd}`);
  }

  option(option: string): void {
    const at = option.indexOf("=");
    if (at < 0) this.#config(FSCONFIG_SET_FLAG, option);
    else this.set(option.slice(0, at), option.slice(at + 1));
  }

  create(): void {
    this.#config(FSCONFIG_CMD_CREATE);
  }

  #config(command: number, key?: string, value?: string): void {
    const result = tryCall(
      "fsconfig",
      this.fd,
      command,
      key === undefined ? 0 : cstring(key),
      value === undefined ? 0 : cstring(value),
      0,
    );
    if (result === 0) return;
    const about = key === undefined ? this.#about : `${key}${value === undefined ? "" : `=${value}`}`;
    throw new SysError("fsconfig", about, -result, contextLog(this.fd));
  }

  [Symbol.dispose](): void {
    for (const fd of this.#paths) close(fd);
    close(this.fd);
  }
}

function overlayByContext(request: OverlayMount): void {
  using context = new Context(request.target);
  for (const lower of request.lower) context.setPath("lowerdir+", lower);
  if (request.upper !== undefined) context.setPath("upperdir", request.upper);
  if (request.work !== undefined) context.setPath("workdir", request.work);
  for (const option of request.options ?? []) context.option(option);
  context.set("source", "overlay");
  context.create();
  const attributes = request.readOnly === true ? MOUNT_ATTR_RDONLY : 0;
  const mounted = call("fsmount", request.target, context.fd, FSMOUNT_CLOEXEC, attributes);
  try {
    const target = cstring(request.target);
    call("move_mount", request.target, mounted, cstring(""), k.AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  } finally {
    // While this is open the mount is busy and a later umount would say so.
    close(mounted);
  }
}

/** The way of kernels before 6.7. Errors: resource-exhausted if the options do not fit into one page. */
export function overlayByMount(request: OverlayMount): void {
  const path = (text: string): string => text.replace(/[\\:,]/g, "\\$&");
  const options = [`lowerdir=${request.lower.map(path).join(":")}`];
  if (request.upper !== undefined) options.push(`upperdir=${request.upper.replace(/[\\,]/g, "\\$&")}`);
  if (request.work !== undefined) options.push(`workdir=${request.work.replace(/[\\,]/g, "\\$&")}`);
  const data = [...options, ...(request.options ?? [])].join(",");
  if (Buffer.byteLength(data) >= PAGE) {
    throw fail("resource-exhausted", `too many layers for one overlay mount at "${request.target}"`, {
      reason: "overlay-page-limit",
      hint: "this kernel takes one page of mount options; a kernel from 6.7 on has no such limit",
      data: { layers: request.lower.length, bytes: Buffer.byteLength(data) },
    });
  }
  mount("overlay", request.target, "overlay", request.readOnly === true ? k.MS_RDONLY : 0, data);
}

let contextWorks: boolean | undefined;

export function mountOverlay(request: OverlayMount): void {
  if (contextWorks === false) return overlayByMount(request);
  try {
    overlayByContext(request);
    contextWorks = true;
  } catch (error) {
    // ENOSYS: no fsopen; EINVAL at the first layer: the context does not know `lowerdir+` yet.
    const first =
      error instanceof SysError && error.call === "fsconfig" && error.path.startsWith("lowerdir+");
    const old = hasCode(error, "ENOSYS") || (first && hasCode(error, "EINVAL"));
    if (contextWorks === true || !old) throw error;
    overlayByMount(request);
    contextWorks = false;
  }
}
