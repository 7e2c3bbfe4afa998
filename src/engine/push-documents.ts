/** Manifests and indexes on their way to a registry: what they list goes before them (distribution-spec, "Pushing Manifests"). */
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import {
  convertIndex,
  type Converted,
  convertManifest,
  type ImageFormat,
  imageFormat,
} from "../image/convert.ts";
import type { Descriptor, Digest, Index, Manifest } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_STORED_NESTING, parseManifest } from "../image/manifest.ts";
import { isImageConfigType } from "../image/media-types.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import {
  type LayerChoice,
  type LayeredImage,
  layeredImage,
  planLayer,
  type StoredRequest,
} from "./image-source-stored.ts";
import { BlobPusher, type BlobTarget } from "./push-blob.ts";

export interface PushRules {
  /** What layers become; default: gzip for those without compression. */
  choice?: LayerChoice | undefined;
  /** Media types; those of the image when absent. */
  format?: ImageFormat | undefined;
  /** Of an index: everything it lists, or only itself. */
  children: "all" | "none";
}

export interface StoredDocument {
  bytes: Uint8Array;
  digest: Digest;
  document: Manifest | Index;
}

const CONCURRENCY = 4;

export class DocumentPusher {
  readonly #engine: Engine;
  readonly #target: BlobTarget;
  readonly #rules: PushRules;
  readonly #lease: Lease;
  readonly #blobs: BlobPusher;
  /** By the digest it has in the store. */
  readonly #done = new Map<Digest, Converted>();

  constructor(engine: Engine, { rules, lease, ...target }: BlobTarget & { rules: PushRules; lease: Lease }) {
    this.#engine = engine;
    this.#target = target;
    this.#rules = rules;
    this.#lease = lease;
    this.#blobs = new BlobPusher(engine, target);
  }

  /** All that the document needs; the document itself is the caller's to put under a tag. */
  async contents(ctx: Ctx, stored: StoredDocument, record?: LayeredImage): Promise<Converted> {
    return isIndex(stored.document)
      ? await this.#index(ctx, { ...stored, document: stored.document }, 0)
      : await this.#manifest(ctx, { ...stored, document: stored.document }, record);
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
    const entries = this.#rules.children === "all" ? index.manifests : [];
    for (const entry of entries) {
      const known = this.#done.get(entry.digest) ?? (await this.#child(ctx, entry, depth));
      this.#done.set(entry.digest, known);
      children.set(entry.digest, known);
    }
    const format = this.#rules.format ?? familyOf(index, children);
    return asStored(convertIndex({ bytes, index }, { format, children }), digest);
  }

  async #child(ctx: Ctx, entry: Descriptor, depth: number): Promise<Converted> {
    const stored = storedDocument(this.#engine, entry);
    if (stored === undefined) return await this.#elsewhere(ctx, entry);
    this.#lease.protect("blob", entry.digest);
    const pushed = isIndex(stored.document)
      ? await this.#index(ctx, { ...stored, document: stored.document }, depth + 1)
      : await this.#manifest(ctx, { ...stored, document: stored.document });
    await this.#target.client.pushManifest(ctx, pushed.digest, pushed.mediaType, pushed.bytes);
    return pushed;
  }

  /** A sparse index: what the store lacks may be at the registry already. */
  async #elsewhere(ctx: Ctx, entry: Descriptor): Promise<Converted> {
    try {
      const { bytes, descriptor } = await this.#target.client.manifest(ctx, entry.digest);
      return {
        bytes,
        digest: entry.digest,
        mediaType: entry.mediaType || descriptor.mediaType,
        changed: false,
      };
    } catch (cause) {
      if (!isKind(cause, "not-found")) throw cause;
      throw fail(
        "not-found",
        `manifest "${entry.digest}" of the index is neither in the store nor at the registry`,
        {
          reason: "sparse-index",
          hint: "pull the index with all its platforms first, or push one platform with --platform",
          cause,
        },
      );
    }
  }

  async #manifest(
    ctx: Ctx,
    { bytes, digest, document: manifest }: StoredDocument & { document: Manifest },
    record: LayeredImage = layeredImage(this.#engine, manifest),
  ): Promise<Converted> {
    const isImage = isImageConfigType(manifest.config.mediaType);
    const format = isImage
      ? (this.#rules.format ?? imageFormat(manifest.mediaType))
      : imageFormat(manifest.mediaType);
    const request: StoredRequest = {
      record,
      lease: this.#lease,
      compress: isImage,
      choice: this.#rules.choice,
      format,
    };
    const layers = await runOrdered(ctx, CONCURRENCY, manifest.layers, (inner, _, i) =>
      this.#blobs.layer(inner, planLayer(this.#engine, request, i)),
    );
    this.#lease.protect("blob", manifest.config.digest);
    await this.#blobs.blob(ctx, manifest.config);
    return asStored(convertManifest({ bytes, manifest }, { format, layers }), digest);
  }
}

/** The digest in the store may be of another algorithm. */
function asStored(converted: Converted, digest: Digest): Converted {
  return converted.changed ? converted : { ...converted, digest };
}

/** An index that lists what Docker's lists cannot becomes an OCI one. */
function familyOf(index: Index, children: ReadonlyMap<Digest, Converted>): ImageFormat {
  const own = imageFormat(index.mediaType);
  const changed = [...children.values()].some(
    (child) => child.changed && imageFormat(child.mediaType) !== own,
  );
  return changed ? "oci" : own;
}

/** Undefined if the store does not have it. Errors: data-loss (its bytes are not what the index says). */
export function storedDocument(
  engine: Engine,
  { digest, mediaType, size }: Descriptor,
): StoredDocument | undefined {
  if (!engine.content.has(digest)) return undefined;
  const bytes = engine.content.read(digest, MAX_MANIFEST_BYTES);
  if (bytes.length === size) return { bytes, digest, document: parseManifest(bytes, mediaType) };
  throw fail("data-loss", `manifest "${digest}" has ${bytes.length} bytes, its index says ${size}`, {
    reason: "size-mismatch",
  });
}
