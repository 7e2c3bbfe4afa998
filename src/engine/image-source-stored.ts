/**
 * An image of the store as something to push or save: its manifest, and every layer as a blob that is there.
 *
 * Mostly all blobs are kept and everything goes out byte for byte. A layer made here, or one whose blob
 * another image brought in another compression, is made into a blob first, under the caller's lease; the manifest
 * then names that one, and the config, and with it the image's id, stays as it is.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest, Manifest } from "../image/image.ts";
import {
  DOCKER_LAYER,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  isForeignLayerType,
  OCI_LAYER,
  OCI_LAYER_GZIP,
} from "../image/media-types.ts";
import type { ImageRecord, Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { parallelGzip } from "./push-gzip.ts";

export interface StoredRequest {
  record: ImageRecord;
  /** Protects the blobs that are made. */
  lease: Lease;
  /** Layers without compression are compressed, unless the image came like that from a registry. */
  compress: boolean;
}

export interface StoredManifest {
  manifest: Manifest;
  bytes: Uint8Array;
  digest: Digest;
  /** True if the bytes are not those the image was stored with. */
  changed: boolean;
}

/** The blob of layer `index`, made if need be. */
export async function layerBlob(
  ctx: Ctx,
  engine: Engine,
  { record, lease, compress }: StoredRequest,
  index: number,
): Promise<Descriptor> {
  const listed = record.manifest.layers[index] as Descriptor;
  const isPlain = (mediaType: string): boolean => mediaType === OCI_LAYER || mediaType === DOCKER_LAYER;
  const mayStay = !compress || record.repoDigests.length > 0;
  if (isForeignLayerType(listed.mediaType)) return listed;
  if (engine.content.has(listed.digest) && (mayStay || !isPlain(listed.mediaType)))
    return keep(lease, listed);

  const chain = chainIds(record.config.rootfs.diff_ids)[index] as Digest;
  const layer = engine.layers.get(chain);
  if (layer === undefined) {
    throw fail("data-loss", `layer "${chain}" of image "${record.id}" is missing from the store`, {
      reason: "layer-missing",
      hint: 'run "berth system check --repair"',
    });
  }
  if (
    layer.blob !== undefined &&
    !(compress && isPlain(layer.blob.mediaType)) &&
    engine.content.has(layer.blob.digest)
  ) {
    return keep(lease, layer.blob);
  }
  const isDocker = record.manifest.mediaType === DOCKER_MANIFEST;
  const tar = engine.layers.tar(ctx, chain);
  const made = compress
    ? await engine.content.ingest(ctx, parallelGzip(tar), undefined, lease)
    : await engine.content.ingest(ctx, tar, { digest: layer.diffId }, lease);
  const mediaType = compress
    ? isDocker
      ? DOCKER_LAYER_GZIP
      : OCI_LAYER_GZIP
    : isDocker
      ? DOCKER_LAYER
      : OCI_LAYER;
  return { mediaType, ...made };
}

function keep(lease: Lease, descriptor: Descriptor): Descriptor {
  lease.protect("blob", descriptor.digest);
  return descriptor;
}

/** The manifest over these layers: the stored bytes if they name the same blobs. */
export function manifestOver(engine: Engine, record: ImageRecord, layers: Descriptor[]): StoredManifest {
  const bytes = engine.content.read(record.manifestDigest);
  const same = record.manifest.layers.every((layer, i) => layer.digest === layers[i]?.digest);
  if (same) return { manifest: record.manifest, bytes, digest: record.manifestDigest, changed: false };
  // From the original text, so that what we do not know about stays in it.
  const original = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  const fresh = new TextEncoder().encode(JSON.stringify({ ...original, layers }));
  return { manifest: { ...record.manifest, layers }, bytes: fresh, digest: digestOf(fresh), changed: true };
}
