/** inotify(7): for following logs and for waiting on exit files without polling. */
import { EAGAIN, O_CLOEXEC, O_NONBLOCK } from "./const.ts";
import { SysError } from "./errno.ts";
import { call, cstring, tryCall } from "./libc.ts";
import type { Fd, Name, WatchEvent } from "./sys.ts";

export function inotify(): Fd {
  return call("inotify_init1", "inotify", O_NONBLOCK | O_CLOEXEC);
}

export function watch(fd: Fd, path: Name, mask: number): number {
  return call("inotify_add_watch", path, fd, cstring(path), mask);
}

/** struct inotify_event: wd i32, mask u32, cookie u32, length u32, name padded with NULs. */
export function readEvents(fd: Fd): WatchEvent[] {
  const buffer = new Uint8Array(16 * 1024);
  const view = new DataView(buffer.buffer);
  const length = tryCall("read", fd, buffer, buffer.byteLength);
  if (length === -EAGAIN) return [];
  if (length < 0) throw new SysError("read", `inotify ${fd}`, -length);
  const events: WatchEvent[] = [];
  for (let at = 0; at < length;) {
    const size = view.getUint32(at + 12, true);
    const padded = buffer.subarray(at + 16, at + 16 + size);
    const end = padded.indexOf(0);
    events.push({
      watch: view.getInt32(at, true),
      mask: view.getUint32(at + 4, true),
      name: padded.slice(0, end < 0 ? size : end),
    });
    at += 16 + size;
  }
  return events;
}
