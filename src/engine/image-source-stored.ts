/**
 * An image of the store as something to push or save: its manifest, and every layer as a blob that is there.
 *
 * Mostly all blobs are kept and everything goes out byte for byte. A layer made here, one whose blob
 * another image brought in another compression, or one that is wanted otherwise, is made into a blob first, under the caller's
 * lease; the manifest then names that one, and the config, and with it the image's id, stays as it is.
 * What a layer became is remembered (`layer-variants.ts`), and made by one process at a time.
 */
import type { Compression } from "../archive/archive.ts";
import { type Compressor, DEFAULT_LEVEL, parallelCompress } from "../archive/compress-parallel.ts";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import {
  convertManifest,
  type ImageFormat,
  imageFormat,
  layerCompression,
  layerMediaType,
} from "../image/convert.ts";
import { parseConfig } from "../image/config.ts";
import type { Descriptor, Digest, ImageConfig, Manifest } from "../image/image.ts";
import { isForeignLayerType, isLayerType } from "../image/media-types.ts";
import { addVariant, findVariant } from "../storage/layer-variants.ts";
import { FileLock } from "../storage/lock.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { ImageRecord, Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

/** What is needed of an image to make its layers into blobs. */
export type LayeredImage = Pick<ImageRecord, "id" | "manifest" | "config" | "repoDigests">;

export interface LayerChoice extends Compressor {
  /** Layers in another compression become this one too; else only those without any. */
  force: boolean;
}

export interface StoredRequest {
  record: LayeredImage;
  /** Protects the blobs that are made. */
  lease: Lease;
  /** Layers without compression are compressed, unless the image came like that from a registry. */
  compress: boolean;
  /** With `compress`: into what. Default gzip, not forced. */
  choice?: LayerChoice | undefined;
  /** Family of the manifest that will list the layers: Docker's has no zstd. Default: the image's own. */
  format?: ImageFormat | undefined;
}

export interface StoredManifest {
  manifest: Manifest;
  bytes: Uint8Array;
  digest: Digest;
  /** True if the bytes are not those the image was stored with. */
  changed: boolean;
}

export interface LayerPlan {
  /** What the blob will be, where that is known before it is there. */
  descriptor?: Descriptor;
  /** It is in the store, or of a kind that is never sent. */
  isHere: boolean;
  /** The blob, made if need be; the lease protects it. Errors: data-loss, resource-exhausted. */
  make(ctx: Ctx): Promise<Descriptor>;
}

const GZIP: LayerChoice = { format: "gzip", force: false };

/** The blob of layer `index`, made if need be. */
export async function layerBlob(
  ctx: Ctx,
  engine: Engine,
  request: StoredRequest,
  index: number,
): Promise<Descriptor> {
  return await planLayer(engine, request, index).make(ctx);
}

/** How layer `index` comes to be a blob. Errors: data-loss (the layer is missing). */
export function planLayer(engine: Engine, request: StoredRequest, index: number): LayerPlan {
  const listed = request.record.manifest.layers[index] as Descriptor;
  const has = (one: Descriptor | undefined): one is Descriptor =>
    one !== undefined && engine.content.has(one.digest);
  const keep = (descriptor: Descriptor): LayerPlan => ({
    descriptor,
    isHere: true,
    make: () => {
      if (!isForeignLayerType(descriptor.mediaType)) request.lease.protect("blob", descriptor.digest);
      return Promise.resolve(descriptor);
    },
  });
  const mayGo = (one: Descriptor | undefined, mayBePlain: boolean): one is Descriptor =>
    has(one) && fits(layerCompression(one.mediaType), request, mayBePlain);

  // Not a file system's layer: what its author serves himself, or an artifact's blob.
  if (isForeignLayerType(listed.mediaType)) return keep(listed);
  if (!isLayerType(listed.mediaType)) {
    if (engine.content.has(listed.digest)) return keep(listed);
    throw missing(listed.digest, request);
  }
  if (mayGo(listed, request.record.repoDigests.length > 0)) return keep(listed);
  const layer = storedLayer(engine, request, index);
  if (mayGo(layer.blob, false)) return keep(inFamily(request, layer.blob));
  return variantPlan(engine, request, layer);
}

/** Whether a layer in this compression may go out as it is. */
function fits(
  compression: Compression,
  { compress, choice, format, record }: StoredRequest,
  mayBePlain: boolean,
) {
  if (format === "docker" && compression === "zstd" && imageFormat(record.manifest.mediaType) === "oci")
    return false;
  if (!compress) return true;
  if (choice?.force === true) return compression === choice.format;
  return compression !== "none" || mayBePlain;
}

interface LayerSource {
  diffId: Digest;
  /** The blob it was unpacked from, if that is kept. */
  blob?: Descriptor | undefined;
  tar(ctx: Ctx): AsyncIterable<Uint8Array>;
}

/** From what is unpacked; of an image that is not (another platform's), from its blob. */
function storedLayer(engine: Engine, { record }: StoredRequest, index: number): LayerSource {
  const diffIds = record.config.rootfs.diff_ids;
  const diffId = diffIds[index] as Digest;
  const chain = chainIds(diffIds)[index] as Digest;
  const layer = engine.layers.get(chain);
  if (layer !== undefined) return { diffId, blob: layer.blob, tar: (ctx) => engine.layers.tar(ctx, chain) };
  const listed = record.manifest.layers[index] as Descriptor;
  if (engine.content.has(listed.digest))
    return { diffId, tar: () => inflated(engine, listed.digest, diffId) };
  throw missing(chain, { record });
}

function missing(layer: Digest, { record }: Pick<StoredRequest, "record">): Error {
  return fail("data-loss", `layer "${layer}" of image "${record.id}" is missing from the store`, {
    reason: "layer-missing",
    hint: 'run "berth system check --repair"',
  });
}

async function* inflated(engine: Engine, blob: Digest, diffId: Digest): AsyncGenerator<Uint8Array> {
  const { decompress } = await import("../archive/compress.ts");
  const { verifyStream } = await import("../archive/digest.ts");
  yield* verifyStream(decompress(engine.content.stream(blob)), { digest: diffId });
}

function inFamily({ record, format }: StoredRequest, blob: Descriptor): Descriptor {
  const family = format ?? imageFormat(record.manifest.mediaType);
  return { ...blob, mediaType: layerMediaType(family, layerCompression(blob.mediaType)) };
}

function variantPlan(engine: Engine, request: StoredRequest, layer: LayerSource): LayerPlan {
  const { record, compress, lease } = request;
  const family = request.format ?? imageFormat(record.manifest.mediaType);
  // What goes into a registry compressed goes into Docker's family as gzip, whatever it was.
  const isForced = request.format === "docker" && !compress;
  const choice = compress || isForced ? (request.choice ?? GZIP) : undefined;
  const mediaType = layerMediaType(family, choice?.format ?? "none");
  const key =
    choice === undefined ? undefined : `${choice.format}:${choice.level ?? DEFAULT_LEVEL[choice.format]}`;
  const known = key === undefined ? undefined : findVariant(engine.db, layer.diffId, key);
  const adopt = (variant: { digest: Digest; size: number }): Descriptor => {
    lease.protect("blob", variant.digest);
    return { mediaType, ...variant };
  };
  return {
    ...(known === undefined ? {} : { descriptor: { mediaType, ...known } }),
    isHere: known !== undefined && engine.content.has(known.digest),
    make: async (ctx) => {
      if (choice === undefined || key === undefined)
        return adopt(await engine.content.ingest(ctx, layer.tar(ctx), { digest: layer.diffId }, lease));
      const { sys, paths, db, content } = engine;
      using _lock = await FileLock.acquire(ctx, {
        sys,
        dir: paths.locks,
        name: `compress-${layer.diffId}-${key}`,
      });
      const made = findVariant(db, layer.diffId, key);
      if (made !== undefined && content.has(made.digest)) return adopt(made);
      const blob = await content.ingest(ctx, parallelCompress(layer.tar(ctx), choice), undefined, lease);
      addVariant(db, layer.diffId, { compression: key, ...blob });
      return adopt(blob);
    },
  };
}

/**
 * An image by its manifest alone: one that an index lists and that is unpacked for nobody. What came from a registry may keep
 * its layers without compression; what was made here has no blobs of them.
 */
export function layeredImage({ content }: Engine, manifest: Manifest): LayeredImage {
  let config: ImageConfig | undefined;
  return {
    id: manifest.config.digest,
    manifest,
    get config() {
      return (config ??= parseConfig(content.read(manifest.config.digest)));
    },
    repoDigests: manifest.layers.every((layer) => content.has(layer.digest)) ? ["as it is"] : [],
  };
}

/** The manifest over these layers: the stored bytes if they name the same blobs in the same family. */
export function manifestOver(
  engine: Engine,
  record: Pick<ImageRecord, "manifest" | "manifestDigest">,
  layers: Descriptor[],
  format = imageFormat(record.manifest.mediaType),
): StoredManifest {
  const bytes = engine.content.read(record.manifestDigest);
  const { manifest } = record;
  const made = convertManifest({ bytes, manifest }, { format, layers });
  if (!made.changed) return { manifest, bytes, digest: record.manifestDigest, changed: false };
  return { ...made, manifest: { ...manifest, mediaType: made.mediaType, layers } };
}

/**
 * The image with the manifest it will be pushed with, from now on its own: what lists it, or is attached to it, then means what
 * a registry will have. Errors: data-loss (a layer is missing), resource-exhausted.
 */
export async function settleManifest(
  ctx: Ctx,
  engine: Engine,
  { record, lease }: { record: ImageRecord; lease: Lease },
): Promise<StoredManifest> {
  const layers = await runOrdered(ctx, 4, record.manifest.layers, (inner, _, index) =>
    layerBlob(inner, engine, { record, lease, compress: true }, index),
  );
  const made = manifestOver(engine, record, layers);
  if (made.changed) {
    const configBytes = engine.content.read(record.id);
    engine.images.put({ manifestBytes: made.bytes, manifestDigest: made.digest, configBytes });
  }
  lease.protect("blob", made.digest);
  return made;
}
