/** system df, prune, check and reset. */
import { readdirSync, rmSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { check as checkStore, type Finding } from "../storage/check.ts";
import { collectGarbage } from "../storage/gc.ts";
import { sweepLocks } from "../storage/recover.ts";
import { storeUsage } from "../storage/usage.ts";
import { cgroupMode, removeCgroup } from "../sys/cgroup.ts";
import type { Engine, Filter } from "./engine.ts";
import { refreshAll } from "./refresh.ts";
import { pruneImages } from "./prune-images.ts";
import { prune, remove } from "./remove.ts";

export interface UsageItem {
  id: string;
  name: string;
  size: number;
  reclaimable: number;
  /** Of an image: shared with others. */
  shared: number;
  inUse: boolean;
}

export interface UsageRow {
  type: "Images" | "Containers" | "Local Volumes" | "Build Cache";
  total: number;
  active: number;
  /** Bytes, as `du` counts them. */
  size: number;
  reclaimable: number;
  items: UsageItem[];
}

export function df(_ctx: Ctx, engine: Engine): UsageRow[] {
  const usage = storeUsage(engine.store);
  const used = engine.records.usedImages();
  const images = usage.images.map((one): UsageItem => {
    const index = engine.manifests.get(one.id);
    const inUse = (index === undefined ? [one.id] : engine.manifests.members(one.id)).some((id) =>
      used.has(id),
    );
    const name = (index ?? engine.images.get(one.id))?.names[0] ?? "<none>:<none>";
    return {
      id: one.id,
      name,
      size: one.shared + one.unique,
      shared: one.shared,
      reclaimable: inUse ? 0 : one.unique,
      inUse,
    };
  });
  const containers = refreshAll(engine).map((record): UsageItem => {
    const size = usage.containers.get(record.id) ?? 0;
    const inUse = record.state.status === "running" || record.state.status === "paused";
    return { id: record.id, name: record.name, size, shared: 0, reclaimable: inUse ? 0 : size, inUse };
  });
  const mounted = new Set(engine.records.list().flatMap((r) => r.spec.mounts.map((m) => m.source)));
  const volumes = [...usage.volumes].map(([name, size]): UsageItem => {
    const inUse = mounted.has(name);
    return { id: name, name, size, shared: 0, reclaimable: inUse ? 0 : size, inUse };
  });
  return [
    withPartials({ ...row("Images", images), size: usage.blobs + usage.layers }, usage.partials),
    row("Containers", containers),
    row("Local Volumes", volumes),
    row("Build Cache", []),
  ];
}

/** Beginnings of broken downloads are images on their way; `image prune` gives their room back. */
function withPartials(images: UsageRow, bytes: number): UsageRow {
  return { ...images, size: images.size + bytes, reclaimable: images.reclaimable + bytes };
}

function row(type: UsageRow["type"], items: UsageItem[]): UsageRow {
  const sum = (key: "size" | "reclaimable"): number => items.reduce((total, item) => total + item[key], 0);
  return {
    type,
    total: items.length,
    active: items.filter((item) => item.inUse).length,
    size: sum("size"),
    reclaimable: sum("reclaimable"),
    items,
  };
}

export interface PruneRequest {
  /** Images without a container too, not only dangling ones. */
  all: boolean;
  /** Named volumes that no container mentions. */
  volumes: boolean;
  filters: Filter[];
}

export interface Pruned {
  containers: string[];
  images: string[];
  networks: string[];
  volumes: string[];
  /** Bytes. */
  reclaimed: number;
}

/** Containers that do not run, then images, then volumes. */
export async function systemPrune(ctx: Ctx, engine: Engine, request: PruneRequest): Promise<Pruned> {
  const containers = await prune(ctx, engine, { filters: request.filters });
  const images = await pruneImages(ctx, engine, { all: request.all, filters: request.filters });
  const leftovers = collectGarbage(engine.store);
  const volumes = request.volumes
    ? df(ctx, engine)
        .find((r) => r.type === "Local Volumes")
        ?.items.filter((v) => !v.inUse)
    : [];
  for (const volume of volumes ?? [])
    rmSync(engine.paths.volume(volume.name), { recursive: true, force: true });
  return {
    containers: containers.ids,
    images: images.deleted,
    networks: [],
    volumes: (volumes ?? []).map((v) => v.name),
    reclaimed:
      containers.reclaimed +
      images.reclaimed +
      leftovers.bytes +
      (volumes ?? []).reduce((sum, v) => sum + v.size, 0),
  };
}

/** What is damaged or left over in the store. `repair` removes only that; `quick` does not read blobs. */
export async function check(
  ctx: Ctx,
  engine: Engine,
  request: { repair: boolean; quick: boolean },
): Promise<{ findings: Finding[] }> {
  const { recover } = await import("./recover.ts");
  await recover(ctx, engine);
  sweepLocks(engine);
  const known = (): Set<string> =>
    new Set(engine.db.all<{ id: string }>("SELECT id FROM containers").map(({ id }) => id));
  const inUse = (id: string): string[] => engine.records.usersOf(id);
  const findings = await checkStore(ctx, engine.store, { ...request, containers: known, inUse });
  const { checkContainers } = await import("./check-containers.ts");
  findings.push(...(await checkContainers(ctx, engine, request.repair)));
  const { checkImageMounts } = await import("./image-mount.ts");
  findings.push(...(await checkImageMounts(ctx, engine, request.repair)));
  return { findings };
}

/** Takes the whole store apart: containers (running ones too), images, networks, volumes, files. */
export async function reset(ctx: Ctx, engine: Engine): Promise<void> {
  const { recover } = await import("./recover.ts");
  await recover(ctx, engine);
  for (const record of engine.records.list()) {
    await remove(ctx, engine, { container: record.id, force: true, volumes: true });
  }
  // A damaged store above all must be possible to take apart.
  const { checkContainers } = await import("./check-containers.ts");
  await checkContainers(ctx, engine, true);
  const { unmountAll } = await import("./image-mount.ts");
  await unmountAll(ctx, engine);
  for (const network of engine.network.list()) engine.network.destroy(ctx, network.name);
  for (const name of readdirSync(engine.paths.netns)) engine.network.removeNetns(name);
  engine.close();
  removeCgroup(cgroupMode(), engine.cgroup);
  for (const path of [engine.paths.run, engine.paths.root]) rmSync(path, { recursive: true, force: true });
}
