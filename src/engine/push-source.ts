/** What a name means where an image, an index or an artifact may be meant: for push and save. */
import { fail } from "../core/error.ts";
import { isIndex } from "../image/manifest.ts";
import type { Platform } from "../image/image.ts";
import { formatPlatform, parsePlatform, platformMatches, selectPlatform } from "../image/platform.ts";
import { formatReference, parseReference } from "../image/reference.ts";
import type { ImageRecord, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { storedDocument, type StoredDocument } from "./push-documents.ts";

export type StoredSource =
  | { kind: "image"; record: ImageRecord }
  | { kind: "document"; record: ManifestRecord };

/** Errors: not-found, conflict. */
export function findSource(engine: Engine, text: string): StoredSource {
  // First: an index's name means its image for this host wherever an image is wanted.
  const record = engine.manifests.find(text);
  if (record !== undefined) return { kind: "document", record };
  return { kind: "image", record: engine.images.resolve(text) };
}

/** The source's own document, or what its index has for the platform. Errors: not-found. */
export function chosenDocument(
  engine: Engine,
  source: StoredSource,
  platform: string | undefined,
): StoredDocument {
  if (source.kind === "image") {
    const { manifest: document, manifestDigest: digest, config } = source.record;
    if (platform !== undefined) checkPlatform(platform, config);
    return { bytes: engine.content.read(digest), digest, document };
  }
  const { digest, document } = source.record;
  if (platform === undefined || !isIndex(document))
    return { bytes: engine.content.read(digest), digest, document };
  const entry = selectPlatform(document, parsePlatform(platform));
  const found = storedDocument(engine, entry);
  if (found !== undefined) return found;
  throw fail("not-found", `manifest "${entry.digest}" of the index is not in the store`, {
    reason: "sparse-index",
    hint: "pull the index with --all-platforms first",
  });
}

function checkPlatform(wanted: string, found: Platform): void {
  if (platformMatches(parsePlatform(wanted), found)) return;
  throw fail("not-found", `no image for platform "${wanted}"`, {
    reason: "no-matching-platform",
    hint: `available: ${formatPlatform(found)}`,
  });
}

/** The stored name that a text means; undefined for an id or a digest. */
export function askedName(record: { names: string[] }, text: string): string | undefined {
  for (const candidate of [text, `localhost/${text}`]) {
    try {
      const full = formatReference({ tag: "latest", ...parseReference(candidate) });
      if (record.names.includes(full)) return full;
    } catch {
      // An id is not a name.
    }
  }
  return undefined;
}
