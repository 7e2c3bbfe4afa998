/** The lock of one container: held by whoever changes what it has on the host. */
import type { Ctx } from "../core/ctx.ts";
import { FileLock } from "../storage/lock.ts";
import type { Engine } from "./engine.ts";

export function lockContainer(ctx: Ctx, engine: Engine, id: string): Promise<FileLock> {
  return FileLock.acquire(ctx, { sys: engine.sys, dir: engine.paths.locks, name: `container-${id}` });
}
