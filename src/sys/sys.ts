/**
 * The host, as the rest of the engine sees it: one interface, a real implementation (`linux.ts`)
 * and a recording fake (`test/fake/sys.ts`) that can fail the n-th call.
 *
 * Vocabulary: a *name* is a single path component relative to a directory descriptor; a *path* is
 * absolute and trusted (made by the engine itself). Paths inside a container's or a layer's root are
 * never passed here as strings: they go through `rooted.ts`. Names may be bytes, because file
 * names are not text. Every call throws SysError with its own name, the path and the errno.
 * All descriptors are opened close-on-exec. Only this folder uses bun:ffi, /proc and /sys.
 */
export type Name = string | Uint8Array;
export type Fd = number;

/** What statx(2) says; times in nanoseconds since the epoch, `mode` with the file type bits. */
export interface Stat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  ino: bigint;
  /** Device the file lies on, as major and minor. */
  dev: { major: number; minor: number };
  /** Device the file is, for character and block files. */
  rdev: { major: number; minor: number };
  mtimeNs: bigint;
  atimeNs: bigint;
  ctimeNs: bigint;
}

export interface OverlayMount {
  /** Lower directories, topmost first; at least one. */
  lower: string[];
  /** Absent: a read-only mount of the lowers (two of them at least). */
  upper?: string;
  work?: string;
  target: string;
  /** Extra options, each "key" or "key=value" ("userxattr", "volatile"). */
  options?: string[];
  readOnly?: boolean;
}

export interface PollEntry {
  fd: Fd;
  /** POLLIN 1, POLLOUT 4; the result has POLLERR 8, POLLHUP 16 too. */
  events: number;
}

export interface Sys {
  // files
  open(path: Name, flags: number, mode?: number): Fd;
  openat(dir: Fd, name: Name, flags: number, mode?: number): Fd;
  /** openat2(2); `resolve` is a union of RESOLVE_* of const.ts. */
  openat2(dir: Fd, path: Name, how: { flags: number; mode?: number; resolve: number }): Fd;
  close(fd: Fd): void;
  read(fd: Fd, into: Uint8Array): number;
  write(fd: Fd, bytes: Uint8Array): number;
  stat(dir: Fd, name: Name, flags: number): Stat;
  readlink(dir: Fd, name: Name): Uint8Array;
  /** Names in the directory, without "." and "..", as bytes, with their d_type. */
  readdir(fd: Fd): { name: Uint8Array; type: number }[];
  mkdir(dir: Fd, name: Name, mode: number): void;
  mknod(dir: Fd, name: Name, mode: number, device: { major: number; minor: number }): void;
  symlink(target: Name, dir: Fd, name: Name): void;
  link(fromDir: Fd, from: Name, toDir: Fd, to: Name): void;
  unlink(dir: Fd, name: Name, flags?: number): void;
  rename(fromDir: Fd, from: Name, toDir: Fd, to: Name, flags?: number): void;
  /** Never follows a link in the last component. */
  chown(dir: Fd, name: Name, uid: number, gid: number): void;
  fchmod(fd: Fd, mode: number): void;
  utimes(dir: Fd, name: Name, atimeNs: bigint, mtimeNs: bigint): void;
  fsync(fd: Fd): void;
  syncfs(fd: Fd): void;
  truncate(fd: Fd, size: number): void;

  // extended attributes, by descriptor (`/proc/self/fd/N` for O_PATH ones) or by link-safe path
  getxattr(path: Name, key: string): Uint8Array | undefined;
  setxattr(path: Name, key: string, value: Uint8Array): void;
  removexattr(path: Name, key: string): void;
  listxattr(path: Name): string[];

  // locks; returns false when `wait` is false and somebody else holds it
  flock(fd: Fd, mode: "shared" | "exclusive" | "unlock", wait: boolean): boolean;

  // mounts
  mount(source: string, target: string, type: string, flags: number, data?: string): void;
  umount(target: string, flags?: number): void;
  /** fsopen/fsconfig `lowerdir+`/fsmount/move_mount where the kernel has them, else mount(2). */
  mountOverlay(request: OverlayMount): void;
  pivotOrChroot(path: string): void;

  // namespaces
  unshare(flags: number): void;
  setns(fd: Fd, type: number): void;
  /**
   * A new network namespace, `lo` up, pinned by a bind mount at `path` (its directory exists). The calling
   * thread is back in its own namespace when this returns or throws.
   */
  createNetns(path: string): void;
  /** Runs `body` with the calling thread inside the namespace; synchronous on purpose. */
  inNetns<T>(path: string, body: () => T): T;

  // processes
  pidfdOpen(pid: number): Fd;
  pidfdSignal(fd: Fd, signal: number): void;
  kill(pid: number, signal: number): void;
  /** Field 22 of /proc/PID/stat (clock ticks since boot), or undefined if there is no such process. */
  startTime(pid: number): number | undefined;
  /** Blocks at most `timeoutMs` (-1: no limit); returns revents in order; EINTR gives all zeros. */
  poll(entries: PollEntry[], timeoutMs: number): number[];

  // sockets
  /** Connects a unix SOCK_SEQPACKET socket; long paths go through /proc/self/fd. */
  connectSeqpacket(path: string): Fd;
  shutdown(fd: Fd, how: "read" | "write" | "both"): void;
  /** Receives one message and the descriptors passed with it (SCM_RIGHTS). */
  receiveFds(socket: Fd, maxFds: number): { data: Uint8Array; fds: Fd[] };
  /** A raw AF_NETLINK socket of this protocol (NETLINK_ROUTE 0, NETLINK_NETFILTER 12). */
  netlink(protocol: number): Fd;

  // terminals
  isTty(fd: Fd): boolean;
  windowSize(fd: Fd): { rows: number; columns: number } | undefined;
  /** Puts the terminal into raw mode and returns what puts it back; idempotent. */
  rawMode(fd: Fd): () => void;
}
