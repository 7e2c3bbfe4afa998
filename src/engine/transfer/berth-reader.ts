/** `berth:NAME` (`containers-storage:NAME`) as a source: an image, an index or an artifact of the store. */
import type { Ctx } from "../../core/ctx.ts";
import { fail, isKind } from "../../core/error.ts";
import { chainIds } from "../../image/chain.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../../image/manifest.ts";
import type { FetchedManifest } from "../../registry/registry.ts";
import { runOrdered } from "../../storage/ordered.ts";
import type { ImageRecord, Lease } from "../../storage/storage.ts";
import type { Engine } from "../engine.ts";
import { layerBlob, manifestOver, type StoredRequest } from "../image-source-stored.ts";
import { describe, referrerOf } from "./read-document.ts";
import type { ImageReader, Place } from "./transfer.ts";

const CONCURRENCY = 4;

export interface BerthReaderRequest {
  place: Place;
  /** Layers made here are compressed. */
  compress: boolean;
  /** Protects the blobs that are made. */
  lease: Lease;
  /** Told what had to become different. */
  note?: (change: string) => void;
}

export class BerthReader implements ImageReader {
  readonly place: Place;
  readonly madeUp = false;
  readonly #engine: Engine;
  readonly #request: BerthReaderRequest;
  /** Read once: layers may have to be made into blobs for it. */
  #top: Promise<FetchedManifest> | undefined;

  constructor(engine: Engine, request: BerthReaderRequest) {
    this.place = request.place;
    this.#engine = engine;
    this.#request = request;
  }

  manifest(ctx: Ctx, digest?: Digest): Promise<FetchedManifest> {
    if (digest !== undefined) return Promise.resolve(this.#document(digest));
    return (this.#top ??= this.#resolve(ctx));
  }

  async #resolve(ctx: Ctx): Promise<FetchedManifest> {
    const name = this.place.name as string;
    const document = this.#engine.manifests.find(name);
    if (document !== undefined) return this.#document(document.digest, document.mediaType);
    return await this.#image(ctx, this.#engine.images.resolve(name));
  }

  async #image(ctx: Ctx, record: ImageRecord): Promise<FetchedManifest> {
    const { compress, lease, note } = this.#request;
    const stored = { record, lease, compress };
    const layers = await runOrdered(ctx, CONCURRENCY, record.manifest.layers, (inner, _, i) =>
      this.#layer(inner, stored, i),
    );
    lease.protect("blob", record.id);
    const { bytes, digest, manifest, changed } = manifestOver(this.#engine, record, layers);
    if (changed) note?.("layers are in another compression than the one the image came with");
    return { bytes, descriptor: { mediaType: manifest.mediaType, digest, size: bytes.length } };
  }

  async #layer(ctx: Ctx, stored: StoredRequest, i: number): Promise<Descriptor> {
    const listed = stored.record.manifest.layers[i] as Descriptor;
    const { content, layers } = this.#engine;
    const diffIds = stored.record.config.rootfs.diff_ids;
    const isPlain = listed.digest === diffIds[i];
    if (stored.compress || !isPlain || content.has(listed.digest))
      return await layerBlob(ctx, this.#engine, stored, i);
    // The layer came by another image, compressed; its tar is what the manifest lists.
    const tar = layers.tar(ctx, chainIds(diffIds)[i] as Digest);
    await content.ingest(ctx, tar, listed, stored.lease);
    return listed;
  }

  #document(digest: Digest, mediaType?: string): FetchedManifest {
    try {
      this.#request.lease.protect("blob", digest);
      const bytes = this.#engine.content.read(digest, MAX_MANIFEST_BYTES);
      return { bytes, descriptor: describe(bytes, digest, mediaType) };
    } catch (error) {
      if (!isKind(error, "not-found")) throw error;
      throw fail("not-found", `the store has "${this.place.name}" without its manifest "${digest}"`, {
        reason: "sparse-index",
        hint: "pull all its platforms first, or copy one platform or the index alone",
        cause: error,
      });
    }
  }

  blob(_ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array> {
    this.#request.lease.protect("blob", descriptor.digest);
    return this.#engine.content.stream(descriptor.digest);
  }

  referrers(_ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]> {
    const found = this.#engine.manifests
      .list()
      .filter((record) => record.subject === subject)
      .map((record) => referrerOf(this.#document(record.digest, record.mediaType)));
    return Promise.resolve(
      artifactType === undefined ? found : found.filter((one) => one.artifactType === artifactType),
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
