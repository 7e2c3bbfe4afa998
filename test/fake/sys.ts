/**
 * A {@link Sys} that writes down every call, passes it on to a real one, and can fail one of those
 * that change something: the same code is run once for every n, and must leave nothing behind each time.
 *
 *     const probe = recordSys();            work(probe.sys);
 *     for (let n = 1; n <= probe.changes; n++) { const run = recordSys({ failAt: { n, errno: 28 } }); … }
 *
 * A failing call is not passed on. `createNetns` and `mountOverlay` count as one call each.
 */
import { SysError } from "../../src/sys/errno.ts";
import { linux } from "../../src/sys/linux.ts";
import type { Sys } from "../../src/sys/sys.ts";

export type CallName = keyof Sys;

/** What a call did before is the same after these, so they are never the n-th. */
const READING = new Set<CallName>([
  "open",
  "openat",
  "openat2",
  "close",
  "dup",
  "read",
  "stat",
  "statfs",
  "readlink",
  "readdir",
  "getxattr",
  "listxattr",
  "flock",
  "inNetns",
  "pidfdOpen",
  "startTime",
  "poll",
  "reap",
  "getLimit",
  "inotify",
  "watch",
  "readEvents",
  "pipe",
  "memfd",
  "umask",
  "socketpair",
  "receive",
  "receiveFds",
  "setNonBlocking",
  "isTty",
  "windowSize",
]);

const O_CREAT = 0x40;

/** An open that may create its file changes something. */
function changes(name: CallName, args: unknown[]): boolean {
  if (name === "open") return ((args[1] as number) & O_CREAT) !== 0;
  if (name === "openat") return ((args[2] as number) & O_CREAT) !== 0;
  if (name === "openat2") return ((args[2] as { flags: number }).flags & O_CREAT) !== 0;
  return !READING.has(name);
}

export interface FailAt {
  /** The n-th (from 1) of the counted calls; 1 by default. */
  n?: number;
  /** Count only calls of this name, also if they only read. */
  call?: CallName;
  errno: number;
}

export interface Recorder {
  readonly sys: Sys;
  /** Every call in order, with its arguments as they were (bytes are copied). */
  readonly calls: [CallName, ...unknown[]][];
  /** State-changing calls so far. */
  readonly changes: number;
  /** True once the call to fail has failed. */
  readonly failed: boolean;
}

function kept(arg: unknown): unknown {
  return arg instanceof Uint8Array ? arg.slice() : arg;
}

export function recordSys(options: { base?: Partial<Sys>; failAt?: FailAt } = {}): Recorder {
  const base: Sys = { ...linux, ...options.base };
  const { failAt } = options;
  const calls: [CallName, ...unknown[]][] = [];
  const state = { changes: 0, counted: 0, failed: false };
  const intercept = (name: CallName, args: unknown[]): void => {
    calls.push([name, ...args.map(kept)]);
    const change = changes(name, args);
    if (change) state.changes++;
    const counts = failAt?.call === undefined ? change : failAt.call === name;
    if (failAt === undefined || !counts || ++state.counted !== (failAt.n ?? 1)) return;
    state.failed = true;
    throw new SysError(name, `call ${state.counted}`, failAt.errno);
  };
  const wrapped = Object.entries(base).map(([name, real]) => [
    name,
    (...args: unknown[]): unknown => {
      intercept(name as CallName, args);
      return (real as (...all: unknown[]) => unknown)(...args);
    },
  ]);
  return {
    sys: Object.fromEntries(wrapped) as Sys,
    calls,
    get changes() {
      return state.changes;
    },
    get failed() {
      return state.failed;
    },
  };
}
