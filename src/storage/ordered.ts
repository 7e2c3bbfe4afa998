/** Several jobs of one list at a time, started strictly in order. */
import type { Ctx } from "../core/ctx.ts";

/**
 * Runs `job` for each item, at most `concurrency` at once, results in the items' order. A job may wait for one
 * before it, never for one after it: since they start in order, that one is done or has a place
 * already. The first failure aborts the others' signal and is thrown when all have ended.
 */
export async function runOrdered<T, R>(
  ctx: Ctx,
  concurrency: number,
  items: T[],
  job: (ctx: Ctx, item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const stop = new AbortController();
  const inner: Ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, stop.signal]) };
  const results: R[] = [];
  let failure: { error: unknown } | undefined;
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const index = next++;
      try {
        results[index] = await job(inner, items[index] as T, index);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker));
  if (failure !== undefined) throw failure.error;
  return results;
}

/** One a core, and two on a single core: one waits for the network while the other unpacks. */
export function defaultConcurrency(): number {
  return Math.max(2, navigator.hardwareConcurrency);
}
