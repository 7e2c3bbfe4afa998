/**
 * The bottom of everything: `syscall(2)` and `errno` through bun:ffi. Two symbols only, because
 * opening the library costs 0.3 ms and thirty wrappers would double it; loaded at the first call,
 * so commands that make none (`ps`) pay nothing. A call costs about 200 ns on top of the kernel's work.
 *
 * Arguments are numbers (fds, flags, lengths, addresses) or buffers, whose address is passed; a buffer
 * given as an argument stays alive until the call is over. A buffer that is only reachable through
 * an address stored in another one (iovec, msghdr) must be kept referenced by the caller, and its `.buffer` must
 * be touched before {@link addressOf}, because the engine may move small arrays at that moment.
 */
import { dlopen, FFIType, type Pointer, ptr, read } from "bun:ffi";
import { SysError } from "./errno.ts";
import { syscallNumber, type SyscallName } from "./syscall-numbers.ts";

export type Arg = number | ArrayBufferView;

interface Libc {
  syscall: (...args: number[]) => number;
  /** Where this thread's errno lies; a worker has its own module instance, so it never changes. */
  errno: Pointer;
}

const EINTR = 4;
const EINVAL = 22;

let libc: Libc | undefined;

/** The buffers of the last calls, so that the collector cannot take one between its address and the call. */
const held: (ArrayBufferView | undefined)[] = [];
let slot = 0;

function load(): Libc {
  const i64 = "i64" as const;
  const lib = dlopen("libc.so.6", {
    syscall: { args: [i64, i64, i64, i64, i64, i64, i64], returns: FFIType.i64_fast },
    __errno_location: { args: [], returns: "ptr" },
  });
  return {
    syscall: lib.symbols.syscall as unknown as (...args: number[]) => number,
    errno: lib.symbols.__errno_location() as Pointer,
  };
}

function raw(arg: Arg): number {
  if (typeof arg === "number") return arg;
  held[slot] = arg;
  slot = (slot + 1) & 7;
  return addressOf(arg);
}

/** Makes the call and returns its result, or `-errno`. Never throws; for callers that expect errors. */
// oxlint-disable-next-line max-params -- the kernel takes six, and an array of them would cost a third of the call
export function tryCall(
  name: SyscallName,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  libc ??= load();
  const result = libc.syscall(syscallNumber(name), raw(a), raw(b), raw(c), raw(d), raw(e), raw(f));
  return result === -1 ? -read.i32(libc.errno, 0) : result;
}

/**
 * Makes the call and returns its result. Repeats on EINTR (so not for `close` and `ppoll`: they
 * use {@link tryCall}). Errors: {@link SysError} with the call's name, `about` (a path or object) and errno.
 */
// oxlint-disable-next-line max-params -- as above
export function call(
  name: SyscallName,
  about: string | Uint8Array,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  for (;;) {
    const result = tryCall(name, a, b, c, d, e, f);
    if (result >= 0) return result;
    if (result !== -EINTR) throw new SysError(name, about, -result);
  }
}

/** Address of a buffer's first byte, as the number a system call takes; 0 for an empty one. */
export function addressOf(buffer: ArrayBufferView): number {
  return buffer.byteLength === 0 ? 0 : (ptr(buffer as never) as number);
}

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(1);

/** A NUL-terminated copy for the kernel, only to be read. Errors: EINVAL for a name that holds a NUL itself. */
export function cstring(text: string | Uint8Array): Uint8Array {
  // "The descriptor itself", two or three times for every file that is unpacked.
  if (text.length === 0) return EMPTY;
  const nul = typeof text === "string" ? text.includes("\0") : text.includes(0);
  if (nul) throw new SysError("path", text, EINVAL);
  if (typeof text === "string") return encoder.encode(`${text}\0`);
  const out = new Uint8Array(text.length + 1);
  out.set(text);
  return out;
}
