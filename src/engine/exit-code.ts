/** The exit code of a container that somebody stayed with. */
import type { Ctx } from "../core/ctx.ts";
import { type ExitRequest, type ExitStatus, waitExit } from "../runtime/exit.ts";
import type { Engine } from "./engine.ts";

/**
 * Waits for the monitor's exit file. Another command (`stop`, `rm`) may have cleaned up, and taken the file away, before we
 * looked: then it has left an event. 255 when nobody knows.
 */
export async function exitCodeOf(
  ctx: Ctx,
  engine: Engine,
  request: { id: string; exit: ExitRequest; known: ExitStatus | undefined },
): Promise<number> {
  const status = request.known ?? (await waitExit(ctx, { ...request.exit, blocking: true }));
  if (status.reason !== "monitor-lost") return status.exitCode;
  return engine.events.endOf(request.id) ?? status.exitCode;
}
