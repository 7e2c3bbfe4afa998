/** Errors of system calls, typed: the call's name, the path or object it was about, the errno. */
import type { Kind } from "../core/error-table.ts";
import { EngineError } from "../core/error.ts";

/** By number, from 1; the same on x86_64 and aarch64. A string, because most commands never need the list. */
const NAMES =
  "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL";

let names: string[] | undefined;

/** "ENOENT" for 2. */
export function errnoName(errno: number): string {
  names ??= NAMES.split(" ");
  return names[errno - 1] ?? `errno ${errno}`;
}

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
  EOPNOTSUPP: "unimplemented",
};

export class SysError extends EngineError {
  readonly call: string;
  readonly path: string;
  readonly errno: number;
  /** The symbolic name: "ENOENT". */
  readonly code: string;

  /** `detail` is what the kernel said in words, where it does (fsconfig). */
  constructor(call: string, path: string | Uint8Array, errno: number, detail = "") {
    const code = errnoName(errno);
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
