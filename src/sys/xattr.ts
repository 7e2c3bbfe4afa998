/** Extended attributes: the XattrCalls of `sys.ts`. A link in the last component is never followed. */
import { EBADF, ENODATA, EOPNOTSUPP, ERANGE } from "./const.ts";
import { SysError } from "./errno.ts";
import { type Arg, cstring, tryCall } from "./libc.ts";
import type { Fd, Name } from "./sys.ts";
import type { SyscallName } from "./syscall-numbers.ts";

type Operation = "getxattr" | "setxattr" | "removexattr" | "listxattr";

/** The call by descriptor, by link-safe path, or, for an O_PATH descriptor, through its magic link. */
function attempt(operation: Operation, target: Name | Fd, ...rest: Arg[]): number {
  if (typeof target !== "number") {
    return tryCall(`l${operation}` as SyscallName, cstring(target), ...(rest as [Arg]));
  }
  const result = tryCall(`f${operation}` as SyscallName, target, ...(rest as [Arg]));
  if (result !== -EBADF) return result;
  return tryCall(operation, cstring(`/proc/self/fd/${target}`), ...(rest as [Arg]));
}

function about(target: Name | Fd): Name {
  return typeof target === "number" ? `fd ${target}` : target;
}

/** Fetches with a small buffer first: nearly all values fit, and the list is mostly empty. */
function fetch(operation: "getxattr" | "listxattr", target: Name | Fd, key: Arg[]): Uint8Array | number {
  for (let size = 512; ; size = 65_536) {
    const into = new Uint8Array(size);
    const length = attempt(operation, target, ...key, into, size);
    if (length >= 0) return into.subarray(0, length);
    if (length !== -ERANGE || size === 65_536) return length;
  }
}

export function getxattr(target: Name | Fd, key: string): Uint8Array | undefined {
  const found = fetch("getxattr", target, [cstring(key)]);
  if (typeof found !== "number") return found;
  if (found === -ENODATA || found === -EOPNOTSUPP) return undefined;
  throw new SysError("getxattr", about(target), -found);
}

export function setxattr(target: Name | Fd, key: string, value: Uint8Array): void {
  const result = attempt("setxattr", target, cstring(key), value, value.byteLength, 0);
  if (result < 0) throw new SysError("setxattr", about(target), -result);
}

export function removexattr(target: Name | Fd, key: string): void {
  const result = attempt("removexattr", target, cstring(key));
  if (result < 0 && result !== -ENODATA) throw new SysError("removexattr", about(target), -result);
}

export function listxattr(target: Name | Fd): string[] {
  const found = fetch("listxattr", target, []);
  if (found === -EOPNOTSUPP) return [];
  if (typeof found === "number") throw new SysError("listxattr", about(target), -found);
  const text = Buffer.from(found.buffer, found.byteOffset, found.byteLength).toString();
  return text === "" ? [] : text.slice(0, -1).split("\0");
}
