/**
 * What follows a container's end: status into the record, host resources back, `--rm`, restart policy.
 *
 * Runs in whoever sees the end first: the foreground `run`, `stop`, `rm`, or the monitor's exit command
 * (`container cleanup`). Idempotent, under the container's lock.
 */
import { existsSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import { messageOf } from "../core/error.ts";
import type { ContainerRecord, ContainerState } from "../container/container.ts";
import { isLive } from "../container/state.ts";
import { removeExitFile, teardown } from "../container/teardown.ts";
import type { Engine } from "./engine.ts";
import { lockContainer } from "./lock.ts";
import { refresh } from "./refresh.ts";

export interface CleanupRequest {
  container: string;
  /** A session that ended, instead of the container. */
  exec?: string;
}

/** An unknown container is no error: somebody else has cleaned up and removed it. */
export async function cleanup(ctx: Ctx, engine: Engine, request: CleanupRequest): Promise<void> {
  const found = engine.records.find(request.container);
  if (found === undefined) return;
  if (request.exec !== undefined) {
    engine.db.run("DELETE FROM sessions WHERE id = ?", request.exec);
    return;
  }
  const again = await settle(ctx, engine, found.id);
  if (again) await restartByPolicy(ctx, engine, found.id);
}

/** Brings record and host in line with a container that has ended. True when its policy wants it up again. */
export async function settle(ctx: Ctx, engine: Engine, id: string): Promise<boolean> {
  using _lock = await lockContainer(ctx, engine, id);
  const record = engine.records.get(id);
  if (record === undefined) return false;
  return await settleLocked(ctx, engine, record);
}

/** As `settle`, for a caller that has the lock. */
export async function settleLocked(ctx: Ctx, engine: Engine, record: ContainerRecord): Promise<boolean> {
  if (!isLive(record.state.status)) return false;
  const now = refresh(engine, record).state;
  if (isLive(now.status)) return false;
  const oomKilled = existsSync(`${engine.paths.runContainer(record.id)}/persist/oom`);
  // Killed in the midst of this, the next one must still find out how it ended.
  await teardown(ctx, engine, record, { keepExit: true });
  const ended: ContainerState = { ...withoutRunFacts(now), oomKilled };
  if (record.spec.autoRemove) {
    await forget(engine, { ...record, state: ended }, ["died", "remove"]);
    return false;
  }
  engine.db.tx(() => {
    engine.records.replaceState(record.id, ended);
    engine.operations.end(record.id);
    addEvent(engine, { ...record, state: ended }, "died");
  });
  removeExitFile(engine, record.id);
  return wantsRestart(record, ended);
}

/**
 * Cleans up after the containers in `engine.orphans`: whose monitor, or its exit command, was killed. Called where a command is about
 * to end, and where a name, port or address is taken. Returns how many there were; a failure is a warning.
 */
export async function settleOrphans(ctx: Ctx, engine: Engine): Promise<number> {
  const ids = [...engine.orphans];
  engine.orphans.clear();
  for (const id of ids) {
    try {
      await settle(ctx, engine, id);
    } catch (error) {
      ctx.log.warn(`cleaning up container ${id.slice(0, 12)} failed: ${messageOf(error)}`);
    }
  }
  return ids.length;
}

/** What is true only of a live container goes with it. */
export function withoutRunFacts(state: ContainerState): ContainerState {
  const { pid: _p, pidStart: _s, monitorPid: _m, monitorStart: _t, ...more } = state;
  const { bootId: _b, netns: _n, attachment: _a, ...rest } = more;
  return rest;
}

/**
 * Deletes directories and record of a container that holds nothing on the host any more. The last of the events comes with the
 * record's end, those before it while the exit file is still there: whoever waits for the exit code finds one of them.
 */
export async function forget(engine: Engine, record: ContainerRecord, actions: string[]): Promise<void> {
  engine.db.tx(() => {
    engine.records.update(record.id, { status: "removing" });
    engine.operations.begin(record.id, "remove");
    for (const action of actions.slice(0, -1)) addEvent(engine, record, action);
  });
  removeExitFile(engine, record.id);
  engine.rootfs.remove(record.id);
  engine.db.tx(() => {
    engine.records.delete(record.id);
    engine.operations.end(record.id);
    for (const action of actions.slice(-1)) addEvent(engine, record, action);
  });
}

export function addEvent(engine: Engine, record: ContainerRecord, action: string): void {
  const exit: Record<string, string> =
    action === "died" ? { containerExitCode: String(record.state.exitCode ?? 0) } : {};
  engine.events.add({
    type: "container",
    action,
    id: record.id,
    name: record.name,
    attributes: { image: record.spec.image, ...exit, ...record.spec.labels },
  });
}

function wantsRestart(record: ContainerRecord, ended: ContainerState): boolean {
  const { policy, max } = record.spec.restart;
  if (ended.stoppedByUser === true) return false;
  if (policy === "always" || policy === "unless-stopped") return true;
  return policy === "on-failure" && ended.exitCode !== 0 && (max === 0 || ended.restarts < max);
}

const FIRST_BACKOFF_MS = 100;
const LAST_BACKOFF_MS = 60_000;

/** After a pause that grows with the restarts; gives up when somebody has stopped, started or removed it meanwhile. */
export async function restartByPolicy(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  const record = engine.records.get(id);
  if (record === undefined) return;
  const pause = Math.min(FIRST_BACKOFF_MS * 2 ** record.state.restarts, LAST_BACKOFF_MS);
  await Bun.sleep(pause);
  const current = engine.records.get(id);
  if (current === undefined || current.state.stoppedByUser === true || isLive(current.state.status)) return;
  engine.records.update(id, { restarts: current.state.restarts + 1 });
  const { start } = await import("./start.ts");
  try {
    await start(ctx, engine, { container: id, isRestart: true });
  } catch (error) {
    // Somebody stopped, removed or started it meanwhile.
    if (!isKind(error, "not-modified") && !isKind(error, "not-found")) throw error;
  }
}
