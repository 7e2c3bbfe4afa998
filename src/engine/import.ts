/** import: an image of one layer from the tar of a root file system. */
import type { Compression } from "../archive/archive.ts";
import { hostDecoder, peekCompression } from "../archive/compress.ts";
import type { Ctx } from "../core/ctx.ts";
import { now } from "../core/time.ts";
import { applyChanges } from "../image/changes.ts";
import { digestOf } from "../image/digest.ts";
import { defined } from "../image/document.ts";
import type { Descriptor, ImageConfig, Platform } from "../image/image.ts";
import { OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST } from "../image/media-types.ts";
import { hostPlatform, parsePlatform } from "../image/platform.ts";
import { collectGarbage } from "../storage/gc.ts";
import type { ImageRecord, LayerRecord } from "../storage/storage.ts";
import { admit } from "./admit.ts";
import type { Engine } from "./engine.ts";
import { localName } from "./images.ts";

export interface ImportRequest {
  /** A tar, compressed or not. */
  source: AsyncIterable<Uint8Array>;
  name?: string;
  message?: string;
  /** Dockerfile instructions for the config. */
  changes: string[];
  platform?: string;
}

/** Errors: invalid-argument (name, changes, platform, entries of the tar), data-loss (corrupt), resource-exhausted; nothing is left then. */
export async function importRootfs(ctx: Ctx, engine: Engine, request: ImportRequest): Promise<ImageRecord> {
  const name = request.name === undefined ? undefined : localName(request.name);
  const platform = request.platform === undefined ? hostPlatform() : parsePlatform(request.platform);
  const config = applyChanges({}, request.changes);
  await admit(ctx, engine, { candidate: { transport: "tarball", documents: [] } });
  try {
    const record = await store(ctx, engine, {
      source: request.source,
      names: name === undefined ? [] : [name],
      makeConfig: (layer) => imageConfig({ platform, config, layer, message: request.message }),
    });
    engine.events.add({
      type: "image",
      action: "import",
      id: record.id,
      name: name ?? record.id,
      attributes: {},
    });
    return record;
  } catch (error) {
    collectGarbage(engine.store);
    throw error;
  }
}

interface ImportSteps {
  source: AsyncIterable<Uint8Array>;
  names: string[];
  makeConfig: (layer: LayerRecord) => ImageConfig;
}

/** The tar is kept as it came, because its diffId must be had again from it at a push. */
async function store(ctx: Ctx, engine: Engine, steps: ImportSteps): Promise<ImageRecord> {
  using lease = engine.leases.take("load");
  const { mediaType, stream } = await layerStream(ctx, steps.source);
  const blob: Descriptor = { mediaType, ...(await engine.content.ingest(ctx, stream, undefined, lease)) };
  const source = engine.content.stream(blob.digest);
  const layer = await engine.layers.apply(ctx, { source, blob, lease });
  const configBytes = encode(steps.makeConfig(layer));
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: digestOf(configBytes), size: configBytes.length },
    layers: [blob],
  });
  return engine.images.put({
    manifestBytes,
    manifestDigest: digestOf(manifestBytes),
    configBytes,
    names: steps.names,
  });
}

function encode(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

const LAYER_TYPES: Partial<Record<Compression, string>> = { gzip: OCI_LAYER_GZIP, zstd: OCI_LAYER_ZSTD };

/** What a layer may be compressed with stays; the rest is undone by the host's programs. */
async function layerStream(
  ctx: Ctx,
  source: AsyncIterable<Uint8Array>,
): Promise<{ mediaType: string; stream: AsyncIterable<Uint8Array> }> {
  const { compression, stream } = await peekCompression(source);
  if (hostDecoder(compression) === undefined) {
    return { mediaType: LAYER_TYPES[compression] ?? OCI_LAYER, stream };
  }
  const { plainStream } = await import("./load-stream.ts");
  return { mediaType: OCI_LAYER, stream: plainStream(ctx, stream) };
}

function imageConfig(parts: {
  platform: Platform;
  config: ImageConfig["config"];
  layer: LayerRecord;
  message: string | undefined;
}): ImageConfig {
  const { os, architecture, variant } = parts.platform;
  const created = now();
  const comment = parts.message ?? "imported from a tarball";
  return defined<ImageConfig>({
    created,
    author: undefined,
    architecture,
    os,
    variant,
    "os.version": undefined,
    config: parts.config,
    rootfs: { type: "layers", diff_ids: [parts.layer.diffId] },
    history: [{ created, created_by: "import", comment }],
  });
}
