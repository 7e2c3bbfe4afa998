/**
 * The first parameter of every operation from engine/ down: when to stop, where to talk, whom to
 * tell about progress. Nothing else travels in it; what an operation needs comes in its request.
 */
import { fail } from "./error.ts";
import { type Log, silentLog } from "./log.ts";

/**
 * One step of a long operation, for a progress display. `id` is stable for the life of the step
 * (a short digest, a file name); `current` and `total` are bytes; `total` is undefined while unknown.
 */
export interface ProgressEvent {
  id: string;
  status: "waiting" | "downloading" | "extracting" | "uploading" | "done" | "exists";
  current?: number;
  total?: number | undefined;
}

export interface Ctx {
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly progress: (event: ProgressEvent) => void;
}

export function createCtx(parts: Partial<Ctx> = {}): Ctx {
  return {
    signal: parts.signal ?? new AbortController().signal,
    log: parts.log ?? silentLog,
    progress: parts.progress ?? (() => {}),
  };
}

/** Throws `canceled` when the caller has given up; call it between the steps of long work. */
export function checkCanceled(ctx: Ctx): void {
  if (ctx.signal.aborted) throw fail("canceled", "canceled", { cause: ctx.signal.reason });
}
