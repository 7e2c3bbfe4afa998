/** export: a container's whole file system as one tar, without volumes and without the engine's own files. */
import type { Ctx } from "../core/ctx.ts";
import { tarTree } from "../storage/changes.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { lockContainer } from "./lock.ts";
import { mountLayers } from "./mounted.ts";

/** Errors: not-found. */
export async function* exportContainer(
  ctx: Ctx,
  engine: Engine,
  request: { container: string },
): AsyncIterable<Uint8Array> {
  const { id } = resolveContainer(engine, request.container);
  using _lock = await lockContainer(ctx, engine, id);
  using mounted = mountLayers(engine, engine.records.resolve(id));
  yield* tarTree(engine.sys, { root: mounted.root });
}
