/** Namespaces: the NamespaceCalls of `sys.ts`. All of it touches the calling thread only. */
import * as k from "./const.ts";
import { EngineError, fail } from "../core/error.ts";
import { hasCode } from "./errno.ts";
import { close, open, unlink } from "./files.ts";
import { call } from "./libc.ts";
import { mount, umount } from "./mount.ts";
import type { Fd } from "./sys.ts";

/** Not /proc/self: that is the main thread's, and a worker may be calling. */
const OWN_NETNS = "/proc/thread-self/ns/net";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | k.O_CLOEXEC;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

export function unshare(flags: number): void {
  call("unshare", `flags ${flags.toString(16)}`, flags);
}

export function setns(fd: Fd, type: number): void {
  call("setns", `fd ${fd}`, fd, type);
}

/** Sets IFF_UP on `lo` of the current namespace: struct ifreq is the name (16 bytes) and the flags (16 bits). */
function raiseLoopback(): void {
  const socket = call("socket", "lo", AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  try {
    const request = new Uint8Array(40);
    const flags = new DataView(request.buffer);
    request.set(Buffer.from("lo"));
    call("ioctl", "lo", socket, SIOCGIFFLAGS, request);
    flags.setInt16(16, flags.getInt16(16, true) | IFF_UP, true);
    call("ioctl", "lo", socket, SIOCSIFFLAGS, request);
  } finally {
    close(socket);
  }
}

/** Runs `body` and puts the thread back into the network namespace it came from. */
function andReturn<T>(body: () => T): T {
  const own = open(OWN_NETNS, k.O_RDONLY);
  try {
    return body();
  } finally {
    returnTo(own);
    close(own);
  }
}

/** A thread left in a container's namespace would put the next container's links there: nothing may go on. */
function returnTo(own: Fd): void {
  try {
    setns(own, k.CLONE_NEWNET);
  } catch (cause) {
    throw fail("internal", "cannot return to the host's network namespace", { reason: "netns-lost", cause });
  }
}

export function createNetns(path: string): void {
  close(open(path, k.O_RDONLY | k.O_CREAT | k.O_EXCL, 0o600));
  try {
    andReturn(() => {
      unshare(k.CLONE_NEWNET);
      raiseLoopback();
      mount(OWN_NETNS, path, "", k.MS_BIND);
    });
  } catch (error) {
    undoNetns(path, error);
    throw error;
  }
}

/** A failed undo is attached to the first error, never thrown in its place. */
function undoNetns(path: string, first: unknown): void {
  try {
    removeNetns(path);
  } catch (error) {
    if (first instanceof EngineError) first.undoErrors.push(error);
  }
}

export function removeNetns(path: string): void {
  try {
    umount(path, k.MNT_DETACH | k.UMOUNT_NOFOLLOW);
  } catch (error) {
    // EINVAL: the file is there, but nothing is mounted on it.
    if (!hasCode(error, "EINVAL", "ENOENT")) throw error;
  }
  try {
    unlink(k.AT_FDCWD, path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

export function inNetns<T>(path: string, body: () => T): T {
  const namespace = open(path, k.O_RDONLY);
  try {
    return andReturn(() => {
      setns(namespace, k.CLONE_NEWNET);
      return body();
    });
  } finally {
    close(namespace);
  }
}
