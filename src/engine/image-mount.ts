/** image mount and unmount: an image's files to look into, without a container. */
import type { Ctx } from "../core/ctx.ts";
import {
  type ImageMount,
  imageMounts,
  lockImageMount,
  mountImage,
  unmountImage,
} from "../storage/image-mounts.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface MountedImage {
  record: ImageRecord;
  path: string;
}

/** Mounts it read-only, or counts one more. Errors: not-found, invalid-argument (too many layers). */
export function mount(_ctx: Ctx, engine: Engine, request: { image: string }): MountedImage {
  const { id } = engine.images.resolve(request.image);
  using _lock = lockImageMount(engine, id);
  // Somebody may have removed it before we had the lock.
  const record = engine.images.resolve(id);
  const { path } = mountImage({ ...partsOf(engine), layers: engine.layers }, record);
  addEvent(engine, record, "mount");
  return { record, path };
}

/** Images that are mounted, in the order of `images`. */
export function mounted(_ctx: Ctx, engine: Engine): MountedImage[] {
  const mounts = new Map(imageMounts(engine).map(({ id, path }) => [id, path]));
  if (mounts.size === 0) return [];
  return engine.images.list().flatMap((record) => {
    const path = mounts.get(record.id);
    return path === undefined ? [] : [{ record, path }];
  });
}

/** Counts one less and unmounts at none, with `force` at once. The id, or undefined if it was not mounted. Errors: not-found, in-use. */
export function unmount(
  _ctx: Ctx,
  engine: Engine,
  request: { image: string; force: boolean },
): string | undefined {
  const record = engine.images.resolve(request.image);
  using _lock = lockImageMount(engine, record.id);
  if (!unmountImage(engine, record.id, { force: request.force })) return undefined;
  addEvent(engine, record, "unmount");
  return record.id;
}

/** Unmounts every image, also one that has lost its record. */
export function unmountAll(engine: Engine, request: { force: boolean }): string[] {
  return imageMounts(engine).map(({ id }: ImageMount) => {
    using _lock = lockImageMount(engine, id);
    unmountImage(engine, id, request);
    return id;
  });
}

function partsOf({ sys, paths }: Engine): Pick<Engine, "sys" | "paths"> {
  return { sys, paths };
}

function addEvent(engine: Engine, { id, names }: ImageRecord, action: string): void {
  engine.events.add({ type: "image", action, id, name: names[0] ?? id, attributes: {} });
}
