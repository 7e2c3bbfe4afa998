/** `wait`: until a container reaches a condition. Returns the exit status (-1 when it was removed unseen). */
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import { isLive, isMonitored } from "../container/state.ts";
import { processStart } from "../sys/host.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { refresh } from "./refresh.ts";

/** A cleanup takes some ten milliseconds; more than this is somebody else's trouble. */
const CLEANUP_MS = 5000;

export interface WaitRequest {
  container: string;
  /** `stopped` and `exited` are the same: not live. */
  condition: "stopped" | "running" | "exited" | "removed";
  intervalMs?: number;
}

/** Errors: not-found when there is no such container at the start; canceled. */
export async function wait(ctx: Ctx, engine: Engine, request: WaitRequest): Promise<number> {
  const { id } = resolveContainer(engine, request.container);
  let exitCode = -1;
  for (let pause = 1; ; pause = Math.min(pause * 2, request.intervalMs ?? 100)) {
    checkCanceled(ctx);
    const record = find(engine, id);
    if (record === undefined) return engine.events.endOf(id) ?? exitCode;
    exitCode = record.state.exitCode ?? exitCode;
    if (holds(request.condition, record)) {
      await untilCleanedUp(ctx, engine, id);
      return exitCode === -1 ? (engine.events.endOf(id) ?? 0) : exitCode;
    }
    await Bun.sleep(pause);
  }
}

/**
 * After an end its ports, addresses and events are only right once the monitor's exit command has been at it. Not waited for without a
 * monitor: whoever finds such a container cleans up after it.
 */
async function untilCleanedUp(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  for (const deadline = performance.now() + CLEANUP_MS; performance.now() < deadline; await Bun.sleep(2)) {
    checkCanceled(ctx);
    const stored = engine.records.get(id);
    if (stored === undefined || !isLive(stored.state.status)) return;
    if (!isMonitored(stored.state, { startTime: processStart })) return;
    // Up again already.
    if (isLive(refresh(engine, stored).state.status)) return;
  }
}

function find(engine: Engine, id: string): ContainerRecord | undefined {
  try {
    return resolveContainer(engine, id);
  } catch (error) {
    if (isKind(error, "not-found")) return undefined;
    throw error;
  }
}

function holds(condition: WaitRequest["condition"], record: ContainerRecord): boolean {
  const { status } = record.state;
  if (condition === "removed") return false;
  if (condition === "running") return status === "running";
  return !isLive(status);
}
