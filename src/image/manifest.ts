/**
 * Manifests and indexes (image-spec manifest.md, image-index.md; Docker image manifest v2 schema 2).
 * The bytes stay what they are; this only reads them. A document that could be taken for both
 * kinds, or that says another media type than it was served as, is refused (CVE-2021-41190).
 */
import { excerpt, parseDigest } from "./digest.ts";
import {
  asObject,
  defined,
  type Document,
  invalid,
  optionalList,
  optionalString,
  optionalStringMap,
  optionalStrings,
  parseDocument,
} from "./document.ts";
import type { Descriptor, Index, Manifest } from "./image.ts";
import { isIndexType, isManifestType, isSchema1Type, OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";
import { platformOf } from "./platform.ts";

/** Bytes; what every registry must be able to take (distribution-spec, "Pushing Manifests"). */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/** Indexes within indexes that are followed to an image; real ones have one. */
export const MAX_NESTING = 4;

/** The same where the store keeps, pushes and saves what it has been given. */
export const MAX_STORED_NESTING = 8;

const WHAT = "manifest";

export function isIndex(document: Manifest | Index): document is Index {
  return "manifests" in document;
}

/**
 * `expectedMediaType` is the descriptor's or the Content-Type header's; types that say nothing about
 * images ("application/json") are passed over. Errors: invalid-argument, resource-exhausted, unimplemented (schema 1).
 */
export function parseManifest(bytes: Uint8Array, expectedMediaType?: string): Manifest | Index {
  const document = parseDocument(WHAT, bytes, MAX_MANIFEST_BYTES);
  const mediaType = mediaTypeOf(document, expectedMediaType);
  const common = commonFields(document);
  if (isIndexType(mediaType)) {
    const manifests = descriptors("manifests", document.fields["manifests"]);
    return defined<Index>({ schemaVersion: 2, mediaType, manifests, ...common });
  }
  const config = descriptor("config", document.fields["config"]);
  const layers = descriptors("layers", document.fields["layers"]);
  return defined<Manifest>({ schemaVersion: 2, mediaType, config, layers, ...common });
}

function commonFields({ fields }: Document) {
  const subject = fields["subject"];
  return {
    annotations: optionalStringMap(WHAT, "annotations", fields["annotations"]),
    subject: subject === undefined || subject === null ? undefined : descriptor("subject", subject),
    artifactType: optionalString(WHAT, "artifactType", fields["artifactType"]),
  };
}

function mediaTypeOf({ fields }: Document, expected = ""): string {
  const stated = optionalString(WHAT, "mediaType", fields["mediaType"]) ?? "";
  // Readers in other languages match keys without case, so ambiguity is looked for the same way.
  const keys = new Set(Object.keys(fields).map((key) => key.toLowerCase()));
  const old = fields["schemaVersion"] === 1 || keys.has("fslayers");
  if (old || isSchema1Type(stated) || isSchema1Type(expected)) throw schema1();
  if (fields["schemaVersion"] !== 2) throw invalid(WHAT, "schemaVersion is not 2");
  const list = keys.has("manifests");
  if (list && (keys.has("layers") || keys.has("config"))) {
    throw invalid(WHAT, "it has both manifests and layers or a config");
  }
  const mediaType = agreedType(stated, expected) ?? (list ? OCI_INDEX : OCI_MANIFEST);
  if (isIndexType(mediaType) !== list) {
    throw invalid(WHAT, `content does not fit the media type "${mediaType}"`);
  }
  return mediaType;
}

/** What the document says and what it was served as, if they say the same; undefined if neither says anything. */
function agreedType(stated: string, expected: string): string | undefined {
  const served = isIndexType(expected) || isManifestType(expected) ? expected : "";
  if (stated === "") return served || undefined;
  if (!isIndexType(stated) && !isManifestType(stated)) {
    throw invalid(WHAT, `unknown media type "${excerpt(stated)}"`);
  }
  if (served !== "" && stated !== served) {
    throw invalid(WHAT, `media type is "${stated}" but it was served as "${served}"`);
  }
  return stated;
}

function schema1(): Error {
  const hint = "push the image again with a current tool; schema 1 was deprecated in 2015";
  return Object.assign(invalid(WHAT, "Docker image manifest schema 1 is not supported"), { hint });
}

function descriptors(field: string, value: unknown): Descriptor[] {
  return (optionalList(WHAT, field, value) ?? []).map((item, i) => descriptor(`${field}[${i}]`, item));
}

/** A descriptor from outside; used for the layout's index as well. */
function descriptor(field: string, value: unknown): Descriptor {
  const fields = asObject(WHAT, field, value);
  const size = fields["size"];
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(WHAT, `${field}.size is not a number of bytes`);
  }
  const digest = fields["digest"];
  if (typeof digest !== "string") throw invalid(WHAT, `${field}.digest is not a string`);
  const platform = fields["platform"];
  return defined<Descriptor>({
    mediaType: optionalString(WHAT, `${field}.mediaType`, fields["mediaType"]) ?? "",
    digest: parseDigest(digest),
    size,
    urls: optionalStrings(WHAT, `${field}.urls`, fields["urls"]),
    annotations: optionalStringMap(WHAT, `${field}.annotations`, fields["annotations"]),
    platform:
      platform === undefined || platform === null ? undefined : platformOf(asObject(WHAT, field, platform)),
    artifactType: optionalString(WHAT, `${field}.artifactType`, fields["artifactType"]),
    data: optionalString(WHAT, `${field}.data`, fields["data"]),
  });
}
