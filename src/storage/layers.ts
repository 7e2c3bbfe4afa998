/** Unpacked layers. Contract in storage.ts. */
import { chmodSync, mkdirSync, renameSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { now } from "../core/time.ts";
import { chainId as chainIdOf, chainIds } from "../image/chain.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from "../image/media-types.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../sys/const.ts";
import { layerElsewhere, storeOfLayer } from "./additional.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { claimBlob } from "./content.ts";
import { discard, fsyncDir, ioError, uniqueName } from "./files.ts";
import { layerLock } from "./gc.ts";
import { BlobSource, retryFresh } from "./layer-source.ts";
import { layerTarStream } from "./layer-tar.ts";
import { FileLock } from "./lock.ts";
import { defaultConcurrency, runOrdered } from "./ordered.ts";
import { isOpaque } from "./merged.ts";
import { layerUnknown, stackIds, visibleDirs } from "./stack.ts";
import type { ApplyRequest, ContentStore, LayerRecord, LayerStore, Lease } from "./storage.ts";
import type { Unpacked } from "./unpack.ts";

export interface LayerDeps extends BlobDeps {
  content: ContentStore;
  /** argv that starts this program as the sandboxed unpacker. */
  unpackCommand: string[];
  /** Where overlayfs finds its marks: "user" inside a user namespace. */
  overlayXattr: "trusted" | "user";
}

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

/** `fromUpper` keeps no blob: its tar can be made again. */
type LayerRequest = ApplyRequest & { keepBlob: boolean };

interface Work {
  deps: LayerDeps;
  lease: Lease;
  /** The apply of the parent that ran in this process when this one began. */
  parent?: Promise<LayerRecord> | undefined;
}

export function createLayers(deps: LayerDeps): LayerStore {
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

/** A leased directory under `ingest/`, gone with the scope unless it became a layer. */
class FreshLayer implements Disposable {
  readonly dir: string;
  readonly diff: string;
  readonly lease: Lease;
  readonly #work: Work;
  #kept = false;

  constructor(work: Work) {
    const name = `layer-${uniqueName()}`;
    this.#work = work;
    this.lease = work.deps.leases.take("layer", `ingest/${name}`);
    this.dir = `${work.deps.paths.ingest}/${name}`;
    this.diff = `${this.dir}/diff`;
    try {
      mkdirSync(this.dir, 0o700);
      this.#makeDiff();
    } catch (error) {
      this[Symbol.dispose]();
      throw ioError(error, "cannot make a layer");
    }
  }

  #makeDiff(): void {
    mkdirSync(this.diff);
    // Exactly, whatever the umask: this is what the root of an image looks like that says nothing of it.
    chmodSync(this.diff, 0o755);
  }

  /** Forgets all that was unpacked. */
  empty(): void {
    discard(this.#work.deps, this.diff);
    this.#makeDiff();
  }

  keep(): void {
    this.#kept = true;
  }

  [Symbol.dispose](): void {
    if (!this.#kept) discard(this.#work.deps, this.dir);
    this.lease.release();
  }
}

/** Independent of the parent: fetch, verify and keep the blob, inflate, verify the diffId, unpack. */
async function unpack(ctx: Ctx, work: Work, request: LayerRequest, fresh: FreshLayer): Promise<Contents> {
  const { deps, lease } = work;
  const { blob } = request;
  const claim = blob === undefined ? undefined : await claimBlob(ctx, deps, blob, lease);
  using _lock = claim?.lock;
  return await retryFresh(async (again) => {
    if (again) fresh.empty();
    const bytes = claim?.found === undefined ? request.source : deps.content.stream(claim.found.digest);
    using source = new BlobSource(ctx, bytes, request.onBytes);
    if (request.keepBlob && claim?.found === undefined) source.keepAs(deps, blob, again);
    failpoint("storage.layer.start");
    const unpacked = await feedUnpack(ctx, work, { request, fresh, source });
    const kept = (await source.commit(lease)) ?? claim?.found;
    failpoint("storage.layer.unpacked");
    if (kept === undefined) return { unpacked, tarSize: source.consumed };
    return { unpacked, blob: { ...kept, mediaType: blob?.mediaType ?? (await mediaTypeOf(source.head)) } };
  });
}

async function feedUnpack(
  ctx: Ctx,
  { deps }: Work,
  { request, fresh, source }: { request: LayerRequest; fresh: FreshLayer; source: BlobSource },
): Promise<Unpacked> {
  // A tar that we make ourselves of one directory has all that its links need.
  const above = request.keepBlob && request.parent !== undefined ? "first" : undefined;
  try {
    return await source.feed(async (stream) => {
      const unpacked = await unpackInto(ctx, deps, { diff: fresh.diff, stream, above });
      checkDiffId(request.diffId, unpacked.diffId);
      return unpacked;
    });
  } catch (error) {
    throw withLayer(request.blob?.digest, error);
  }
}

/** What is wrong with an archive says which layer it is. */
function withLayer(digest: Digest | undefined, error: unknown): unknown {
  const isBad = isKind(error, "data-loss") || isKind(error, "invalid-argument");
  if (digest === undefined || !isBad || error.message.includes(digest)) return error;
  const { kind, message, reason, hint, data } = error;
  return fail(kind, `layer "${digest}": ${message}`, {
    reason,
    data,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

function checkDiffId(expected: Digest | undefined, found: Digest): void {
  if (expected === undefined || found === expected) return;
  throw fail("data-loss", `layer "${expected}" does not match its digest: its tar has "${found}"`, {
    reason: "diff-id-mismatch",
    hint: "the image is damaged at its source; ask whoever built it",
    data: { expected, found },
  });
}

async function unpackInto(
  ctx: Ctx,
  deps: LayerDeps,
  from: { diff: string; stream: AsyncIterable<Uint8Array>; above?: "first" | "prepared" | undefined },
): Promise<Unpacked> {
  const { spawnUnpack } = await import("./unpack.ts");
  return await spawnUnpack(ctx, {
    command: deps.unpackCommand,
    target: from.diff,
    overlayXattr: deps.overlayXattr,
    source: from.stream,
    mode: "layer",
    ...(from.above && { above: from.above }),
  });
}

/** Of a layer that came without a descriptor. */
async function mediaTypeOf(head: Uint8Array): Promise<string> {
  const { detectCompression } = await import("../archive/compress.ts");
  const compression = detectCompression(head);
  if (compression === "gzip") return OCI_LAYER_GZIP;
  return compression === "zstd" ? OCI_LAYER_ZSTD : OCI_LAYER;
}

/** What unpacking found out, and what it was unpacked from or could be packed into. */
interface Contents {
  unpacked: Unpacked;
  blob?: Descriptor;
  tarSize?: number;
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
    syncTree(deps, made.fresh.dir);
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

/** One syncfs instead of an fsync a file: thousands of files cost one journal commit. */
function syncTree({ sys }: LayerDeps, path: string): void {
  const fd = sys.openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  try {
    sys.syncfs(fd);
  } finally {
    sys.close(fd);
  }
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
