/** Layers in another compression than they came in: made in the store, because what comes out must be known before it is sent. */
import { decompress } from "../../archive/compress.ts";
import { type Compressor, parallelCompress } from "../../archive/compress-parallel.ts";
import { verifyStream } from "../../archive/digest.ts";
import type { Ctx } from "../../core/ctx.ts";
import { type ImageFormat, layerCompression, layerMediaType } from "../../image/convert.ts";
import type { Descriptor } from "../../image/image.ts";
import { isForeignLayerType, isLayerType } from "../../image/media-types.ts";
import type { Lease } from "../../storage/storage.ts";
import type { Engine } from "../engine.ts";
import type { ImageReader, ImageWriter } from "./transfer.ts";

/** What layers are to become; "none" is a plain tar. */
export type LayerTarget = Compressor | { format: "none" };

export interface LayerRules {
  /** Asked for: every layer gets it. */
  wanted?: LayerTarget;
  /** Layers without compression get it. */
  plain?: Compressor;
  /** Family of the manifest that will list it. */
  format: ImageFormat;
  reader: Pick<ImageReader, "madeUp">;
  writer: Pick<ImageWriter, "place">;
}

const GZIP: Compressor = { format: "gzip" };

/** What must become of the layer; undefined: it goes as it is. */
export function targetOf(layer: Descriptor, rules: LayerRules): LayerTarget | undefined {
  const { mediaType } = layer;
  // Only what is known to be a tar: an artifact's blobs, and encrypted layers, are nobody's to touch.
  if (!isLayerType(mediaType) || isForeignLayerType(mediaType)) return undefined;
  const is = layerCompression(mediaType);
  const { wanted, plain, format } = rules;
  if (wanted !== undefined) return wanted.format === is ? undefined : wanted;
  if (is === "zstd" && format === "docker") return GZIP;
  if (is !== "none") return undefined;
  if (plain !== undefined) return plain;
  const { transport } = rules.writer.place;
  const isForSending = transport === "docker" || transport === "oci" || transport === "oci-archive";
  // The archive said nothing of how its layers are to be sent.
  return rules.reader.madeUp && isForSending ? GZIP : undefined;
}

/** The same tar in its new form, as a blob of the store under the lease. Errors: data-loss, those of source and store. */
export async function recompress(
  ctx: Ctx,
  engine: Engine,
  {
    layer,
    source,
    target,
    lease,
  }: {
    layer: Descriptor;
    source: AsyncIterable<Uint8Array>;
    target: LayerTarget;
    lease: Lease;
  },
): Promise<Descriptor> {
  const plain = decompress(verifyStream(source, layer));
  const stream = target.format === "none" ? plain : parallelCompress(plain, target);
  const made = await engine.content.ingest(ctx, stream, undefined, lease);
  // In its manifest's own words once that is written.
  return { mediaType: layerMediaType("oci", target.format), ...made };
}
