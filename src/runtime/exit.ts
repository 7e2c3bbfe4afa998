/**
 * How a container ended. The monitor writes the status as a decimal number into EXITDIR/ID, by rename, after it
 * has handed on all output. A monitor that was killed writes nothing: the container then reads as
 * exited with {@link LOST_STATUS} once its own process is gone.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { IN_CLOSE_WRITE, IN_CREATE, IN_MOVED_TO, POLLIN } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import type { Fd, PollEntry } from "../sys/sys.ts";
import { waitReady } from "./wait-ready.ts";

/** What nobody knows: the monitor was killed before it could tell. */
export const LOST_STATUS = 255;

export interface ExitStatus {
  exitCode: number;
  /** RFC 3339 with nanoseconds. */
  finishedAt: string;
  /** Why `exitCode` is not the command's own. */
  reason?: "monitor-lost";
}

export interface ExitRequest {
  exitFile: string;
  monitorPid?: number;
  /** Start time of the monitor in clock ticks; without it a reused pid cannot be told apart. */
  monitorStart?: number;
  pid?: number;
  pidStart?: number;
  /** The wait may block this thread; see wait-ready.ts. Default false. */
  blocking?: boolean;
}

function nanosecondTime(ns: bigint): string {
  const seconds = new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(ns % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** The recorded status, or undefined while there is none. */
export function readExit(exitFile: string): ExitStatus | undefined {
  try {
    const text = readFileSync(exitFile, "latin1").trim();
    if (!/^-?\d+$/.test(text)) return undefined;
    const { mtimeNs } = statSync(exitFile, { bigint: true });
    return { exitCode: Number(text) & 255, finishedAt: nanosecondTime(mtimeNs) };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** A pidfd of exactly this process, or undefined if it is gone (or the pid is another's by now). */
function openProcess(pid: number | undefined, start: number | undefined): Fd | undefined {
  if (pid === undefined || pid <= 0) return undefined;
  let fd: Fd;
  try {
    fd = linux.pidfdOpen(pid);
  } catch (error) {
    if (hasCode(error, "ESRCH", "EINVAL")) return undefined;
    throw error;
  }
  if (start === undefined || linux.startTime(pid) === start) return fd;
  linux.close(fd);
  return undefined;
}

/**
 * One container's end as something to poll: put {@link entries} into a poll set, and call {@link check} when one is
 * ready (or at any other time). Owns an inotify descriptor and up to two pidfds; dispose of it.
 */
export class ExitWatch implements Disposable {
  readonly #exitFile: string;
  #inotify: Fd | undefined;
  #monitor: Fd | undefined;
  #process: Fd | undefined;

  constructor(request: ExitRequest) {
    this.#exitFile = request.exitFile;
    this.#inotify = linux.inotify();
    try {
      linux.watch(this.#inotify, dirname(request.exitFile), IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE);
      this.#monitor = openProcess(request.monitorPid, request.monitorStart);
      this.#process = openProcess(request.pid, request.pidStart);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What to wait for now; it changes as processes end, so ask again before every wait. */
  entries(): PollEntry[] {
    // The process matters only without a monitor: a living monitor writes the file just after.
    const fds = [this.#inotify, this.#monitor ?? this.#process];
    return fds.filter((fd) => fd !== undefined).map((fd) => ({ fd, events: POLLIN }));
  }

  /** The status once the container has ended; never blocks. */
  check(): ExitStatus | undefined {
    if (this.#inotify !== undefined) linux.readEvents(this.#inotify);
    const known = readExit(this.#exitFile);
    if (known !== undefined) return known;
    this.#monitor = this.#closeIfDead(this.#monitor);
    if (this.#monitor !== undefined) return undefined;
    this.#process = this.#closeIfDead(this.#process);
    if (this.#process !== undefined) return undefined;
    // The monitor may have written it between the first look and its death.
    return (
      readExit(this.#exitFile) ?? {
        exitCode: LOST_STATUS,
        finishedAt: nanosecondTime(nowNs()),
        reason: "monitor-lost",
      }
    );
  }

  #closeIfDead(fd: Fd | undefined): Fd | undefined {
    if (fd === undefined || (linux.poll([{ fd, events: POLLIN }], 0)[0] ?? 0) === 0) return fd;
    linux.close(fd);
    return undefined;
  }

  [Symbol.dispose](): void {
    for (const fd of [this.#inotify, this.#monitor, this.#process]) {
      if (fd !== undefined) linux.close(fd);
    }
    this.#inotify = this.#monitor = this.#process = undefined;
  }
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}

/**
 * Waits for the container's end. Without `monitorPid` and `pid` (or when both are dead) and no exit file it
 * returns at once with reason "monitor-lost". Errors: canceled.
 */
export async function waitExit(ctx: Ctx, request: ExitRequest): Promise<ExitStatus> {
  using watch = new ExitWatch(request);
  for (;;) {
    const status = watch.check();
    if (status !== undefined) return status;
    checkCanceled(ctx);
    await waitReady(watch.entries(), { blocking: request.blocking ?? false, signal: ctx.signal });
  }
}
