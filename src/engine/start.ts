/** start: brings a created or exited container up, and with `attach` stays with it until it ends. */
import type { Ctx } from "../core/ctx.ts";
import { fail, messageOf } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import { launch, prepare, type Prepared } from "../container/init.ts";
import { canStart } from "../container/state.ts";
import type { AttachIo } from "../runtime/attach.ts";
import { restartByPolicy, settle, settleLocked } from "./cleanup.ts";
import type { Engine } from "./engine.ts";
import { follow, type Followed } from "./follow.ts";
import { resolveContainer } from "./list.ts";
import { lockContainer } from "./lock.ts";
import { orAfterOrphans } from "./orphans.ts";

export interface StartRequest {
  container: string;
  attach?: AttachIo;
  /** Done by the restart policy: the count of restarts stays. */
  isRestart?: boolean;
}

export interface Started {
  record: ContainerRecord;
  /** With `attach`, once it has ended; undefined after a detach. */
  exitCode?: number;
}

/** Errors: not-found; not-modified when it runs already; those of the runtime, network and image. */
export async function start(ctx: Ctx, engine: Engine, request: StartRequest): Promise<Started> {
  const found = resolveContainer(engine, request.container);
  if (found.state.status === "running" || found.state.status === "paused") {
    throw fail("not-modified", `container ${found.name} is already running`, { reason: "already-running" });
  }
  return bringUp(ctx, engine, {
    id: found.id,
    verb: "start",
    ...(request.attach === undefined ? {} : { attach: request.attach }),
    keepRestarts: request.isRestart ?? false,
  });
}

export interface BringUp {
  id: string;
  verb: "run" | "start";
  attach?: AttachIo;
  keepRestarts?: boolean;
}

/** A foreground caller cleans up by itself; if it is killed, the monitor does after this many seconds. */
const FOREGROUND_EXIT_DELAY = 1;

/** The way up that `run` and `start` share. */
export async function bringUp(ctx: Ctx, engine: Engine, request: BringUp): Promise<Started> {
  const foreground = request.attach !== undefined;
  let followed: Followed | undefined;
  let record: ContainerRecord;
  {
    using _lock = await lockContainer(ctx, engine, request.id);
    const prepared = await prepareLocked(ctx, engine, request);
    // Attached before it runs, so that not one byte of output is missed.
    if (request.attach !== undefined) followed = follow(ctx, engine, { prepared, io: request.attach });
    record = await launchOrRecord(ctx, engine, prepared, followed);
  }
  if (!foreground || followed === undefined) return { record };
  const end = await followed.ended();
  if (end === "detached") return { record };
  const exitCode = await finish(ctx, engine, record, followed);
  return { record: engine.records.get(record.id) ?? record, exitCode };
}

async function prepareLocked(ctx: Ctx, engine: Engine, request: BringUp): Promise<Prepared> {
  const stored = engine.records.get(request.id);
  if (stored === undefined) throw fail("not-found", `container ${request.id.slice(0, 12)} was removed`);
  // An earlier life that nobody has cleaned up yet.
  await settleLocked(ctx, engine, stored);
  const record = engine.records.get(request.id) ?? stored;
  if (!canStart(record.state.status))
    throw fail("conflict", `cannot start container ${record.name}: it is ${record.state.status}`);
  if (request.keepRestarts === true && record.state.stoppedByUser === true)
    throw fail("not-modified", `container ${record.name} was stopped before it was restarted`);
  if (request.keepRestarts !== true) record.state.restarts = 0;
  if (request.verb === "start") engine.operations.begin(record.id, "start");
  const image = record.spec.imageId === undefined ? undefined : engine.images.resolve(record.spec.imageId);
  const exitDelaySeconds = request.attach === undefined ? 0 : FOREGROUND_EXIT_DELAY;
  try {
    return await orAfterOrphans(ctx, engine, () => prepare(ctx, engine, { record, image, exitDelaySeconds }));
  } catch (error) {
    failedToStart(engine, record, error);
    throw error;
  }
}

async function launchOrRecord(
  ctx: Ctx,
  engine: Engine,
  prepared: Prepared,
  followed: Followed | undefined,
): Promise<ContainerRecord> {
  try {
    return await launch(ctx, engine, prepared);
  } catch (error) {
    followed?.abandon();
    failedToStart(engine, prepared.record, error);
    throw error;
  }
}

/** The container stays, with the reason in its record; a `run` takes it away itself. */
function failedToStart(engine: Engine, record: ContainerRecord, error: unknown): void {
  engine.db.tx(() => {
    if (engine.records.get(record.id) !== undefined) {
      engine.records.update(record.id, { error: messageOf(error), exitCode: exitCodeFor(error) });
    }
    if (engine.operations.of(record.id)?.verb === "start") engine.operations.end(record.id);
  });
}

function exitCodeFor(error: unknown): number {
  const kind = (error as { kind?: string }).kind;
  if (kind === "command-not-found") return 127;
  return kind === "command-not-executable" ? 126 : 125;
}

async function finish(
  ctx: Ctx,
  engine: Engine,
  record: ContainerRecord,
  followed: Followed,
): Promise<number> {
  const exitCode = await followed.exitCode();
  const again = await settle(ctx, engine, record.id);
  followed.dismissMonitor();
  if (again) await restartByPolicy(ctx, engine, record.id);
  return exitCode;
}
