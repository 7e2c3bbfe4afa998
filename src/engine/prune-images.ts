/** image prune: what nobody needs. */
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import { collectGarbage } from "../storage/gc.ts";
import { imageMounts } from "../storage/image-mounts.ts";
import { dropPartials } from "../storage/partial.ts";
import { contentBytes, freedSince } from "../storage/usage.ts";
import type { Engine, Filter } from "./engine.ts";
import { matcher, parseBoolean } from "./filter.ts";
import { type ImageSummary, imageTests, listImages } from "./images.ts";
import { listedManifests, type Removed, removeImage } from "./remove-image.ts";

export interface PruneImagesRequest {
  /** Also images with a name that no container stands on. */
  all: boolean;
  /** `dangling=false` means the same as `all`. */
  filters: Filter[];
}

export interface PrunedImages extends Removed {
  /** Bytes given back to the file system, as `du` counts them. */
  reclaimed: number;
}

/**
 * Removes dangling images, or with `all` every image no container stands on, and what is left of broken downloads and repairs.
 * Errors: invalid-argument for an unknown filter, before anything is removed.
 */
export async function pruneImages(
  ctx: Ctx,
  engine: Engine,
  request: PruneImagesRequest,
): Promise<PrunedImages> {
  const before = contentBytes(engine.store);
  const pruned: PrunedImages = { untagged: [], deleted: [], repoDigests: [], layers: [], reclaimed: 0 };
  for (const { record } of wantedImages(ctx, engine, request)) {
    try {
      const removed = await removeImage(ctx, engine, { image: record.id, force: false, allNames: true });
      for (const key of ["untagged", "deleted", "repoDigests", "layers"] as const)
        pruned[key].push(...removed[key]);
    } catch (error) {
      // Another command has removed it, or has begun to use it.
      if (!isKind(error, "not-found") && !isKind(error, "in-use")) throw error;
    }
  }
  dropPartials(engine.store, "all");
  collectGarbage(engine.store);
  pruned.reclaimed = freedSince(engine.store, before);
  return pruned;
}

function wantedImages(ctx: Ctx, engine: Engine, request: PruneImagesRequest): ImageSummary[] {
  const dangling = request.filters.filter(({ key }) => key === "dangling");
  const all = request.all || dangling.some(({ value }) => !parseBoolean("dangling", value));
  const filters = request.filters.filter((filter) => !dangling.includes(filter));
  const matches = matcher(filters, imageTests(engine, engine.records.usedImages()));
  const listed = listedManifests(engine);
  const mounted = new Set(imageMounts(engine).map(({ id }) => id));
  const found = listImages(ctx, engine, { all: true, filters: [] }).filter(
    (entry) =>
      (all || entry.record.names.length === 0) &&
      // Without a name, but a part of an index that has one.
      !(entry.record.names.length === 0 && listed.has(entry.record.manifestDigest)) &&
      entry.containers === 0 &&
      entry.record.additionalStore === undefined &&
      !mounted.has(entry.record.id) &&
      matches(entry),
  );
  return [...new Map(found.map((entry) => [entry.record.id, entry])).values()];
}
