/** rm and container prune. */
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import type { ContainerRecord } from "../container/container.ts";
import { canRemove, isLive } from "../container/state.ts";
import { teardown } from "../container/teardown.ts";
import { treeBytes } from "../storage/usage.ts";
import { forget } from "./cleanup.ts";
import type { Engine, Filter } from "./engine.ts";
import { matcher } from "./filter.ts";
import { containerTests, resolveContainer } from "./list.ts";
import { lockContainer } from "./lock.ts";
import { refresh, refreshAll } from "./refresh.ts";
import { stop } from "./stop.ts";

export interface RemoveRequest {
  container: string;
  /** Ends it first if it runs. */
  force: boolean;
  /** Anonymous volumes too. They lie with the container for now, and always go. */
  volumes: boolean;
  /** Grace time before SIGKILL with `force`; default 0. */
  timeoutSeconds?: number;
}

/** Errors: not-found; in-use when it runs and `force` was not given. */
export async function remove(ctx: Ctx, engine: Engine, request: RemoveRequest): Promise<void> {
  const found = resolveContainer(engine, request.container);
  if (!canRemove(found.state.status) && !request.force) {
    throw fail(
      "in-use",
      `cannot remove container ${found.name} (${found.id.slice(0, 12)}) as it is ${found.state.status}: running or paused containers cannot be removed without force: container state improper`,
      { reason: "container-running", hint: "stop it first, or use --force" },
    );
  }
  if (isLive(found.state.status)) await end(ctx, engine, found, request.timeoutSeconds ?? 0);
  using _lock = await lockContainer(ctx, engine, found.id);
  const stored = engine.records.get(found.id);
  if (stored === undefined) return;
  const record = refresh(engine, stored);
  // Whatever is left of an earlier life or of a start that broke off goes with it.
  if (mayHoldResources(engine, stored)) await teardown(ctx, engine, stored);
  await forget(engine, record, ["remove"]);
}

async function end(ctx: Ctx, engine: Engine, record: ContainerRecord, timeoutSeconds: number): Promise<void> {
  if (record.state.status === "initialized") return;
  try {
    await stop(ctx, engine, { container: record.id, timeoutSeconds });
  } catch (error) {
    // It ended, or was removed, by itself meanwhile.
    if (!isKind(error, "not-modified") && !isKind(error, "not-found")) throw error;
  }
}

function mayHoldResources(engine: Engine, stored: ContainerRecord): boolean {
  return (
    isLive(stored.state.status) ||
    stored.state.netns !== undefined ||
    engine.operations.of(stored.id) !== undefined
  );
}

/** Removes every container that is not live and matches; returns ids and the bytes of their directories, as `du` counts them. */
export async function prune(
  ctx: Ctx,
  engine: Engine,
  request: { filters: Filter[] },
): Promise<{ ids: string[]; reclaimed: number }> {
  const matches = matcher(request.filters, containerTests(engine));
  const ids: string[] = [];
  let reclaimed = 0;
  for (const record of refreshAll(engine)) {
    const isIdle = record.state.status === "exited" || record.state.status === "created";
    if (!isIdle || !matches(record) || engine.operations.of(record.id) !== undefined) continue;
    const size = treeBytes(engine.sys, engine.paths.container(record.id));
    await remove(ctx, engine, { container: record.id, force: false, volumes: true });
    ids.push(record.id);
    reclaimed += size;
  }
  if (ids.length > 0) {
    const about = {
      type: "system",
      action: "prune",
      id: "",
      name: "",
      attributes: { containers: String(ids.length) },
    } as const;
    engine.events.add(about);
  }
  return { ids, reclaimed };
}
