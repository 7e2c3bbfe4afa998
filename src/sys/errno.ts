/** Errors of system calls, typed: the call's name, the path or object it was about, the errno. */
import { constants } from "node:os";
import type { Kind } from "../core/error-table.ts";
import { EngineError } from "../core/error.ts";

const nameOf = new Map<number, string>(Object.entries(constants.errno).map(([name, n]) => [n, name]));

const KIND: Record<string, Kind> = {
  ENOENT: "not-found",
  EEXIST: "already-exists",
  EACCES: "permission-denied",
  EPERM: "permission-denied",
  ENOSPC: "resource-exhausted",
  EDQUOT: "resource-exhausted",
  EMFILE: "resource-exhausted",
  ENFILE: "resource-exhausted",
  ENOMEM: "resource-exhausted",
  EBUSY: "in-use",
  ENOSYS: "unimplemented",
  ENOTSUP: "unimplemented",
};

export class SysError extends EngineError {
  readonly call: string;
  readonly path: string;
  readonly errno: number;
  /** The symbolic name: "ENOENT". */
  readonly code: string;

  /** `detail` is what the kernel said in words, where it does (fsconfig). */
  constructor(call: string, path: string | Uint8Array, errno: number, detail = "") {
    const code = nameOf.get(errno) ?? `errno ${errno}`;
    const text = typeof path === "string" ? path : Buffer.from(path).toString();
    super(KIND[code] ?? "internal", `${call} "${text}": ${code}${detail && ` (${detail})`}`, {
      reason: code,
      data: { call, path: text, errno },
    });
    this.name = "SysError";
    this.call = call;
    this.path = text;
    this.errno = errno;
    this.code = code;
  }
}

/** True for a {@link SysError} (or a Node file-system error) with one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && codes.includes(code);
}
