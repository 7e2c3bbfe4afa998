/** system prune: everything that is not in use. */
import { rmSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { parseTimestamp } from "../core/time.ts";
import { diskUsage } from "./disk-usage.ts";
import type { Engine, Filter } from "./engine.ts";
import { hasLabel, matcher, type Test } from "./filter.ts";
import { pruneImages, type PrunedImages } from "./prune-images.ts";
import { prune } from "./remove.ts";

export interface PruneRequest {
  /** Images without a container too, not only dangling ones. */
  all: boolean;
  /** Named volumes that no container mentions. */
  volumes: boolean;
  /** `label` and `until` only: what all kinds of things have. */
  filters: Filter[];
}

export interface Pruned {
  containers: string[];
  images: PrunedImages;
  networks: string[];
  volumes: string[];
  /** Bytes given back to the file system, as `du` counts them. */
  reclaimed: number;
}

/** Containers that do not run, then volumes, then images. Errors: invalid-argument for a filter, before anything is removed. */
export async function systemPrune(ctx: Ctx, engine: Engine, request: PruneRequest): Promise<Pruned> {
  const { filters, all } = request;
  const matches = volumeFilter(request);
  const containers = await prune(ctx, engine, { filters });
  const unused = request.volumes
    ? diskUsage(ctx, engine).volumes.filter((volume) => volume.links === 0 && matches(volume.name))
    : [];
  for (const { name } of unused) rmSync(engine.paths.volume(name), { recursive: true, force: true });
  const images = await pruneImages(ctx, engine, { all, filters });
  return {
    containers: containers.ids,
    images,
    networks: [],
    volumes: unused.map(({ name }) => name),
    reclaimed: containers.reclaimed + images.reclaimed + unused.reduce((total, { size }) => total + size, 0),
  };
}

/** Checks the filters as a whole. Volumes have no labels, and nobody knows since when they are unused. */
function volumeFilter({ filters, volumes }: PruneRequest): (name: string) => boolean {
  if (volumes && filters.some(({ key }) => key === "until")) {
    throw fail("invalid-argument", 'the "until" filter is not supported with --volumes', {
      reason: "unknown-filter",
    });
  }
  for (const { value } of filters.filter(({ key }) => key === "until")) parseTimestamp(value);
  const tests: Record<string, Test<string>> = {
    label: (value) => hasLabel(value, {}),
    until: () => true,
  };
  return matcher(filters, tests);
}
