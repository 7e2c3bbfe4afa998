/** run: create, start and, in the foreground, stay until the end. Reads like its manual page. */
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import type { AttachIo } from "../runtime/attach.ts";
import { create, type CreateRequest } from "./create.ts";
import type { Engine } from "./engine.ts";
import { remove } from "./remove.ts";
import { bringUp } from "./start.ts";

export interface RunRequest extends CreateRequest {
  detach: boolean;
  /** Needed unless `detach`. */
  attach?: AttachIo;
  /** Called with the id once the container exists. */
  onCreated?: (id: string) => void;
}

/**
 * The exit code is the container's own, 0 after a detach. Errors: those of create and start; the container
 * is then gone if it was `--rm`, or left `created` with the reason in it, as docker and podman do.
 */
export async function run(
  ctx: Ctx,
  engine: Engine,
  request: RunRequest,
): Promise<{ id: string; exitCode: number }> {
  const record = await create(ctx, engine, { ...request, forRun: true });
  request.onCreated?.(record.id);
  try {
    const { exitCode } = await bringUp(ctx, engine, {
      id: record.id,
      verb: "run",
      ...(request.detach || request.attach === undefined ? {} : { attach: request.attach }),
    });
    return { id: record.id, exitCode: exitCode ?? 0 };
  } catch (error) {
    if (request.spec.autoRemove) await removeQuietly(ctx, engine, record.id);
    else engine.operations.end(record.id);
    throw error;
  }
}

async function removeQuietly(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  try {
    await remove(ctx, engine, { container: id, force: true, volumes: true });
  } catch (error) {
    if (!isKind(error, "not-found"))
      ctx.log.warn(`could not remove ${id.slice(0, 12)}: ${(error as Error).message}`);
  }
}
