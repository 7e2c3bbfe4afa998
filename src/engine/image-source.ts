/**
 * From anything that has an image (a registry, an archive) into the store: source → sink.
 *
 * A source gives bytes as they are; every one of them is verified here or in the store before the image becomes visible. All that
 * is stored meanwhile hangs on a lease, so that a failure or a kill leaves nothing that the next
 * command cannot see and take away.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail, messageOf } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "../image/config.ts";
import { digestAlgorithm, digestOf, excerpt } from "../image/digest.ts";
import type { Descriptor, Digest, ImageConfig, Manifest } from "../image/image.ts";
import { isImageConfigType, isLayerType } from "../image/media-types.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease, PutImageRequest } from "../storage/storage.ts";
import { stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";

export interface ImageSource {
  manifestBytes: Uint8Array;
  manifestDigest: Digest;
  manifest: Manifest;
  /** For messages: "quay.io/x/y:1", "archive.tar". */
  what: string;
  /** True if `blob` can begin at an offset: what a broken copy has brought then stays in the store for the next one. */
  resumable?: boolean;
  /** Bytes of the config or of a layer, only if the store lacks them, and again if what was kept of a broken copy turns out wrong. */
  blob(ctx: Ctx, descriptor: Descriptor, offset?: number): AsyncIterable<Uint8Array>;
}

export interface ImageNames {
  names: string[];
  repoDigests: string[];
}

/** Layers on their way at the same time. */
const CONCURRENCY = 6;

/**
 * Stores the layers and returns what `images.put` needs to make the image visible. Errors: invalid-argument,
 * data-loss, unimplemented (artifacts), and those of the source.
 */
export async function storeLayers(
  ctx: Ctx,
  engine: Engine,
  source: ImageSource,
  target: ImageNames & { lease: Lease; checkConfig?: (config: ImageConfig) => void },
): Promise<PutImageRequest> {
  const { manifest } = source;
  checkIsImage(source);
  const configBytes = await readConfig(ctx, engine, source, target.lease);
  const config = parseConfig(configBytes);
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== manifest.layers.length) {
    throw fail(
      "invalid-argument",
      `"${source.what}" is malformed: its manifest has ${manifest.layers.length} layers, its config ${diffIds.length}`,
      { reason: "layer-count-mismatch" },
    );
  }
  target.checkConfig?.(config);
  await applyLayers(ctx, engine, { source, diffIds, lease: target.lease });
  return {
    manifestBytes: source.manifestBytes,
    manifestDigest: source.manifestDigest,
    configBytes,
    names: target.names,
    repoDigests: target.repoDigests,
  };
}

function checkIsImage({ manifest, what }: ImageSource): void {
  const { mediaType } = manifest.config;
  // Very old tools wrote the generic type.
  if (!isImageConfigType(mediaType) && mediaType !== "application/octet-stream") {
    const type = manifest.artifactType ?? mediaType;
    throw fail(
      "unimplemented",
      `"${what}" is an artifact of type "${excerpt(type)}", not a container image`,
      {
        reason: "not-an-image",
        hint: `for its files: berth artifact pull ${what}`,
      },
    );
  }
  const odd = manifest.layers.find((layer) => !isLayerType(layer.mediaType));
  if (odd !== undefined) {
    throw fail("unimplemented", `"${what}" has a layer of unknown type "${excerpt(odd.mediaType)}"`, {
      reason: "layer-media-type",
    });
  }
}

/** By way of the store, so that of many copies at once only one reads it from the source. */
async function readConfig(ctx: Ctx, engine: Engine, source: ImageSource, lease: Lease): Promise<Uint8Array> {
  const { config } = source.manifest;
  const { content } = engine;
  checkLimit(config, MAX_CONFIG_BYTES);
  if (source.resumable !== true)
    return await readVerified(source.blob(ctx, config), config, MAX_CONFIG_BYTES);
  await content.ingest(ctx, source.blob(ctx, config), config, lease);
  try {
    return content.read(config.digest, MAX_CONFIG_BYTES);
  } catch (error) {
    // Damaged in the store, or a collection took it: `images.put` puts it there again.
    ctx.log.debug(messageOf(error));
    return await readVerified(source.blob(ctx, config), config, MAX_CONFIG_BYTES);
  }
}

/** Errors: resource-exhausted. */
function checkLimit({ digest, size }: Descriptor, limit: number): void {
  if (size <= limit) return;
  throw fail("resource-exhausted", `blob "${digest}" is ${size} bytes, more than the limit of ${limit}`, {
    reason: "document-too-large",
  });
}

/** A small blob as a whole, size before digest. Errors: resource-exhausted, data-loss. */
export async function readVerified(
  source: AsyncIterable<Uint8Array>,
  descriptor: Descriptor,
  limit: number,
): Promise<Uint8Array> {
  const { digest, size } = descriptor;
  checkLimit(descriptor, limit);
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    length += chunk.length;
    if (length > size) break;
    parts.push(chunk);
  }
  const bytes = Buffer.concat(parts);
  if (length === size && digestOf(bytes, digestAlgorithm(digest)) === digest) return bytes;
  const problem =
    length === size ? "its bytes do not match the digest" : `it does not have its ${size} bytes`;
  throw fail("data-loss", `blob "${digest}" is damaged: ${problem}`, {
    reason: length === size ? "digest-mismatch" : "size-mismatch",
  });
}

async function applyLayers(
  ctx: Ctx,
  engine: Engine,
  { source, diffIds, lease }: { source: ImageSource; diffIds: Digest[]; lease: Lease },
): Promise<void> {
  const chain = chainIds(diffIds);
  const { layers } = source.manifest;
  for (const layer of layers)
    ctx.progress({ id: stepId(layer.digest), status: "waiting", total: layer.size });
  await runOrdered(ctx, CONCURRENCY, layers, async (inner, layer, i) => {
    const id = stepId(layer.digest);
    const exists = engine.layers.get(chain[i] as Digest) !== undefined;
    const parent = chain[i - 1];
    await engine.layers.apply(inner, {
      ...(parent === undefined ? {} : { parent }),
      diffId: diffIds[i] as Digest,
      source: source.resumable === true ? (at) => source.blob(inner, layer, at) : source.blob(inner, layer),
      blob: layer,
      onBytes: (current) =>
        ctx.progress({
          id,
          status: current < layer.size ? "downloading" : "extracting",
          current,
          total: layer.size,
        }),
      lease,
    });
    ctx.progress({ id, status: exists ? "exists" : "done", current: layer.size, total: layer.size });
  });
}
