/** system df: what takes space in the store, and how much of it goes when what nobody needs is pruned. */
import type { Ctx } from "../core/ctx.ts";
import type { Digest } from "../image/image.ts";
import type { ImageRecord } from "../storage/storage.ts";
import { storeUsage, type StoreUsage, treeBytes } from "../storage/usage.ts";
import { namesIn } from "../storage/files.ts";
import type { Engine } from "./engine.ts";
import { type ContainerSummary, list } from "./list.ts";

export interface ImageItem {
  /** Of an image; or the digest of an index or artifact. */
  id: Digest;
  /** "docker.io/library/alpine:3.20", or "<none>:<none>". */
  name: string;
  /** RFC 3339. */
  created: string;
  /** Bytes, as `du` counts them: the sum of the two below. */
  size: number;
  /** What other images need as well. */
  shared: number;
  /** What removing it alone would give back. */
  unique: number;
  /** How many containers stand on it. */
  containers: number;
}

export interface ContainerItem {
  summary: ContainerSummary;
  /** Its own directory, without its anonymous volumes. */
  size: number;
  isActive: boolean;
  /** Named and anonymous. */
  volumes: number;
}

export interface VolumeItem {
  /** Of an anonymous one "CONTAINER/NUMBER": it goes with its container. */
  name: string;
  path: string;
  size: number;
  /** How many containers mention it. */
  links: number;
}

export interface UsageRow {
  type: "Images" | "Containers" | "Local Volumes" | "Build Cache";
  total: number;
  active: number;
  /** Bytes, as `du` counts them. */
  size: number;
  /** What pruning all that is not in use gives back. */
  reclaimable: number;
}

export interface DiskUsage {
  images: ImageItem[];
  containers: ContainerItem[];
  volumes: VolumeItem[];
  rows: UsageRow[];
}

export function diskUsage(ctx: Ctx, engine: Engine): DiskUsage {
  const used = engine.records.usedImages();
  const usage = storeUsage(engine.store, (id) => used.has(id));
  const images = imageItems(engine, usage, used);
  const summaries = list(ctx, engine, { all: true, filters: [] });
  const volumes = [...namedVolumes(engine, usage, summaries), ...anonymousVolumes(engine, summaries)];
  const containers = summaries.map((summary) => containerItem(usage, volumes, summary));
  const idle = containers.filter(({ isActive }) => !isActive);
  const unlinked = volumes.filter(({ links }) => links === 0);
  const content = usage.blobs + usage.layers + usage.partials + usage.temporary;
  return {
    images,
    containers,
    volumes,
    rows: [
      {
        type: "Images",
        total: images.length,
        active: images.filter((image) => image.containers > 0).length,
        size: content,
        reclaimable: Math.max(0, content - usage.kept - usage.temporary),
      },
      row("Containers", containers, idle),
      { ...row("Local Volumes", volumes, unlinked), active: volumes.length - unlinked.length },
      { type: "Build Cache", total: 0, active: 0, size: 0, reclaimable: 0 },
    ],
  };
}

function row(type: UsageRow["type"], all: { size: number }[], unused: { size: number }[]): UsageRow {
  const sum = (items: { size: number }[]): number => items.reduce((total, { size }) => total + size, 0);
  return {
    type,
    total: all.length,
    active: all.length - unused.length,
    size: sum(all),
    reclaimable: sum(unused),
  };
}

const NO_NAME = "<none>:<none>";

function imageItems(engine: Engine, usage: StoreUsage, used: Map<string, number>): ImageItem[] {
  const records = new Map(engine.images.list().map((record): [Digest, ImageRecord] => [record.id, record]));
  return usage.images.map(({ id, shared, unique }) => {
    const record = records.get(id);
    const document = record === undefined ? engine.manifests.get(id) : undefined;
    return {
      id,
      name: (record ?? document)?.names[0] ?? NO_NAME,
      created: record?.config.created ?? document?.stored ?? record?.created ?? "",
      size: shared + unique,
      shared,
      unique,
      containers: used.get(id) ?? 0,
    };
  });
}

function namedVolumes(engine: Engine, usage: StoreUsage, summaries: ContainerSummary[]): VolumeItem[] {
  const links = new Map<string, number>();
  for (const { record } of summaries) {
    for (const name of new Set(record.spec.mounts.map(({ source }) => source)))
      links.set(name, (links.get(name) ?? 0) + 1);
  }
  return [...usage.volumes].map(([name, size]) => ({
    name,
    path: `${engine.paths.volume(name)}/_data`,
    size,
    links: links.get(name) ?? 0,
  }));
}

/** They lie beside their container. */
function anonymousVolumes(engine: Engine, summaries: ContainerSummary[]): VolumeItem[] {
  return summaries.flatMap(({ record }) => {
    const dir = `${engine.paths.container(record.id)}/volumes`;
    return namesIn(dir).map((number) => {
      const path = `${dir}/${number}`;
      return { name: `${record.name}/${number}`, path, size: treeBytes(engine.sys, path), links: 1 };
    });
  });
}

function containerItem(usage: StoreUsage, volumes: VolumeItem[], summary: ContainerSummary): ContainerItem {
  const { record, state } = summary;
  const own = volumes.filter(({ name }) => name.startsWith(`${record.name}/`));
  const inVolumes = own.reduce((sum, { size }) => sum + size, 0);
  const named = new Set(record.spec.mounts.filter((m) => m.type === "volume" && m.source !== ""));
  return {
    summary,
    size: Math.max(0, (usage.containers.get(record.id) ?? 0) - inVolumes),
    isActive: state === "running" || state === "paused",
    volumes: own.length + named.size,
  };
}
