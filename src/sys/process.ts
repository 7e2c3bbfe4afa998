/** Processes: signals by pidfd, start times, poll, limits. Part of the ProcessCalls of `sys.ts`. */
import { EINTR, O_RDONLY } from "./const.ts";
import { hasCode, SysError } from "./errno.ts";
import { close, open, read } from "./files.ts";
import { call, tryCall } from "./libc.ts";
import type { Exited, Fd, Limit, PollEntry } from "./sys.ts";

const PR_SET_CHILD_SUBREAPER = 36;
const PR_SET_NO_NEW_PRIVS = 38;

export function pidfdOpen(pid: number): Fd {
  return call("pidfd_open", `process ${pid}`, pid, 0);
}

export function pidfdSignal(fd: Fd, signal: number): void {
  call("pidfd_send_signal", `pidfd ${fd}`, fd, signal, 0, 0);
}

export function kill(pid: number, signal: number): void {
  call("kill", `process ${pid}`, pid, signal);
}

/** One read of a short file of /proc (one read gives all of it there). Undefined if the process is gone. */
function procText(path: string): string | undefined {
  try {
    const fd = open(path, O_RDONLY);
    try {
      const into = new Uint8Array(1024);
      return Buffer.from(into.buffer, 0, read(fd, into)).toString("latin1");
    } finally {
      close(fd);
    }
  } catch (error) {
    if (hasCode(error, "ENOENT", "ESRCH")) return undefined;
    throw error;
  }
}

export function startTime(pid: number): number | undefined {
  const text = procText(`/proc/${pid}/stat`);
  // The second field is a name in parentheses, which may hold spaces and parentheses itself.
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  // What only waits for its parent to notice does nothing any more: it holds no lock, owns no work.
  if (fields === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
  return Number(fields[19]);
}

export function poll(entries: PollEntry[], timeoutMs: number): number[] {
  const fds = new DataView(new ArrayBuffer(Math.max(8 * entries.length, 8)));
  entries.forEach((entry, index) => {
    fds.setInt32(index * 8, entry.fd, true);
    fds.setInt16(index * 8 + 4, entry.events, true);
  });
  const seconds = Math.floor(timeoutMs / 1000);
  const timeout = BigInt64Array.of(BigInt(seconds), BigInt(Math.round((timeoutMs - seconds * 1000) * 1e6)));
  const result = tryCall("ppoll", fds, entries.length, timeoutMs < 0 ? 0 : timeout, 0, 0);
  if (result === -EINTR) return entries.map(() => 0);
  if (result < 0) throw new SysError("ppoll", entries.map((entry) => entry.fd).join(","), -result);
  return entries.map((_, index) => fds.getInt16(index * 8 + 6, true));
}

export function becomeSubreaper(): void {
  call("prctl", "child subreaper", PR_SET_CHILD_SUBREAPER, 1);
}

export function forbidNewPrivileges(): void {
  call("prctl", "no new privileges", PR_SET_NO_NEW_PRIVS, 1);
}

const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
const CLD_EXITED = 1;
const ECHILD = 10;

/** siginfo_t of waitid: code at 8, pid at 16, status at 24. */
export function reap(pid?: number): Exited | undefined {
  const info = new Int32Array(32);
  const [type, id] = pid === undefined ? [P_ALL, 0] : [P_PID, pid];
  const result = tryCall("waitid", type, id, info, WNOHANG | WEXITED, 0);
  if (result < 0 && result !== -ECHILD) throw new SysError("waitid", `process ${id}`, -result);
  const [code = 0, reaped = 0, status = 0] = [info[2], info[4], info[6]];
  if (result < 0 || reaped === 0) return undefined;
  return { pid: reaped, status: code === CLD_EXITED ? status : 128 + status };
}

const NO_LIMIT = 2n ** 64n - 1n;

function fromLimit(value: number): bigint {
  return Number.isFinite(value) ? BigInt(value) : NO_LIMIT;
}

function toLimit(value: bigint | undefined): number {
  return value === undefined || value === NO_LIMIT ? Infinity : Number(value);
}

export function getLimit(resource: number): Limit {
  const pair = new BigUint64Array(2);
  call("prlimit64", `limit ${resource}`, 0, resource, 0, pair);
  return { soft: toLimit(pair[0]), hard: toLimit(pair[1]) };
}

export function setLimit(resource: number, limit: Limit): void {
  const pair = BigUint64Array.of(fromLimit(limit.soft), fromLimit(limit.hard));
  call("prlimit64", `limit ${resource}`, 0, resource, pair, 0);
}
