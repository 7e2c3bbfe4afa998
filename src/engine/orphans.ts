/** Names, ports and addresses that only a container still holds which has ended unseen. */
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import type { Engine } from "./engine.ts";

/** Runs `body`; if something is taken and there are orphans, cleans up after them and runs it once more. */
export async function orAfterOrphans<T>(ctx: Ctx, engine: Engine, body: () => T | Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    const isTaken = (["already-exists", "in-use", "resource-exhausted"] as const).some((kind) =>
      isKind(error, kind),
    );
    if (!isTaken || !(await settleAll(ctx, engine))) throw error;
  }
  return body();
}

async function settleAll(ctx: Ctx, engine: Engine): Promise<boolean> {
  const [{ refreshAll }, { settleOrphans }] = await Promise.all([
    import("./refresh.ts"),
    import("./cleanup.ts"),
  ]);
  refreshAll(engine);
  return (await settleOrphans(ctx, engine)) > 0;
}
