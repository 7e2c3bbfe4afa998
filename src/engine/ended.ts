/** Waiting for a container's end without its lock. */
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { isLive } from "../container/state.ts";
import type { Engine } from "./engine.ts";
import { refresh } from "./refresh.ts";

const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 25;

/** True once it has ended (or is gone), false when `timeoutMs` passed first. Errors: canceled. */
export async function waitUntilEnded(
  ctx: Ctx,
  engine: Engine,
  id: string,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
    const record = engine.records.get(id);
    if (record === undefined || !isLive(refresh(engine, record).state.status)) return true;
    if (performance.now() >= deadline) return false;
    checkCanceled(ctx);
    await Bun.sleep(Math.min(pause, Math.max(0, deadline - performance.now())));
  }
}
