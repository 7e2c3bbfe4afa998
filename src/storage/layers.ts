/** Unpacked layers. Contract in storage.ts. */
import { renameSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { failpoint } from "../core/failpoint.ts";
import { now } from "../core/time.ts";
import { chainId as chainIdOf, chainIds } from "../image/chain.ts";
import type { Digest } from "../image/image.ts";
import { layerElsewhere, storeOfLayer } from "./additional.ts";
import { discard, fsyncDir, ioError } from "./files.ts";
import { layerLock } from "./gc.ts";
import { layerTarStream } from "./layer-tar.ts";
import {
  type Contents,
  FreshLayer,
  type LayerDeps,
  type LayerRequest,
  unpack,
  unpackInto,
  type Work,
} from "./layer-unpack.ts";
import { FileLock } from "./lock.ts";
import { defaultConcurrency, runOrdered } from "./ordered.ts";
import { isOpaque } from "./merged.ts";
import { layerUnknown, stackIds, visibleDirs } from "./stack.ts";
import type { ApplyRequest, LayerRecord, LayerStore } from "./storage.ts";
import { TreeSync } from "./sync-tree.ts";
import type { UnpackPool } from "./unpack-pool.ts";

interface LayerRow {
  chain_id: string;
  diff_id: string;
  parent: string | null;
  blob: string | null;
  media_type: string | null;
  blob_size: number | null;
  tar_size: number | null;
  size: number;
  created: string;
}

const SELECT = `SELECT l.chain_id, l.diff_id, l.parent, l.blob, l.media_type, b.size AS blob_size, l.tar_size, l.size, l.created
  FROM layers l LEFT JOIN blobs b ON b.digest = l.blob`;

/** Half-made layers of this process by chain id, for children that wait for their parent. */
type InFlight = Map<Digest, Promise<LayerRecord>>;

export function createLayers(parts: Omit<LayerDeps, "pool" | "treeSync">): LayerStore {
  const deps = complete(parts);
  const inFlight: InFlight = new Map();
  const get = (chainId: Digest): LayerRecord | undefined => getLayer(deps, chainId);
  const workOf = ({ lease, parent }: Pick<ApplyRequest, "lease" | "parent">): Work => ({
    deps,
    lease: lease ?? deps.leases.session(),
    parent: parent === undefined ? undefined : inFlight.get(parent),
  });
  const apply = (ctx: Ctx, asked: ApplyRequest): Promise<LayerRecord> => {
    const work = workOf(asked);
    const request = { ...asked, keepBlob: true };
    if (request.diffId === undefined) return applyUnknown(ctx, work, request);
    const chainId = chainIdOf(request.parent, request.diffId);
    const running = applyKnown(ctx, work, request, chainId);
    inFlight.set(chainId, running);
    const settled = (): void => {
      if (inFlight.get(chainId) === running) inFlight.delete(chainId);
    };
    running.then(settled, settled);
    return running;
  };

  return {
    get,
    apply,
    list: () =>
      deps.db.all<LayerRow>(`${SELECT} ORDER BY l.created, l.chain_id`).map((row) => toRecord(deps, row)),
    diffPath: (chainId) => {
      const other = getOwn(deps, chainId) === undefined ? storeOfLayer(deps.additional, chainId) : undefined;
      return (other ?? deps).paths.diff(chainId);
    },
    stack: (chainId) => stackIds(deps, chainId).map((id) => get(id) as LayerRecord),
    lowers: (chainId) => lowersOf(deps, chainId),
    applyAll: (ctx, requests, concurrency = defaultConcurrency()) => {
      const chain = chainIds(requests.map((request) => request.diffId));
      return runOrdered(ctx, concurrency, requests, (inner, request, index) => {
        const parent = chain[index - 1];
        return apply(inner, parent === undefined ? request : { ...request, parent });
      });
    },
    fromUpper: async (ctx, asked) => {
      const { parent, upper, filter } = asked;
      const { layerTar } = await import("./changes.ts");
      const source = layerTar(deps.sys, upper, filter === undefined ? {} : { filter });
      const request = { source, keepBlob: false, ...(parent && { parent }) };
      return await applyUnknown(ctx, workOf(asked), request);
    },
    tar: (ctx, chainId) => {
      const layer = getOwn(deps, chainId);
      if (layer === undefined) {
        const other = storeOfLayer(deps.additional, chainId);
        if (other === undefined) throw layerUnknown(chainId);
        return other.layers.tar(ctx, chainId);
      }
      return layerTarStream(ctx, deps, layer);
    },
  };
}

/** How long unpackers wait for another layer. */
const IDLE_MS = 200;

/** With what all layers of this process share. */
function complete(parts: Omit<LayerDeps, "pool" | "treeSync">): LayerDeps {
  let pool: UnpackPool | undefined;
  return {
    ...parts,
    treeSync: new TreeSync(parts.sys, parts.paths.ingest),
    pool: async () => {
      const { UnpackPool: Pool } = await import("./unpack-pool.ts");
      return (pool ??= new Pool(parts.unpackCommand, parts.paths.root, IDLE_MS));
    },
  };
}

function getLayer(deps: LayerDeps, chainId: Digest): LayerRecord | undefined {
  return getOwn(deps, chainId) ?? layerElsewhere(deps.additional, chainId);
}

function getOwn(deps: LayerDeps, chainId: Digest): LayerRecord | undefined {
  const row = deps.db.get<LayerRow>(`${SELECT} WHERE l.chain_id = ?`, chainId);
  return row === undefined ? undefined : toRecord(deps, row);
}

function toRecord({ content }: LayerDeps, row: LayerRow): LayerRecord {
  // Its blob may be in an additional store.
  const size = row.blob_size ?? (row.blob !== null && content.has(row.blob) ? content.size(row.blob) : null);
  const blob =
    row.blob === null || size === null
      ? {}
      : { blob: { digest: row.blob, size, mediaType: row.media_type ?? "" } };
  return {
    chainId: row.chain_id,
    diffId: row.diff_id,
    ...(row.parent === null ? {} : { parent: row.parent }),
    ...blob,
    ...(row.tar_size === null ? {} : { tarSize: row.tar_size }),
    size: row.size,
    created: row.created,
  };
}

/** The layer if it is there, protected by the lease from now on. */
function adopt({ deps, lease }: Work, chainId: Digest): LayerRecord | undefined {
  // Nothing of an additional store needs protection from us.
  if (getOwn(deps, chainId) === undefined) return layerElsewhere(deps.additional, chainId);
  return deps.db.tx(() => {
    const layer = getOwn(deps, chainId);
    if (layer !== undefined) lease.protect("layer", chainId);
    return layer;
  });
}

async function applyKnown(
  ctx: Ctx,
  work: Work,
  request: LayerRequest,
  chainId: Digest,
): Promise<LayerRecord> {
  const before = adopt(work, chainId);
  if (before !== undefined) return before;
  using _lock = await FileLock.acquire(ctx, layerLock(work.deps, chainId));
  const meanwhile = adopt(work, chainId);
  if (meanwhile !== undefined) return meanwhile;
  using fresh = new FreshLayer(work);
  const contents = await unpack(ctx, work, request, fresh);
  await requireParent(work, request.parent);
  return await commit(ctx, { work, fresh, contents, parent: request.parent, chainId });
}

/** Nobody can know the layer before its bytes were read, so what is there already is found only afterwards. */
async function applyUnknown(ctx: Ctx, work: Work, request: LayerRequest): Promise<LayerRecord> {
  using fresh = new FreshLayer(work);
  const contents = await unpack(ctx, work, request, fresh);
  const { parent } = request;
  await requireParent(work, parent);
  const chainId = chainIdOf(parent, contents.unpacked.diffId);
  using _lock = await FileLock.acquire(ctx, layerLock(work.deps, chainId));
  return adopt(work, chainId) ?? (await commit(ctx, { work, fresh, contents, parent, chainId }));
}

/** Waits for an apply of the parent that runs in this process. Errors: its, or not-found. */
async function requireParent(work: Work, parent: Digest | undefined): Promise<void> {
  if (parent === undefined || adopt(work, parent) !== undefined) return;
  await work.parent;
  if (adopt(work, parent) === undefined) throw layerUnknown(parent);
}

interface Commit {
  work: Work;
  fresh: FreshLayer;
  contents: Contents;
  parent?: Digest | undefined;
  chainId: Digest;
}

/** With the layer's lock held: complete the directory, make it durable, give it its name and its row. */
async function commit(ctx: Ctx, made: Commit): Promise<LayerRecord> {
  const { deps } = made.work;
  try {
    await join(ctx, made);
    await deps.treeSync.sync(ctx);
    failpoint("storage.layer.synced");
    // A leftover without a row, of a process that died at the next line.
    discard(deps, deps.paths.layer(made.chainId));
    renameSync(made.fresh.dir, deps.paths.layer(made.chainId));
    made.fresh.keep();
    fsyncDir(deps.paths.layers);
    failpoint("storage.layer.renamed");
    deps.db.durable(() => insertLayer(made));
  } catch (error) {
    throw ioError(error, `cannot store layer "${made.chainId}"`);
  }
  failpoint("storage.layer.committed");
  return getLayer(deps, made.chainId) as LayerRecord;
}

/** What the directory owes to the layers below. */
async function join(ctx: Ctx, { work: { deps }, parent, fresh, contents }: Commit): Promise<void> {
  if (parent === undefined) return;
  const { joinLowers } = await import("./layer-join.ts");
  const { diff } = fresh;
  const digest = contents.blob?.digest;
  contents.unpacked = await joinLowers(ctx, deps.sys, {
    diff,
    lowers: lowersOf(deps, parent),
    unpacked: contents.unpacked,
    empty: () => fresh.empty(),
    again:
      digest === undefined
        ? undefined
        : () => unpackInto(ctx, deps, { diff, stream: deps.content.stream(digest), above: "prepared" }),
  });
}

function lowersOf(deps: LayerDeps, top: Digest): string[] {
  return visibleDirs(deps, top);
}

function insertLayer({ work, fresh, contents, parent, chainId }: Commit): void {
  const { unpacked, blob, tarSize } = contents;
  work.deps.db.run(
    `INSERT INTO layers (chain_id, diff_id, parent, blob, media_type, tar_size, size, opaque, created)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    chainId,
    unpacked.diffId,
    parent ?? null,
    blob?.digest ?? null,
    blob?.mediaType ?? null,
    tarSize ?? null,
    unpacked.size,
    isOpaque(work.deps.sys, work.deps.paths.diff(chainId)) ? 1 : 0,
    now(),
  );
  work.lease.protect("layer", chainId);
  fresh.lease.release();
}
