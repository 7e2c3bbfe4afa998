/** Which of the manifests that a stored index lists is meant: the entry for a platform, and the image made of it. */
import { isKind } from "../core/error.ts";
import type { Descriptor, Digest, Index, Platform } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { selectPlatform } from "../image/platform.ts";
import type { Db } from "../sys/db.ts";
import type { ContentStore } from "./storage.ts";

export interface EntryDeps {
  db: Db;
  content: ContentStore;
}

/**
 * The manifest for the platform (default: this host's), through indexes within the index as far as they are here: what is
 * returned may be an index that is not. Undefined for a document that is no index or has nothing for the platform. Errors: data-loss.
 */
export function platformEntry(deps: EntryDeps, digest: Digest, platform?: Platform): Descriptor | undefined {
  let at = digest;
  let entry: Descriptor | undefined;
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    if (entry !== undefined && !deps.content.has(at)) return entry;
    const document = parseManifest(deps.content.read(at, MAX_MANIFEST_BYTES), entry?.mediaType);
    if (!isIndex(document)) return entry;
    entry = chosen(document, platform);
    if (entry === undefined) return undefined;
    at = entry.digest;
  }
  return undefined;
}

function chosen(index: Index, platform: Platform | undefined): Descriptor | undefined {
  try {
    return selectPlatform(index, platform);
  } catch (error) {
    if (isKind(error, "not-found")) return undefined;
    throw error;
  }
}

/** Id of the image here that was made of this manifest; its own manifest may be another by now (other compression). */
export function imageOfManifest({ db }: Pick<EntryDeps, "db">, manifest: Digest): Digest | undefined {
  return db.get<{ id: string }>(
    `SELECT id FROM images WHERE manifest_digest = ?1
     UNION ALL SELECT i.id FROM blob_refs r JOIN images i ON i.id = r.child WHERE r.parent = ?1 LIMIT 1`,
    manifest,
  )?.id;
}

/** Id of the image here that the index means on this host, or on the platform. */
export function entryImage(deps: EntryDeps, index: Digest, platform?: Platform): Digest | undefined {
  const entry = platformEntry(deps, index, platform);
  return entry === undefined ? undefined : imageOfManifest(deps, entry.digest);
}
