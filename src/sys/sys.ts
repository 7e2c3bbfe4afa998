/**
 * The host, as the rest of the engine sees it: one interface, a real implementation (`linux.ts`)
 * and a recording fake (`test/fake/sys.ts`) that can fail the n-th call.
 *
 * Vocabulary: a *name* is a single path component relative to a directory descriptor; a *path* is
 * absolute and trusted (made by the engine itself). Paths inside a container's or a layer's root are
 * never passed here as strings: they go through `rooted.ts`. Names may be bytes, because file
 * names are not text. AT_FDCWD and O_*, AT_*, … are in `const.ts`. Every call throws SysError with its own name, the path
 * and the errno. All descriptors are opened close-on-exec. Only this folder uses bun:ffi, /proc and /sys.
 *
 * Threads: JavaScript of the main program runs on the process' main thread (its thread id is the process id), a
 * worker's on its own. `unshare`, `setns` and `chroot` after CLONE_FS touch the calling thread only.
 */
export type Name = string | Uint8Array;
export type Fd = number;

export interface Device {
  major: number;
  minor: number;
}

/** What statx(2) says; times in nanoseconds since the epoch, `mode` with the file type bits. */
export interface Stat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  /** Allocated, in units of 512 bytes. */
  blocks: number;
  nlink: number;
  ino: bigint;
  /** Device the file lies on. */
  dev: Device;
  /** Device the file is, for character and block files. */
  rdev: Device;
  mtimeNs: bigint;
  atimeNs: bigint;
  ctimeNs: bigint;
  /** True if this is the root of a mount. */
  mountRoot: boolean;
}

export interface DirEntry {
  name: Uint8Array;
  /** DT_*; DT_UNKNOWN on file systems that do not say. */
  type: number;
}

/** Sizes in bytes. */
export interface StatFs {
  /** Magic number: 0x01021994 tmpfs, 0xef53 ext4, 0x794c7630 overlay, 0x6e736673 nsfs, 0x63677270 cgroup2. */
  type: number;
  total: number;
  available: number;
  files: number;
  filesFree: number;
  maxName: number;
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

export interface WatchEvent {
  /** The number that `watch` returned. */
  watch: number;
  /** IN_*; IN_IGNORED 0x8000 when the watch is gone, IN_Q_OVERFLOW 0x4000 when events were lost. */
  mask: number;
  /** Name in the watched directory; empty for the watched file itself. */
  name: Uint8Array;
}

/** Soft and hard limit; Infinity for none. */
export interface Limit {
  soft: number;
  hard: number;
}

export interface Exited {
  pid: number;
  /** Exit status, or 128 + signal. */
  status: number;
}

export interface FileCalls {
  open(path: Name, flags: number, mode?: number): Fd;
  openat(dir: Fd, name: Name, flags: number, mode?: number): Fd;
  /** openat2(2); `resolve` is a union of RESOLVE_* of const.ts. Repeats EAGAIN (a rename raced) a bounded number of times. */
  openat2(dir: Fd, path: Name, how: { flags: number; mode?: number; resolve: number }): Fd;
  /** Never throws: nothing can be done about a failed close. */
  close(fd: Fd): void;
  dup(fd: Fd): Fd;
  /** Bytes read; 0 at the end. At `position` without moving the offset, if given. */
  read(fd: Fd, into: Uint8Array, position?: number): number;
  /** Writes everything, however many calls it takes (not for non-blocking descriptors); at `position` without moving the offset, if given. */
  write(fd: Fd, bytes: Uint8Array, position?: number): void;
  /** Copies up to `length` bytes in the kernel from both current offsets; returns how many, 0 at the end. */
  copyRange(from: Fd, to: Fd, length: number): number;
  /** `flags` is 0 or AT_SYMLINK_NOFOLLOW; name "" is `dir` itself. */
  stat(dir: Fd, name: Name, flags: number): Stat;
  statfs(path: Name): StatFs;
  /** name "" reads the link that `dir` (O_PATH|O_NOFOLLOW) is. */
  readlink(dir: Fd, name: Name): Uint8Array;
  /** Names in the directory, without "." and "..", as bytes, with their d_type. Starts where the descriptor's offset is. */
  readdir(fd: Fd): DirEntry[];
  mkdir(dir: Fd, name: Name, mode: number): void;
  /** Errors: EINVAL for a device number out of range. */
  mknod(dir: Fd, name: Name, mode: number, device: Device): void;
  symlink(target: Name, dir: Fd, name: Name): void;
  /** Does not follow `from` if it is a link. */
  link(fromDir: Fd, from: Name, toDir: Fd, to: Name): void;
  /** Gives the file behind the descriptor, also an unnamed one (O_TMPFILE), this name. Errors: EEXIST. Needs /proc. */
  linkFd(fd: Fd, toDir: Fd, to: Name): void;
  unlink(dir: Fd, name: Name, flags?: number): void;
  rename(fromDir: Fd, from: Name, toDir: Fd, to: Name, flags?: number): void;
  /** Never follows a link in the last component; name "" is `dir` itself, which may be an O_PATH descriptor. */
  chown(dir: Fd, name: Name, uid: number, gid: number): void;
  /** Not for O_PATH descriptors: those go through /proc/self/fd, which this call does by itself. */
  fchmod(fd: Fd, mode: number): void;
  /** Never follows a link in the last component; name "" is `dir` itself. */
  utimes(dir: Fd, name: Name, atimeNs: bigint, mtimeNs: bigint): void;
  fsync(fd: Fd): void;
  syncfs(fd: Fd): void;
  truncate(fd: Fd, size: number): void;
  /** Read end and write end; `size` asks for that capacity in bytes (best effort). */
  pipe(size?: number): { read: Fd; write: Fd };
  /** An anonymous file in memory; `name` is only for /proc. */
  memfd(name: string): Fd;
  umask(mask: number): number;
}

/** Extended attributes, by descriptor (`/proc/self/fd/N` for O_PATH ones) or by path whose last component is not followed. */
export interface XattrCalls {
  getxattr(path: Name | Fd, key: string): Uint8Array | undefined;
  setxattr(path: Name | Fd, key: string, value: Uint8Array): void;
  /** Idempotent. */
  removexattr(path: Name | Fd, key: string): void;
  /** Empty where the file system has none. */
  listxattr(path: Name | Fd): string[];
}

export interface MountCalls {
  mount(source: string, target: string, type: string, flags: number, data?: string): void;
  umount(target: string, flags?: number): void;
  /** fsopen/fsconfig `lowerdir+`/fsmount/move_mount where the kernel has them, else mount(2). */
  mountOverlay(request: OverlayMount): void;
  /**
   * The directory with all that is mounted below it as a tree of mounts of its own, which nothing is above of: ".." does not
   * lead out of it, and it is gone with its descriptor (which counts as O_PATH). Errors: EPERM without privileges, ENOSYS before Linux 5.2.
   */
  cloneMounts(path: string): Fd;
  /** chroot(2) and chdir("/"). After `unshare(CLONE_FS)` only for this thread, else for the process. */
  chroot(path: string): void;
}

export interface NamespaceCalls {
  unshare(flags: number): void;
  setns(fd: Fd, type: number): void;
  /**
   * A new network namespace, `lo` up, pinned by a bind mount at `path` (its directory exists). The calling
   * thread is back in its own namespace when this returns or throws. Errors: EEXIST if `path` is there.
   */
  createNetns(path: string): void;
  /** Unpins it and removes the file; idempotent. */
  removeNetns(path: string): void;
  /** Runs `body` with the calling thread inside the namespace; synchronous on purpose. */
  inNetns<T>(path: string, body: () => T): T;
}

export interface ProcessCalls {
  pidfdOpen(pid: number): Fd;
  pidfdSignal(fd: Fd, signal: number): void;
  kill(pid: number, signal: number): void;
  /** Field 22 of /proc/PID/stat (clock ticks since boot), or undefined if there is no such process, or only a zombie. */
  startTime(pid: number): number | undefined;
  /** Blocks at most `timeoutMs` (-1: no limit); returns revents in order; EINTR gives all zeros. */
  poll(entries: PollEntry[], timeoutMs: number): number[];
  /** Orphans below this process become its children (prctl PR_SET_CHILD_SUBREAPER). */
  becomeSubreaper(): void;
  /** Reaps an exited child, `pid` or any; undefined if none has exited. Not for children that Bun started. */
  reap(pid?: number): Exited | undefined;
  /** One of RLIMIT_* by number. */
  getLimit(resource: number): Limit;
  setLimit(resource: number, limit: Limit): void;
  /** No program started from here on gains privileges from its file (PR_SET_NO_NEW_PRIVS). */
  forbidNewPrivileges(): void;
  /** An inotify descriptor, non-blocking; it can be polled. */
  inotify(): Fd;
  /** Watches a path for IN_* events; returns the watch's number. */
  watch(inotify: Fd, path: Name, mask: number): number;
  /** Events that are there now; empty if none. */
  readEvents(inotify: Fd): WatchEvent[];
}

export interface LockCalls {
  /** Returns false when `wait` is false and somebody else holds it. A wait blocks the thread: handlers of signals run after it. */
  flock(fd: Fd, mode: "shared" | "exclusive" | "unlock", wait: boolean): boolean;
}

export interface SocketCalls {
  /** Connects a unix SOCK_SEQPACKET socket; long paths go through /proc/self/fd. */
  connectSeqpacket(path: string): Fd;
  /** A connected pair of unix sockets. */
  socketpair(type: "stream" | "seqpacket"): [Fd, Fd];
  /** A listening unix stream socket of mode 0600 (crun and runc send the terminal here); long paths as above. */
  listenUnix(path: string): Fd;
  accept(socket: Fd): Fd;
  shutdown(fd: Fd, how: "read" | "write" | "both"): void;
  /** One message; the bytes that fit into `into` are counted. undefined: nothing there now (non-blocking). 0: the other end is closed. */
  receive(socket: Fd, into: Uint8Array): number | undefined;
  /** Sends one message without raising SIGPIPE; undefined: would block. */
  send(socket: Fd, bytes: Uint8Array): number | undefined;
  /** Receives one message and the descriptors passed with it (SCM_RIGHTS). */
  receiveFds(socket: Fd, maxFds: number): { data: Uint8Array; fds: Fd[] };
  sendFds(socket: Fd, data: Uint8Array, fds: Fd[]): void;
  setNonBlocking(fd: Fd): void;
  /** A raw AF_NETLINK socket of this protocol (NETLINK_ROUTE 0, NETLINK_NETFILTER 12). */
  netlink(protocol: number): Fd;
}

export interface TerminalCalls {
  isTty(fd: Fd): boolean;
  windowSize(fd: Fd): { rows: number; columns: number } | undefined;
  setWindowSize(fd: Fd, size: { rows: number; columns: number }): void;
  /** Puts the terminal into raw mode and returns what puts it back; both are idempotent. */
  rawMode(fd: Fd): () => void;
  /** Lets what is typed not be seen (but the end of the line), and returns what puts it back, which is idempotent. */
  echoOff(fd: Fd): () => void;
}

export interface Sys
  extends
    FileCalls,
    XattrCalls,
    MountCalls,
    NamespaceCalls,
    ProcessCalls,
    LockCalls,
    SocketCalls,
    TerminalCalls {}
