/** Files and directories: the FileCalls of `sys.ts`. */
import * as k from "./const.ts";
import { SysError } from "./errno.ts";
import { call, cstring, tryCall } from "./libc.ts";
import type { Device, DirEntry, Fd, Name, StatFs } from "./sys.ts";

/** openat2 gives EAGAIN when a rename elsewhere raced with "..": the kernel asks to try again. */
const RACE_RETRIES = 128;

export function open(path: Name, flags: number, mode = 0): Fd {
  return openat(k.AT_FDCWD, path, flags, mode);
}

export function openat(dir: Fd, name: Name, flags: number, mode = 0): Fd {
  return call("openat", name, dir, cstring(name), flags | k.O_CLOEXEC, mode);
}

/** struct open_how: flags, mode, resolve, each u64; none needs more than its low half. */
const how = new Uint32Array(6);

export function openat2(dir: Fd, path: Name, request: { flags: number; mode?: number; resolve: number }): Fd {
  const name = cstring(path);
  how[0] = request.flags | k.O_CLOEXEC;
  how[2] = request.mode ?? 0;
  how[4] = request.resolve;
  for (let tries = 0; ; tries++) {
    const fd = tryCall("openat2", dir, name, how, how.byteLength);
    if (fd >= 0) return fd;
    const again = fd === -k.EINTR || (fd === -k.EAGAIN && tries < RACE_RETRIES);
    if (!again) throw new SysError("openat2", path, -fd);
  }
}

export function close(fd: Fd): void {
  tryCall("close", fd);
}

export function dup(fd: Fd): Fd {
  const F_DUPFD_CLOEXEC = 1030;
  return call("fcntl", `fd ${fd}`, fd, F_DUPFD_CLOEXEC, 0);
}

export function read(fd: Fd, into: Uint8Array, position?: number): number {
  if (position === undefined) return call("read", `fd ${fd}`, fd, into, into.byteLength);
  return call("pread64", `fd ${fd}`, fd, into, into.byteLength, position);
}

export function write(fd: Fd, bytes: Uint8Array, position?: number): void {
  let done = 0;
  while (done < bytes.byteLength) {
    const rest = done === 0 ? bytes : bytes.subarray(done);
    done +=
      position === undefined
        ? call("write", `fd ${fd}`, fd, rest, rest.byteLength)
        : call("pwrite64", `fd ${fd}`, fd, rest, rest.byteLength, position + done);
  }
}

/** Where the next `read` or `write` begins. */
export function offsetOf(fd: Fd): number {
  const SEEK_CUR = 1;
  return call("lseek", `fd ${fd}`, fd, 0, SEEK_CUR);
}

export function copyRange(from: Fd, to: Fd, length: number): number {
  return call("copy_file_range", `fd ${from}`, from, 0, to, 0, length);
}

const fsBuffer = new BigInt64Array(15);

export function statfs(path: Name): StatFs {
  call("statfs", path, cstring(path), fsBuffer);
  const word = (index: number): number => Number(fsBuffer[index]);
  const unit = word(1);
  return {
    type: word(0),
    total: word(2) * unit,
    available: word(4) * unit,
    files: word(5),
    filesFree: word(6),
    maxName: word(8),
  };
}

export function readlink(dir: Fd, name: Name): Uint8Array {
  const target = cstring(name);
  for (let size = 256; ; size *= 4) {
    const into = new Uint8Array(size);
    const length = call("readlinkat", name, dir, target, into, size);
    if (length < size) return into.subarray(0, length);
  }
}

const DIR_BUFFER = 32 * 1024;

/** Header of struct linux_dirent64: ino u64, off u64, reclen u16, type u8, then the name and a NUL. */
const DIRENT_NAME = 19;

function parseEntries(buffer: Uint8Array, length: number, out: DirEntry[]): void {
  for (let at = 0; at < length;) {
    const size = (buffer[at + 16] as number) | ((buffer[at + 17] as number) << 8);
    const start = at + DIRENT_NAME;
    const name = buffer.slice(start, buffer.indexOf(0, start));
    const dots = name[0] === 46 && (name.length === 1 || (name.length === 2 && name[1] === 46));
    if (!dots) out.push({ name, type: buffer[at + 18] as number });
    at += size;
  }
}

let dirBuffer: Uint8Array | undefined;

export function readdir(fd: Fd): DirEntry[] {
  const buffer = (dirBuffer ??= new Uint8Array(DIR_BUFFER));
  const entries: DirEntry[] = [];
  for (;;) {
    const length = call("getdents64", `fd ${fd}`, fd, buffer, DIR_BUFFER);
    if (length === 0) return entries;
    parseEntries(buffer, length, entries);
  }
}

export function mkdir(dir: Fd, name: Name, mode: number): void {
  call("mkdirat", name, dir, cstring(name), mode);
}

/** The kernel's dev_t: 12 bits of major, 20 of minor, in its historical order. */
function deviceNumber({ major, minor }: Device): number | undefined {
  const fits = (value: number, limit: number): boolean =>
    Number.isInteger(value) && value >= 0 && value <= limit;
  if (!fits(major, 0xfff) || !fits(minor, 0xfffff)) return undefined;
  return (minor & 0xff) + (major << 8) + (minor >>> 8) * 0x100000;
}

export function mknod(dir: Fd, name: Name, mode: number, device: Device): void {
  const number = deviceNumber(device);
  if (number === undefined) throw new SysError("mknodat", name, k.EINVAL);
  call("mknodat", name, dir, cstring(name), mode, number);
}

export function symlink(target: Name, dir: Fd, name: Name): void {
  call("symlinkat", name, cstring(target), dir, cstring(name));
}

export function link(fromDir: Fd, from: Name, toDir: Fd, to: Name): void {
  call("linkat", to, fromDir, cstring(from), toDir, cstring(to), 0);
}

export function linkFd(fd: Fd, toDir: Fd, to: Name): void {
  const from = cstring(`/proc/self/fd/${fd}`);
  call("linkat", to, k.AT_FDCWD, from, toDir, cstring(to), k.AT_SYMLINK_FOLLOW);
}

export function unlink(dir: Fd, name: Name, flags = 0): void {
  call("unlinkat", name, dir, cstring(name), flags);
}

// oxlint-disable-next-line max-params -- the two ends of renameat2(2)
export function rename(fromDir: Fd, from: Name, toDir: Fd, to: Name, flags = 0): void {
  call("renameat2", from, fromDir, cstring(from), toDir, cstring(to), flags);
}

function emptyPath(name: Name): number {
  return name.length === 0 ? k.AT_EMPTY_PATH : 0;
}

export function chown(dir: Fd, name: Name, uid: number, gid: number): void {
  call("fchownat", name, dir, cstring(name), uid, gid, k.AT_SYMLINK_NOFOLLOW | emptyPath(name));
}

export function fchmod(fd: Fd, mode: number): void {
  const result = tryCall("fchmod", fd, mode);
  if (result === 0) return;
  if (result !== -k.EBADF) throw new SysError("fchmod", `fd ${fd}`, -result);
  // An O_PATH descriptor: its magic link is followed, and leads to exactly that file.
  call("fchmodat", `fd ${fd}`, k.AT_FDCWD, cstring(`/proc/self/fd/${fd}`), mode);
}

/** struct timespec twice (access, modification), in words: two of seconds, one of nanoseconds, one that stays 0. */
const times = new Int32Array(8);
const wide = new BigInt64Array(1);
const low = new Int32Array(wide.buffer);
const SECOND = 1e9;
/** Up to here the quotient of doubles is off by less than a second; only some file systems keep times beyond (year 5138). */
const MAX_QUICK = 1e20;

/**
 * Arithmetic on bigints would cost more than the system call: seconds come from a double, nearly right,
 * and nanoseconds from the low 32 bits of the difference, which is small enough to fit.
 */
function setTime(at: number, ns: bigint): void {
  const about = Number(ns);
  wide[0] = ns;
  let seconds = Math.floor(about / SECOND);
  let fraction = ((low[0] as number) - Math.imul(seconds, SECOND)) | 0;
  if (Math.abs(about) > MAX_QUICK) {
    fraction = Number(((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n);
    wide[0] = (ns - BigInt(fraction)) / 1_000_000_000n;
    times.set(low, at);
  } else {
    if (fraction < 0) {
      seconds--;
      fraction += SECOND;
    } else if (fraction >= SECOND) {
      seconds++;
      fraction -= SECOND;
    }
    times[at] = seconds;
    times[at + 1] = Math.floor(seconds / 2 ** 32);
  }
  times[at + 2] = fraction;
}

export function utimes(dir: Fd, name: Name, atimeNs: bigint, mtimeNs: bigint): void {
  setTime(0, atimeNs);
  if (atimeNs === mtimeNs) times.copyWithin(4, 0, 4);
  else setTime(4, mtimeNs);
  call("utimensat", name, dir, cstring(name), times, k.AT_SYMLINK_NOFOLLOW | emptyPath(name));
}

export function fsync(fd: Fd): void {
  call("fsync", `fd ${fd}`, fd);
}

export function syncfs(fd: Fd): void {
  call("syncfs", `fd ${fd}`, fd);
}

export function truncate(fd: Fd, size: number): void {
  call("ftruncate", `fd ${fd}`, fd, size);
}

export function pipe(size?: number): { read: Fd; write: Fd } {
  const F_SETPIPE_SZ = 1031;
  const ends = new Int32Array(2);
  call("pipe2", "pipe", ends, k.O_CLOEXEC);
  const [readEnd = -1, writeEnd = -1] = ends;
  if (size !== undefined) tryCall("fcntl", writeEnd, F_SETPIPE_SZ, size);
  return { read: readEnd, write: writeEnd };
}

export function memfd(name: string): Fd {
  const MFD_CLOEXEC = 1;
  return call("memfd_create", name, cstring(name), MFD_CLOEXEC);
}

export function umask(mask: number): number {
  return call("umask", "umask", mask);
}
