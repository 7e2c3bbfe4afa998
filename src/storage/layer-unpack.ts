/** One layer from its bytes to an unpacked directory aside; what becomes of it then is layers.ts. */
import { chmodSync, mkdirSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD } from "../image/media-types.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { claimBlob } from "./content.ts";
import { discard, ioError, uniqueName } from "./files.ts";
import { BlobSource, retryFresh } from "./layer-source.ts";
import type { ApplyRequest, ContentStore, LayerRecord, Lease } from "./storage.ts";
import type { TreeSync } from "./sync-tree.ts";
import type { UnpackPool } from "./unpack-pool.ts";
import type { Unpacked } from "./unpack.ts";

export interface LayerDeps extends BlobDeps {
  content: ContentStore;
  /** argv that starts this program as the sandboxed unpacker. */
  unpackCommand: string[];
  /** Where overlayfs finds its marks: "user" inside a user namespace. */
  overlayXattr: "trusted" | "user";
  treeSync: TreeSync;
  /** Unpackers for all layers of this process; loaded at the first one. */
  pool: () => Promise<UnpackPool>;
}

/** `fromUpper` keeps no blob: its tar can be made again. */
export type LayerRequest = ApplyRequest & { keepBlob: boolean };

export interface Work {
  deps: LayerDeps;
  lease: Lease;
  /** The apply of the parent that ran in this process when this one began. */
  parent?: Promise<LayerRecord> | undefined;
}

/** What unpacking found out, and what it was unpacked from or could be packed into. */
export interface Contents {
  unpacked: Unpacked;
  blob?: Descriptor;
  tarSize?: number;
}

/** A leased directory under `ingest/`, gone with the scope unless it became a layer. */
export class FreshLayer implements Disposable {
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
export async function unpack(
  ctx: Ctx,
  work: Work,
  request: LayerRequest,
  fresh: FreshLayer,
): Promise<Contents> {
  const { deps, lease } = work;
  const { blob } = request;
  const claim = blob === undefined ? undefined : await claimBlob(ctx, deps, blob, lease);
  using _lock = claim?.lock;
  return await retryFresh(async (again) => {
    if (again) fresh.empty();
    const found = claim?.found;
    const bytes = found === undefined ? request.source : () => deps.content.stream(found.digest);
    using source = new BlobSource(ctx, bytes, request.onBytes);
    if (request.keepBlob && found === undefined) source.keepAs(deps, blob, again);
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

export async function unpackInto(
  ctx: Ctx,
  deps: LayerDeps,
  from: { diff: string; stream: AsyncIterable<Uint8Array>; above?: "first" | "prepared" | undefined },
): Promise<Unpacked> {
  const { spawnUnpack } = await import("./unpack.ts");
  const request = {
    command: deps.unpackCommand,
    target: from.diff,
    overlayXattr: deps.overlayXattr,
    source: from.stream,
    mode: "layer" as const,
    ...(from.above && { above: from.above }),
  };
  return await spawnUnpack(ctx, request, await deps.pool());
}

/** Of a layer that came without a descriptor. */
async function mediaTypeOf(head: Uint8Array): Promise<string> {
  const { detectCompression } = await import("../archive/compress.ts");
  const compression = detectCompression(head);
  if (compression === "gzip") return OCI_LAYER_GZIP;
  return compression === "zstd" ? OCI_LAYER_ZSTD : OCI_LAYER;
}
