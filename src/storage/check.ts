/**
 * `system check`: is everything there that the database speaks of, unaltered, and nothing else? With
 * `repair`, what is damaged is removed and nothing more; what can be fetched again is then missing in
 * an honest way.
 */
import { statSync } from "node:fs";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { chainIds } from "../image/chain.ts";
import { parseConfig } from "../image/config.ts";
import { insertBlob, writeSmallBlobs } from "./blob-writer.ts";
import { deleteTree, moveToTrash, namesIn, uniqueName } from "./files.ts";
import { deleteFiles } from "./gc.ts";
import { badPartials, dropPartials } from "./partial.ts";
import {
  findOrphans,
  orphanContainers,
  recover,
  type RecoverDeps,
  strayIngest,
  sweepOrphans,
} from "./recover.ts";
import type { Store } from "./store.ts";
import type { LayerRecord } from "./storage.ts";

export interface Finding {
  /**
   * "database", "dead-lease", "leftover", "partial", "blob-missing", "blob-damaged", "blob-orphan", "layer-missing", "layer-damaged",
   * "layer-orphan", "image-incomplete", "manifest-incomplete", "name-dangling", "container-orphan".
   */
  kind: string;
  /** Digest, name, id or path. */
  object: string;
  detail: string;
  repaired: boolean;
}

export interface CheckOptions {
  repair: boolean;
  /** Only look whether things are there and have the right size; read no content. */
  quick: boolean;
  /** Ids of all containers with a record. */
  containers: () => Set<string>;
  /** Ids of the containers that use an image: such an image and its layers are reported and kept. */
  inUse?: (id: Digest) => string[];
}

interface Check {
  ctx: Ctx;
  store: Store;
  options: CheckOptions;
  findings: Finding[];
}

/** Findings in the order found; empty means that all is well. */
export async function check(ctx: Ctx, store: Store, options: CheckOptions): Promise<Finding[]> {
  const work: Check = { ctx, store, options, findings: [] };
  const integrity = store.db.integrity();
  if (integrity !== "ok") report(work, "database", store.paths.db, integrity);
  checkLeftovers(work);
  checkOrphans(work);
  await checkBlobs(work);
  await checkLayers(work);
  checkImages(work);
  checkManifests(work);
  checkNames(work);
  checkContainers(work);
  return work.findings;
}

/** Notes a finding and, where asked and possible, has it repaired. */
function report(
  check: Check,
  kind: string,
  object: string,
  detail: string | { detail: string; repair: () => void },
): void {
  const repair = typeof detail === "string" || !check.options.repair ? undefined : detail.repair;
  repair?.();
  const text = typeof detail === "string" ? detail : detail.detail;
  check.findings.push({ kind, object, detail: text, repaired: repair !== undefined });
}

function checkLeftovers(check: Check): void {
  const { store } = check;
  const dead = store.leases.dead();
  const stray: string[] = [
    ...strayIngest(deps(check)).map((name) => `ingest/${name}`),
    ...namesIn(store.paths.trash).map((name) => `trash/${name}`),
  ];
  let done = false;
  const repair = (): void => {
    if (!done) recover(deps(check));
    done = true;
  };
  for (const lease of dead) {
    const detail = `left by process ${lease.pid}, which is gone`;
    report(check, "dead-lease", lease.path === "" ? lease.kind : lease.path, { detail, repair });
  }
  for (const path of stray) report(check, "leftover", path, { detail: "belongs to nothing", repair });
  for (const { digest, problem } of badPartials(store)) {
    const drop = (): void => void dropPartials(store, "stale");
    report(check, "partial", digest, { detail: problem, repair: drop });
  }
}

function deps({ store }: Check): RecoverDeps {
  return store;
}

function checkOrphans(check: Check): void {
  const { blobs, layers } = findOrphans(deps(check));
  const repair = (): void => void sweepOrphans(deps(check));
  const detail = "is on the disk and not in the database";
  for (const digest of blobs) report(check, "blob-orphan", digest, { detail, repair });
  for (const chainId of layers) report(check, "layer-orphan", chainId, { detail, repair });
}

async function checkBlobs(check: Check): Promise<void> {
  const { store } = check;
  for (const row of store.db.all<{ digest: string; size: number }>("SELECT digest, size FROM blobs")) {
    checkCanceled(check.ctx);
    const repair = (): void => dropBlob(check, row.digest);
    const found = statSync(store.paths.blob(row.digest), { throwIfNoEntry: false });
    if (found === undefined) {
      report(check, "blob-missing", row.digest, { detail: "its file is gone", repair });
    } else if (found.size !== row.size) {
      const detail = `its file has ${found.size} bytes instead of ${row.size}`;
      report(check, "blob-damaged", row.digest, { detail, repair });
    } else if (!check.options.quick && !(await hasDigest(check, row.digest))) {
      report(check, "blob-damaged", row.digest, { detail: "its bytes do not match its digest", repair });
    }
  }
}

async function hasDigest({ ctx, store }: Check, digest: Digest): Promise<boolean> {
  const hasher = new Bun.CryptoHasher(digestAlgorithm(digest));
  for await (const chunk of store.content.stream(digest)) {
    checkCanceled(ctx);
    hasher.update(chunk);
  }
  return digest.endsWith(`:${hasher.digest("hex")}`);
}

function dropBlob({ store }: Check, digest: Digest): void {
  const row = store.db.get<{ config: Uint8Array }>("SELECT config FROM images WHERE id = ?", digest);
  store.db.durable(() => store.db.run("DELETE FROM blobs WHERE digest = ?", digest));
  deleteFiles(store, { blobs: [digest], layers: [] });
  // A config is kept in the database as well, so that one need not be fetched again.
  if (row === undefined || digestOf(row.config, digestAlgorithm(digest)) !== digest) return;
  const aside = `ingest/put-${uniqueName()}`;
  using _lease = store.leases.take("image", aside);
  writeSmallBlobs(store.paths, aside, new Map([[digest, row.config]]));
  store.db.durable(() => insertBlob(store.db, digest, row.config.byteLength));
}

async function checkLayers(check: Check): Promise<void> {
  for (const layer of check.store.layers.list()) {
    checkCanceled(check.ctx);
    const repair = (): void => dropLayer(check, layer.chainId);
    const problem = await layerProblem(check, layer);
    if (problem === undefined) continue;
    const used = users(check, layer.chainId);
    const detail =
      used.length === 0 ? problem.detail : `${problem.detail}; kept for container ${used.join(", ")}`;
    const isRepaired = used.length === 0 && problem.isKept !== true;
    report(check, problem.kind, layer.chainId, isRepaired ? { detail, repair } : detail);
  }
}

interface LayerProblem {
  kind: string;
  detail: string;
  /** Not damaged itself, and nowhere else: a repair must not take it away. */
  isKept?: boolean;
}

const KEPT =
  "it was made here and is kept: if that one is in an additional store, name the store with --additional-store";

/** Made by a commit or a build: nobody can send it again. */
function isMadeHere(layer: LayerRecord): boolean {
  return layer.tarSize !== undefined && layer.blob === undefined;
}

async function layerProblem(check: Check, layer: LayerRecord): Promise<LayerProblem | undefined> {
  const { store, options } = check;
  if (statSync(store.paths.diff(layer.chainId), { throwIfNoEntry: false })?.isDirectory() !== true) {
    return { kind: "layer-missing", detail: "its directory is gone" };
  }
  if (layer.parent !== undefined && store.layers.get(layer.parent) === undefined) {
    const detail = `the layer "${layer.parent}" below it is gone`;
    if (!isMadeHere(layer)) return { kind: "layer-missing", detail };
    return { kind: "layer-missing", detail: `${detail}; ${KEPT}`, isKept: true };
  }
  // Without its blob only a layer made here can be told: its tar is made again and has the same digest.
  if (options.quick || (layer.blob === undefined && layer.tarSize === undefined)) return undefined;
  const differences = await compareWithTar(check, layer);
  if (differences.length === 0) return undefined;
  return { kind: "layer-damaged", detail: differences.join("; ") };
}

async function compareWithTar({ ctx, store }: Check, layer: LayerRecord): Promise<string[]> {
  const { TarReader } = await import("../archive/tar-reader.ts");
  const { LayerCheck } = await import("./check-layer.ts");
  using compare = new LayerCheck(store.sys, store.paths.diff(layer.chainId));
  const reader = new TarReader(compare);
  try {
    for await (const chunk of store.layers.tar(ctx, layer.chainId)) reader.write(chunk);
  } catch (error) {
    checkCanceled(ctx);
    // A bad blob is reported for itself, and says nothing about the layer.
    return layer.blob === undefined ? [messageOf(error)] : [];
  }
  return layer.blob === undefined ? [] : compare.differences();
}

/** Containers of all images that stand on this layer. */
function users({ store, options }: Check, chainId: Digest): string[] {
  return store.db
    .all<ImageRow>(IMAGES)
    .filter((row) => chainOf(row)?.includes(chainId) === true)
    .flatMap(({ id }) => options.inUse?.(id) ?? []);
}

function dropLayer({ store }: Check, chainId: Digest): void {
  store.db.durable(() => store.db.run("DELETE FROM layers WHERE chain_id = ?", chainId));
  const aside = moveToTrash(store.paths, store.paths.layer(chainId));
  if (aside !== undefined) deleteTree(store.sys, aside);
}

interface ImageRow {
  id: string;
  manifest_digest: string;
  config: Uint8Array;
}

const IMAGES = "SELECT id, manifest_digest, config FROM images";

/** Undefined if the config in the database is not the one the image is named after. */
function chainOf({ id, config }: ImageRow): Digest[] | undefined {
  if (digestOf(config, digestAlgorithm(id)) !== id) return undefined;
  return chainIds(parseConfig(config).rootfs.diff_ids);
}

function checkImages(check: Check): void {
  const { store, options } = check;
  for (const row of store.db.all<ImageRow>(IMAGES)) {
    const problem = imageProblem(check, row);
    if (problem === undefined) continue;
    const used = options.inUse?.(row.id) ?? [];
    const repair = (): void => dropImage(check, row.id);
    if (isOverOthers(check, row)) {
      report(check, "image-incomplete", row.id, `${problem}; ${KEPT}`);
      continue;
    }
    const kept = `${problem}; kept for container ${used.join(", ")}`;
    report(check, "image-incomplete", row.id, used.length === 0 ? { detail: problem, repair } : kept);
  }
}

/** Its topmost layer was made here on one that is not here. */
function isOverOthers({ store }: Check, row: ImageRow): boolean {
  const chain = chainOf(row) ?? [];
  const own = chain.map((id) => store.layers.get(id));
  const top = own.at(-1);
  return top !== undefined && isMadeHere(top) && own.includes(undefined);
}

function imageProblem({ store }: Check, row: ImageRow): string | undefined {
  const chain = chainOf(row);
  if (chain === undefined) return "its config in the database is damaged";
  const missing = chain.find((id) => store.layers.get(id) === undefined);
  if (missing !== undefined) return `its layer "${missing}" is gone`;
  if (!store.content.has(row.manifest_digest)) return `its manifest "${row.manifest_digest}" is gone`;
  return undefined;
}

function dropImage({ store }: Check, id: Digest): void {
  store.db.durable(() => {
    store.db.run("DELETE FROM image_names WHERE image_id = ?", id);
    store.db.run("DELETE FROM repo_digests WHERE image_id = ?", id);
    store.db.run("DELETE FROM images WHERE id = ?", id);
  });
}

/** An index or an artifact; what it lists may be missing here, its own bytes may not. */
function checkManifests(check: Check): void {
  const { store } = check;
  for (const { digest } of store.db.all<{ digest: string }>("SELECT digest FROM manifests")) {
    if (store.content.has(digest)) continue;
    const repair = (): void =>
      store.db.durable(() => {
        store.db.run("DELETE FROM manifest_names WHERE digest = ?", digest);
        store.db.run("DELETE FROM repo_digests WHERE image_id = ?", digest);
        store.db.run("DELETE FROM manifests WHERE digest = ?", digest);
      });
    report(check, "manifest-incomplete", digest, { detail: "its bytes are gone", repair });
  }
}

/** Rows that must have an owner, and the one of two owners that a name cannot have. */
const NAMES = [
  { table: "image_names", column: "name", where: "image_id NOT IN (SELECT id FROM images)" },
  {
    table: "repo_digests",
    column: "repo || '@' || digest",
    where: "image_id NOT IN (SELECT id FROM images UNION ALL SELECT digest FROM manifests)",
  },
  { table: "manifest_names", column: "name", where: "digest NOT IN (SELECT digest FROM manifests)" },
  { table: "manifest_names", column: "name", where: "name IN (SELECT name FROM image_names)" },
];

function checkNames(check: Check): void {
  const { db } = check.store;
  for (const { table, column, where } of NAMES) {
    const repair = (): void => void db.run(`DELETE FROM ${table} WHERE ${where}`);
    const detail = where.startsWith("name IN") ? "it is an image's name too" : "its image is gone";
    for (const row of db.all<{ name: string }>(`SELECT ${column} AS name FROM ${table} WHERE ${where}`)) {
      report(check, "name-dangling", row.name, { detail, repair });
    }
  }
}

function checkContainers(check: Check): void {
  for (const id of orphanContainers(deps(check), check.options.containers)) {
    const repair = (): void => check.store.rootfs.remove(id);
    report(check, "container-orphan", id, { detail: "a directory without a container", repair });
  }
}
