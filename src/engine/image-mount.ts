/** image mount and unmount: an image's files to look into, without a container. */
import type { Ctx } from "../core/ctx.ts";
import {
  imageMounts,
  lockImageMount,
  mountImage,
  sweepImageMounts,
  unmountImage,
} from "../storage/image-mounts.ts";
import type { Finding } from "../storage/check.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface MountedImage {
  record: ImageRecord;
  path: string;
}

/** Mounts it read-only, or counts one more. Errors: not-found, invalid-argument (too many layers). */
export async function mount(ctx: Ctx, engine: Engine, request: { image: string }): Promise<MountedImage> {
  const { id } = engine.images.resolve(request.image);
  using _lock = await lockImageMount(ctx, engine, id);
  // Somebody may have removed it before we had the lock.
  const record = engine.images.resolve(id);
  const { path } = mountImage(engine, record);
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
export async function unmount(
  ctx: Ctx,
  engine: Engine,
  request: { image: string; force: boolean },
): Promise<string | undefined> {
  const record = engine.images.resolve(request.image);
  using _lock = await lockImageMount(ctx, engine, record.id);
  if (!unmountImage(engine, record.id, { force: request.force })) return undefined;
  addEvent(engine, record, "unmount");
  return record.id;
}

/** Unmounts every image, also one that has lost its record, however busy. */
export async function unmountAll(ctx: Ctx, engine: Engine): Promise<void> {
  for (const { id } of imageMounts(engine)) {
    using _lock = await lockImageMount(ctx, engine, id);
    unmountImage(engine, id, { force: true });
  }
}

/** For `system check`: mounts of images that are gone ("image-mount-orphan"), and directories of mounts that are ("leftover"). */
export async function checkImageMounts(ctx: Ctx, engine: Engine, repair: boolean): Promise<Finding[]> {
  const findings: Finding[] = sweepImageMounts(engine, repair).map((name) => ({
    kind: "leftover",
    object: `images/${name}`,
    detail: "directories of an image that is not mounted",
    repaired: repair,
  }));
  for (const { id, path } of imageMounts(engine)) {
    using _lock = await lockImageMount(ctx, engine, id);
    if (engine.images.get(id) !== undefined) continue;
    if (repair) unmountImage(engine, id, { force: true });
    const detail = `mounted at "${path}", and the image is gone`;
    findings.push({ kind: "image-mount-orphan", object: id, detail, repaired: repair });
  }
  return findings;
}

function addEvent(engine: Engine, { id, names }: ImageRecord, action: string): void {
  engine.events.add({ type: "image", action, id, name: names[0] ?? id, attributes: {} });
}
