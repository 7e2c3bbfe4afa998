/**
 * What is known of blobs beyond the store: what a layer becomes when it is compressed, so that this is done once, and
 * which repositories have a blob, so that another one on the same registry can mount it from there.
 * Both are hints: the blob may be gone from the store, and a repository may have been deleted.
 */
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";

/** A layer's tar in one compression: "gzip:6", "zstd:3". */
export function findVariant(
  db: Db,
  diffId: Digest,
  compression: string,
): { digest: Digest; size: number } | undefined {
  return db.get(
    "SELECT digest, size FROM layer_variants WHERE diff_id = ? AND compression = ?",
    diffId,
    compression,
  );
}

export function addVariant(
  db: Db,
  diffId: Digest,
  variant: { compression: string; digest: Digest; size: number },
): void {
  db.run(
    `INSERT INTO layer_variants (diff_id, compression, digest, size) VALUES (?, ?, ?, ?)
     ON CONFLICT (diff_id, compression) DO UPDATE SET digest = excluded.digest, size = excluded.size`,
    diffId,
    variant.compression,
    variant.digest,
    variant.size,
  );
}

/** Remembers that the repository ("quay.io/x/y") has these blobs. */
export function addOrigins(db: Db, repository: string, blobs: Iterable<Digest>): void {
  db.tx(() => {
    for (const digest of blobs)
      db.run("INSERT OR IGNORE INTO blob_origins (digest, repo) VALUES (?, ?)", digest, repository);
  });
}

/**
 * Repositories of the registry, by their paths, that are known to have had the blob: pushed there, or part of an
 * image that was pulled from there. At most `limit`.
 */
export function originsOf(db: Db, digest: Digest, registry: string, limit = 3): string[] {
  const prefix = `${registry}/`;
  const rows = db.all<{ repo: string }>(
    `SELECT repo FROM (
       SELECT repo FROM blob_origins WHERE digest = ?1
       UNION SELECT r.repo FROM repo_digests r JOIN images i ON i.id = r.image_id
         JOIN blob_refs b ON b.parent = i.manifest_digest WHERE b.child = ?1
       UNION SELECT r.repo FROM repo_digests r JOIN blob_refs b ON b.parent = r.digest WHERE b.child = ?1
     ) WHERE substr(repo, 1, ?2) = ?3 ORDER BY repo LIMIT ?4`,
    digest,
    prefix.length,
    prefix,
    limit,
  );
  return rows.map(({ repo }) => repo.slice(prefix.length));
}
