/** A manifest in the other family's words: OCI (image-spec) or Docker's schema 2. Bytes that need no change stay what they are. */
import { fail } from "../core/error.ts";
import { digestOf, excerpt } from "./digest.ts";
import type { Descriptor, Digest, Index, Manifest } from "./image.ts";
import {
  DOCKER_CONFIG,
  DOCKER_LAYER,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  isForeignLayerType,
  isImageConfigType,
  isLayerType,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER,
  OCI_MANIFEST,
} from "./media-types.ts";

export type ImageFormat = "oci" | "docker";

/** What media types of layers have a word for. */
type LayerCompression = "none" | "gzip" | "zstd";

const TYPES = {
  oci: { manifest: OCI_MANIFEST, index: OCI_INDEX, config: OCI_CONFIG },
  docker: { manifest: DOCKER_MANIFEST, index: DOCKER_LIST, config: DOCKER_CONFIG },
};

export interface Converted {
  bytes: Uint8Array;
  digest: Digest;
  mediaType: string;
  /** False if the bytes are the ones that came in. */
  changed: boolean;
}

/** The family a manifest or index is of. */
export function imageFormat(mediaType: string): ImageFormat {
  return mediaType === DOCKER_MANIFEST || mediaType === DOCKER_LIST ? "docker" : "oci";
}

/** What a layer's media type says about its bytes. */
export function layerCompression(mediaType: string): LayerCompression {
  if (/[.+]gzip$/.test(mediaType)) return "gzip";
  return /[.+]zstd$/.test(mediaType) ? "zstd" : "none";
}

/** Docker has no type for zstd: what some tools wrote all the same is named here. */
export function layerMediaType(
  format: ImageFormat,
  compression: LayerCompression,
  isForeign = false,
): string {
  const suffix = compression === "none" ? "" : `${format === "oci" ? "+" : "."}${compression}`;
  if (!isForeign) return (format === "oci" ? OCI_LAYER : DOCKER_LAYER) + suffix;
  return format === "oci"
    ? `application/vnd.oci.image.layer.nondistributable.v1.tar${suffix}`
    : `application/vnd.docker.image.rootfs.foreign.diff.tar${suffix}`;
}

/**
 * The manifest over these layers, in this family. What is unknown to us stays where the family has room for it: Docker's
 * schema 2 has neither annotations nor `subject`. Errors: invalid-argument (an artifact, or zstd, into Docker's family).
 */
export function convertManifest(
  original: { bytes: Uint8Array; manifest: Manifest },
  target: { format: ImageFormat; layers: Descriptor[] },
): Converted {
  const { manifest, bytes } = original;
  const isOwnFamily = target.format === imageFormat(manifest.mediaType);
  const isSame = manifest.layers.every((layer, i) => layer.digest === target.layers[i]?.digest);
  if (isOwnFamily && isSame)
    return { bytes, digest: digestOf(bytes), mediaType: manifest.mediaType, changed: false };

  const document = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  const texts = (document["layers"] ?? []) as Record<string, unknown>[];
  const layers = target.layers.map((layer, i) =>
    layerText(target.format, layer, manifest.layers[i]?.digest === layer.digest ? texts[i] : undefined),
  );
  const { manifest: mediaType } = TYPES[target.format];
  if (isOwnFamily) return done({ ...document, layers }, mediaType);
  const config = { ...(document["config"] as object), mediaType: TYPES[target.format].config };
  if (target.format === "oci") return done({ ...document, mediaType, config, layers }, mediaType);
  checkFitsDocker(manifest, target.layers);
  return done({ schemaVersion: 2, mediaType, config: bare(config), layers: layers.map(bare) }, mediaType);
}

/** From the original text where the blob is the same, so that what we do not know about stays in it. */
function layerText(format: ImageFormat, layer: Descriptor, text: object | undefined): object {
  const { mediaType, digest, size } = layer;
  const type = isLayerType(mediaType)
    ? layerMediaType(format, layerCompression(mediaType), isForeignLayerType(mediaType))
    : mediaType;
  return text === undefined ? { mediaType: type, digest, size } : { ...text, mediaType: type };
}

/** A descriptor as Docker's schema 2 knows it. */
function bare(descriptor: object): object {
  const { mediaType, digest, size, urls } = descriptor as Descriptor;
  return { mediaType, size, digest, ...(urls === undefined ? {} : { urls }) };
}

function checkFitsDocker(manifest: Manifest, layers: Descriptor[]): void {
  if (!isImageConfigType(manifest.config.mediaType)) {
    const type = manifest.artifactType ?? manifest.config.mediaType;
    throw fail(
      "invalid-argument",
      `an artifact of type "${excerpt(type)}" cannot be turned into a Docker image`,
      { reason: "artifact-format" },
    );
  }
  const odd = layers.find(({ mediaType }) => layerCompression(mediaType) === "zstd");
  if (odd === undefined) return;
  throw fail("invalid-argument", `Docker's image format has no zstd layers, and "${odd.digest}" is one`, {
    reason: "zstd-in-docker-format",
    hint: "use --format oci, or compress with gzip",
  });
}

/** An index whose entries have become others (`children`, by the digest they had), in this family. Errors: invalid-argument. */
export function convertIndex(
  original: { bytes: Uint8Array; index: Index },
  target: { format: ImageFormat; children: ReadonlyMap<Digest, Converted> },
): Converted {
  const { bytes, index } = original;
  const isOwnFamily = target.format === imageFormat(index.mediaType);
  const changes = index.manifests.some(({ digest }) => target.children.get(digest)?.changed === true);
  if (isOwnFamily && !changes)
    return { bytes, digest: digestOf(bytes), mediaType: index.mediaType, changed: false };

  const document = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
  const manifests = (document["manifests"] as Record<string, unknown>[]).map((text) =>
    entryText(text, target.children.get(text["digest"] as Digest)),
  );
  const { index: mediaType } = TYPES[target.format];
  if (isOwnFamily) return done({ ...document, manifests }, mediaType);
  if (target.format === "oci") return done({ ...document, mediaType, manifests }, mediaType);
  return done({ schemaVersion: 2, mediaType, manifests: manifests.map(listEntry) }, mediaType);
}

function entryText(text: Record<string, unknown>, child: Converted | undefined): Record<string, unknown> {
  if (child === undefined || !child.changed) return text;
  const { mediaType, digest, bytes } = child;
  // Inline bytes would be the old ones.
  const { data: _, ...rest } = text;
  return { ...rest, mediaType, digest, size: bytes.length };
}

/** An entry as Docker's manifest list knows it. */
function listEntry(text: Record<string, unknown>): object {
  const { mediaType, size, digest, platform } = text;
  return { mediaType, size, digest, ...(platform === undefined ? {} : { platform }) };
}

function done(document: object, mediaType: string): Converted {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return { bytes, digest: digestOf(bytes), mediaType, changed: true };
}
