/** What a saved image or index consists of: its documents, and every blob they need, made if need be. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { convertIndex, type Converted, convertManifest, imageFormat } from "../image/convert.ts";
import type { Descriptor, Digest, Index, Manifest } from "../image/image.ts";
import { isIndex, MAX_STORED_NESTING } from "../image/manifest.ts";
import { isForeignLayerType, isImageConfigType } from "../image/media-types.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { type LayeredImage, layeredImage, planLayer } from "./image-source-stored.ts";
import { storedDocument, type StoredDocument } from "./push-documents.ts";

/** Bytes at hand, or a blob of the store. */
export type Content = { bytes: Uint8Array } | { size: number };

/** An image as it goes out. */
export interface SavedImage {
  manifest: Manifest;
  bytes: Uint8Array;
  digest: Digest;
}

const CONCURRENCY = 4;

export class SaveContents {
  /** Everything by digest. */
  readonly blobs = new Map<Digest, Content>();
  /** By the digest the manifest has in the store. */
  readonly images = new Map<Digest, SavedImage>();
  readonly #engine: Engine;
  readonly #lease: Lease;
  readonly #compress: boolean;

  constructor(engine: Engine, { lease, compress }: { lease: Lease; compress: boolean }) {
    this.#engine = engine;
    this.#lease = lease;
    this.#compress = compress;
  }

  /** Errors: not-found (nothing of an index is here), data-loss. */
  async add(ctx: Ctx, stored: StoredDocument, record?: LayeredImage): Promise<Converted> {
    const { document } = stored;
    const added = isIndex(document)
      ? await this.#index(ctx, { ...stored, document }, 0)
      : await this.#image(ctx, { ...stored, document }, record);
    this.blobs.set(added.digest, { bytes: added.bytes });
    return added;
  }

  async #index(
    ctx: Ctx,
    { bytes, digest, document: index }: StoredDocument & { document: Index },
    depth: number,
  ): Promise<Converted> {
    if (depth >= MAX_STORED_NESTING) {
      throw fail(
        "invalid-argument",
        `index "${digest}" is malformed: more than ${MAX_STORED_NESTING} levels`,
        {
          reason: "index-nesting",
        },
      );
    }
    const children = new Map<Digest, Converted>();
    for (const entry of index.manifests) {
      if (children.has(entry.digest)) continue;
      const child = await this.#child(ctx, entry, depth);
      if (child !== undefined) children.set(entry.digest, child);
    }
    const listed = new Set(index.manifests.map((entry) => entry.digest)).size;
    if (children.size < listed) this.#sparse(ctx, digest, { listed, here: children.size });
    const converted = convertIndex({ bytes, index }, { format: imageFormat(index.mediaType), children });
    return converted.changed ? converted : { ...converted, digest };
  }

  /** Undefined for what the store does not have: an index may lack it (image-spec, sparse indexes). */
  async #child(ctx: Ctx, entry: Descriptor, depth: number): Promise<Converted | undefined> {
    const stored = storedDocument(this.#engine, entry);
    if (stored === undefined) return undefined;
    const { document } = stored;
    const child = isIndex(document)
      ? await this.#index(ctx, { ...stored, document }, depth + 1)
      : await this.#image(ctx, { ...stored, document });
    this.blobs.set(child.digest, { bytes: child.bytes });
    return child;
  }

  #sparse(ctx: Ctx, digest: Digest, { listed, here }: { listed: number; here: number }): void {
    if (here === 0) {
      throw fail("not-found", `nothing that index "${digest}" lists is in the store`, {
        reason: "sparse-index",
        hint: "pull it with --all-platforms first",
      });
    }
    ctx.log.warn(
      `${listed - here} of the ${listed} images of index "${digest}" are not in the store and left out; pull it with --all-platforms for all of them`,
    );
  }

  async #image(
    ctx: Ctx,
    { bytes, digest, document: manifest }: StoredDocument & { document: Manifest },
    record: LayeredImage = layeredImage(this.#engine, manifest),
  ): Promise<Converted> {
    this.#lease.protect("blob", digest);
    const compress = this.#compress && isImageConfigType(manifest.config.mediaType);
    const request = { record, lease: this.#lease, compress };
    const layers = await runOrdered(ctx, CONCURRENCY, manifest.layers, (inner, _, i) =>
      planLayer(this.#engine, request, i).make(inner),
    );
    this.#lease.protect("blob", manifest.config.digest);
    for (const blob of [manifest.config, ...layers.filter((layer) => !isForeignLayerType(layer.mediaType))])
      this.blobs.set(blob.digest, { size: blob.size });
    const converted = convertManifest(
      { bytes, manifest },
      { format: imageFormat(manifest.mediaType), layers },
    );
    const image = converted.changed ? converted : { ...converted, digest };
    this.images.set(digest, { manifest: { ...manifest, layers }, bytes: image.bytes, digest: image.digest });
    return image;
  }
}
