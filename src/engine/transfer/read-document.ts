/** Manifests and indexes by digest, from places that give bytes: read whole, verified before anybody believes them. */
import { fail } from "../../core/error.ts";
import { digestAlgorithm, digestOf } from "../../image/digest.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "../../image/manifest.ts";
import type { FetchedManifest } from "../../registry/registry.ts";

/** Errors: resource-exhausted over 4 MiB, data-loss, and those of the source. */
export async function readDocument(
  source: AsyncIterable<Uint8Array>,
  { digest, mediaType }: { digest: Digest; mediaType?: string },
): Promise<FetchedManifest> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    length += chunk.length;
    if (length > MAX_MANIFEST_BYTES) {
      throw fail("resource-exhausted", `manifest "${digest}" is larger than ${MAX_MANIFEST_BYTES} bytes`, {
        reason: "document-too-large",
      });
    }
    parts.push(chunk.slice());
  }
  return verifiedDocument(Buffer.concat(parts, length), { digest, mediaType });
}

/** Errors: data-loss, invalid-argument (neither a manifest nor an index). */
export function verifiedDocument(
  bytes: Uint8Array,
  { digest, mediaType }: { digest: Digest; mediaType?: string | undefined },
): FetchedManifest {
  if (digestOf(bytes, digestAlgorithm(digest)) !== digest) {
    throw fail("data-loss", `manifest "${digest}" is damaged: its bytes do not match the digest`, {
      reason: "digest-mismatch",
    });
  }
  return { bytes, descriptor: describe(bytes, digest, mediaType) };
}

/** The descriptor of a document that may not say itself what it is. */
export function describe(bytes: Uint8Array, digest: Digest, mediaType?: string): Descriptor {
  const document = parseManifest(bytes, mediaType);
  return { mediaType: document.mediaType, digest, size: bytes.length };
}

/** What a document is attached to. */
export function subjectOf({ bytes, descriptor }: FetchedManifest): Digest | undefined {
  return parseManifest(bytes, descriptor.mediaType).subject?.digest;
}

/** The descriptor as a list of referrers has it: with artifact type and annotations of the document. */
export function referrerOf({ bytes, descriptor }: FetchedManifest): Descriptor {
  const document = parseManifest(bytes, descriptor.mediaType);
  const artifactType = document.artifactType ?? (isIndex(document) ? undefined : document.config.mediaType);
  return {
    ...descriptor,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
  };
}
