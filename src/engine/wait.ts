/** `wait`: until a container reaches a condition. Returns the exit status (-1 when it was removed unseen). */
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import { isLive } from "../container/state.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";

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
    if (holds(request.condition, record)) return exitCode === -1 ? (engine.events.endOf(id) ?? 0) : exitCode;
    await Bun.sleep(pause);
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
