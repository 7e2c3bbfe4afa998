/**
 * The bottom of everything: `syscall(2)` and `errno` through bun:ffi. Two symbols only, because
 * opening the library costs 0.3 ms and thirty wrappers would double it; loaded at the first call,
 * so commands that make none (`ps`) pay nothing.
 *
 * All arguments are numbers (fds, flags, lengths) or addresses from {@link addressOf}. Buffers
 * whose address is passed must stay referenced by the caller until the call returns.
 */
import { dlopen, FFIType, ptr, read } from "bun:ffi";
import { SysError } from "./errno.ts";
import { syscallNumbers, type SyscallName } from "./syscall-numbers.ts";

interface Libc {
  syscall: (...args: number[]) => number;
  errno: () => number;
}

let libc: Libc | undefined;

function load(): Libc {
  const i64 = "i64" as const;
  const lib = dlopen("libc.so.6", {
    syscall: { args: [i64, i64, i64, i64, i64, i64, i64], returns: FFIType.i64_fast },
    __errno_location: { args: [], returns: "ptr" },
  });
  const raw = lib.symbols.syscall as unknown as (...args: number[]) => number;
  const location = lib.symbols.__errno_location as unknown as () => number;
  return {
    syscall: raw,
    // The address is per thread, and a worker has its own module instance.
    errno: () => read.i32(location() as never, 0),
  };
}

/** Makes the call and returns its result, or `-errno`. Never throws; for callers that expect errors. */
export function tryCall(name: SyscallName, ...args: number[]): number {
  libc ??= load();
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
  const result = libc.syscall(syscallNumbers[name], a, b, c, d, e, f);
  return result === -1 ? -libc.errno() : result;
}

/**
 * Makes the call and returns its result. Repeats on EINTR, except for `ppoll`, whose callers want
 * to see signals. Errors: {@link SysError} with the call's name, `about` (a path or object) and errno.
 */
export function call(name: SyscallName, about: string | Uint8Array, ...args: number[]): number {
  for (;;) {
    const result = tryCall(name, ...args);
    if (result >= 0) return result;
    if (result !== -4 || name === "ppoll") throw new SysError(name, about, -result);
  }
}

/** Address of a buffer's first byte, as the number a system call takes. */
export function addressOf(buffer: ArrayBufferView): number {
  return buffer.byteLength === 0 ? 0 : Number(ptr(buffer as never));
}

/** A NUL-terminated copy for the kernel. Errors: EINVAL for a name that holds a NUL itself. */
export function cstring(text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  if (bytes.includes(0)) throw new SysError("path", text, 22);
  const out = new Uint8Array(bytes.length + 1);
  out.set(bytes);
  return out;
}
