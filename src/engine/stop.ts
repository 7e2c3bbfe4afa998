/** stop, kill, restart, pause, unpause: what is done to a container that runs. */
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import { isLive } from "../container/state.ts";
import type { OciRuntime } from "../runtime/runtime.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import { SIGKILL, signalNumber } from "../sys/const.ts";
import { addEvent, settle, settleLocked } from "./cleanup.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { waitUntilEnded } from "./ended.ts";
import { lockContainer } from "./lock.ts";

const DEFAULT_STOP_SECONDS = 10;
/** After SIGKILL the kernel needs a moment; a process stuck in the kernel needs for ever. */
const KILL_WAIT_MS = 20_000;

export interface StopRequest {
  container: string;
  /** Seconds until SIGKILL; -1 waits for ever. Default: the container's own, else 10. */
  timeoutSeconds?: number;
  signal?: string;
}

/**
 * Stop signal, grace time, SIGKILL; the container's host resources are back when this returns. Errors: not-found,
 * not-modified when it does not run, deadline-exceeded when even SIGKILL did not end it.
 */
export async function stop(ctx: Ctx, engine: Engine, request: StopRequest): Promise<ContainerRecord> {
  const record = await upOrSettled(ctx, engine, request.container);
  engine.records.update(record.id, { stoppedByUser: true });
  const runtime = await runtimeOf(ctx, engine, record);
  const seconds = request.timeoutSeconds ?? record.spec.stopTimeout ?? DEFAULT_STOP_SECONDS;
  if (record.state.status === "paused") runtime.resume(ctx, record.id);
  const ended =
    seconds !== 0 &&
    (await endsAfter(ctx, engine, { record, runtime, signal: stopSignal(engine, record, request), seconds }));
  if (!ended) await killForGood(ctx, engine, record, runtime);
  await settle(ctx, engine, record.id);
  addEvent(engine, record, "stop");
  return engine.records.get(record.id) ?? record;
}

function isUp({ state }: ContainerRecord): boolean {
  return isLive(state.status) && state.status !== "initialized";
}

/** One that rests between two lives by its restart policy stays down from now on. Errors: not-found, not-modified. */
async function upOrSettled(ctx: Ctx, engine: Engine, nameOrId: string): Promise<ContainerRecord> {
  const record = resolveContainer(engine, nameOrId);
  if (isUp(record)) return record;
  // Waits for whoever is bringing it up at this moment: its last write to the record would undo a mark made meanwhile.
  using _lock = await lockContainer(ctx, engine, record.id);
  await settleLocked(ctx, engine, engine.records.get(record.id) ?? record);
  const now = resolveContainer(engine, record.id);
  if (isUp(now)) return now;
  if (record.spec.restart.policy !== "no") engine.records.update(record.id, { stoppedByUser: true });
  throw fail("not-modified", `container ${record.name} is not running`, { reason: "not-running" });
}

interface Ending {
  record: ContainerRecord;
  runtime: OciRuntime;
  signal: number;
  seconds: number;
}

async function endsAfter(ctx: Ctx, engine: Engine, ending: Ending): Promise<boolean> {
  signalInit(ctx, ending.runtime, ending.record, ending.signal);
  const ms = ending.seconds < 0 ? Number.POSITIVE_INFINITY : ending.seconds * 1000;
  return waitUntilEnded(ctx, engine, ending.record.id, ms);
}

async function killForGood(
  ctx: Ctx,
  engine: Engine,
  record: ContainerRecord,
  runtime: OciRuntime,
): Promise<void> {
  signalInit(ctx, runtime, record, SIGKILL);
  if (await waitUntilEnded(ctx, engine, record.id, KILL_WAIT_MS)) return;
  throw fail(
    "deadline-exceeded",
    `container ${record.name} did not end ${KILL_WAIT_MS / 1000} s after SIGKILL`,
    {
      reason: "kill-timeout",
      hint: "one of its processes hangs in the kernel; look at its /proc/PID/stack",
    },
  );
}

function stopSignal(engine: Engine, record: ContainerRecord, request: StopRequest): number {
  const image = record.spec.imageId === undefined ? undefined : engine.images.find(record.spec.imageId);
  return signalNumber(
    request.signal ?? record.spec.stopSignal ?? (image?.config.config.StopSignal || "SIGTERM"),
  );
}

/** A signal to the container's first process. One that has just ended is no error. */
function signalInit(ctx: Ctx, runtime: OciRuntime, record: ContainerRecord, signal: number): void {
  try {
    runtime.kill(ctx, record.id, signal);
  } catch (error) {
    ctx.log.area("container").debug(`kill ${record.id.slice(0, 12)}: ${(error as Error).message}`);
    // The runtime may have lost its state with the run directory; the process is there all the same.
    if (isKind(error, "not-found")) signalProcess(record, signal);
  }
}

function signalProcess({ state }: ContainerRecord, signal: number): void {
  if (state.pid === undefined) return;
  try {
    const fd = linux.pidfdOpen(state.pid);
    try {
      if (linux.startTime(state.pid) === state.pidStart) linux.pidfdSignal(fd, signal);
    } finally {
      linux.close(fd);
    }
  } catch (error) {
    if (!hasCode(error, "ESRCH", "EINVAL")) throw error;
  }
}

export async function runtimeOf(ctx: Ctx, engine: Engine, record: ContainerRecord): Promise<OciRuntime> {
  return engine.runtime(ctx, record.state.runtimePath ?? record.spec.runtime);
}

/** Errors: not-found, conflict when it does not run, invalid-argument for a signal that is none. */
export async function kill(
  ctx: Ctx,
  engine: Engine,
  request: { container: string; signal: string },
): Promise<ContainerRecord> {
  const signal = signalNumber(request.signal);
  const record = running(engine, request.container, "kill");
  const runtime = await runtimeOf(ctx, engine, record);
  runtime.kill(ctx, record.id, signal);
  if (signal === SIGKILL) {
    engine.records.update(record.id, { stoppedByUser: true });
    await waitUntilEnded(ctx, engine, record.id, KILL_WAIT_MS);
  }
  addEvent(engine, record, "kill");
  return record;
}

/** stop, if it runs, and start. Errors: as both. */
export async function restart(
  ctx: Ctx,
  engine: Engine,
  request: { container: string; timeoutSeconds?: number },
): Promise<ContainerRecord> {
  try {
    await stop(ctx, engine, request);
  } catch (error) {
    if (!isKind(error, "not-modified")) throw error;
  }
  const { start } = await import("./start.ts");
  const { record } = await start(ctx, engine, { container: request.container });
  addEvent(engine, record, "restart");
  return record;
}

/** Errors: not-found, conflict when it does not run or is paused already. */
export async function pause(
  ctx: Ctx,
  engine: Engine,
  request: { container: string },
): Promise<ContainerRecord> {
  const record = running(engine, request.container, "pause");
  if (record.state.status === "paused") throw fail("conflict", `container ${record.name} is already paused`);
  (await runtimeOf(ctx, engine, record)).pause(ctx, record.id);
  const paused = engine.records.update(record.id, { status: "paused" });
  addEvent(engine, record, "pause");
  return paused;
}

/** Errors: not-found, conflict when it is not paused. */
export async function unpause(
  ctx: Ctx,
  engine: Engine,
  request: { container: string },
): Promise<ContainerRecord> {
  const record = running(engine, request.container, "unpause");
  if (record.state.status !== "paused") throw fail("conflict", `container ${record.name} is not paused`);
  (await runtimeOf(ctx, engine, record)).resume(ctx, record.id);
  const resumed = engine.records.update(record.id, { status: "running" });
  addEvent(engine, record, "unpause");
  return resumed;
}

/** The container, if its processes exist. Errors: not-found, conflict naming its state. */
export function running(engine: Engine, nameOrId: string, verb: string): ContainerRecord {
  const record = resolveContainer(engine, nameOrId);
  const { status } = record.state;
  if (status === "running" || status === "paused") return record;
  throw fail("conflict", `cannot ${verb} container ${record.name}: it is ${status}, not running`, {
    reason: "not-running",
    hint: `start it with "berth start ${record.name}"`,
  });
}
