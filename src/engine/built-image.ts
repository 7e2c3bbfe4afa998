/**
 * An image made here, of layers the store has: config and manifest are written, the new layers stay
 * unpacked and are compressed once, at push or save (`image-source-stored.ts`).
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, ImageConfig } from "../image/image.ts";
import {
  DOCKER_CONFIG,
  DOCKER_LAYER,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_LAYER,
  OCI_MANIFEST,
} from "../image/media-types.ts";
import type { ImageRecord, LayerRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface BuiltImage {
  config: ImageConfig;
  format: "oci" | "docker";
  /** Image whose layers are the lower part of this one's: their descriptors are taken over. */
  base?: string;
  names: string[];
}

const TYPES = {
  oci: { manifest: OCI_MANIFEST, config: OCI_CONFIG, layer: OCI_LAYER },
  docker: { manifest: DOCKER_MANIFEST, config: DOCKER_CONFIG, layer: DOCKER_LAYER },
};

/** Visible and durable when it returns. Errors: not-found (a layer). */
export async function putBuiltImage(_ctx: Ctx, engine: Engine, built: BuiltImage): Promise<ImageRecord> {
  const types = TYPES[built.format];
  const inherited = built.base === undefined ? [] : engine.images.resolve(built.base).manifest.layers;
  const layers = chainIds(built.config.rootfs.diff_ids).map((chainId, index) => {
    const known = inherited[index];
    if (known !== undefined) return known;
    const layer = engine.layers.get(chainId);
    if (layer === undefined)
      throw fail("not-found", `layer ${chainId} is not in the store`, { reason: "layer-unknown" });
    return plainDescriptor(layer, types.layer);
  });
  const configBytes = encode(built.config);
  const manifestBytes = encode({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: { mediaType: types.config, digest: digestOf(configBytes), size: configBytes.length },
    layers,
  });
  return engine.images.put({
    manifestBytes,
    manifestDigest: digestOf(manifestBytes),
    configBytes,
    names: built.names,
  });
}

/** The layer as the tar it is, whether or not the store keeps that tar. */
function plainDescriptor(layer: LayerRecord, mediaType: string): Descriptor {
  return layer.blob ?? { mediaType, digest: layer.diffId, size: layer.tarSize ?? 0 };
}

function encode(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
