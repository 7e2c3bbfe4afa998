/**
 * Garbage collection by reachability. Roots: images (named or dangling), documents with a name, what names at
 * registries refer to, and what live leases protect. A layer needs its parents and its own blob; a
 * manifest's blob needs what it lists.
 *
 * Rows go first, durably, then files: a crash between the two leaves files without rows, which
 * `recover.ts` finds.
 */
import { statSync } from "node:fs";
import { failpoint } from "../core/failpoint.ts";
import { digestHex } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { deleteTree, moveToTrash } from "./files.ts";
import { FileLock, type LockRequest } from "./lock.ts";
import { blobLock } from "./partial.ts";
import type { Freed } from "./storage.ts";

const LIVE_LAYERS = `WITH RECURSIVE live(id) AS (
  SELECT chain_id FROM images WHERE chain_id IS NOT NULL
  UNION SELECT digest FROM lease_refs WHERE kind = 'layer'
  UNION SELECT l.parent FROM layers l JOIN live ON l.chain_id = live.id WHERE l.parent IS NOT NULL
)`;

const LIVE_BLOBS = `WITH RECURSIVE live(id) AS (
  SELECT id FROM images
  UNION SELECT manifest_digest FROM images
  UNION SELECT digest FROM manifest_names
  -- An image's memory of the index it once came by does not keep that index.
  UNION SELECT digest FROM repo_digests WHERE image_id = digest
    OR (image_id IN (SELECT id FROM images) AND digest NOT IN (SELECT digest FROM manifests))
  UNION SELECT digest FROM lease_refs WHERE kind = 'blob'
  UNION SELECT blob FROM layers WHERE blob IS NOT NULL
  UNION SELECT r.child FROM blob_refs r JOIN live ON r.parent = live.id
  -- What is attached to something lives as long as that does.
  UNION SELECT m.digest FROM manifests m JOIN live ON m.subject = live.id
)`;

/** Frees all that nothing needs. Images are roots: remove those first that should go. */
export function collectGarbage(deps: BlobDeps): Freed {
  using _lease = deps.leases.take("gc");
  const freed = deps.db.durable(() => forgetUnreachable(deps.db));
  failpoint("storage.gc.forgotten");
  deleteFiles(deps, freed);
  return freed;
}

/** The rows only; inside a durable transaction of the caller. */
export function forgetUnreachable(db: Db): Freed {
  const layers = db.all<{ chain_id: string; size: number }>(
    `${LIVE_LAYERS} DELETE FROM layers WHERE chain_id NOT IN (SELECT id FROM live) RETURNING chain_id, size`,
  );
  const blobs = db.all<{ digest: string; size: number }>(
    `${LIVE_BLOBS} DELETE FROM blobs WHERE digest NOT IN (SELECT id FROM live) RETURNING digest, size`,
  );
  if (blobs.length > 0) {
    db.run("DELETE FROM blob_refs WHERE parent NOT IN (SELECT digest FROM blobs)");
    db.run("DELETE FROM manifests WHERE digest NOT IN (SELECT digest FROM blobs)");
    db.run(
      "DELETE FROM repo_digests WHERE image_id NOT IN (SELECT id FROM images UNION ALL SELECT digest FROM manifests)",
    );
  }
  if (layers.length > 0 || blobs.length > 0) forgetHints(db);
  return {
    layers: layers.map((row) => row.chain_id),
    blobs: blobs.map((row) => row.digest),
    bytes: [...layers, ...blobs].reduce((sum, row) => sum + row.size, 0),
  };
}

/** What is known of blobs beyond the store goes with the last layer they could be of use for. */
function forgetHints(db: Db): void {
  db.run("DELETE FROM layer_variants WHERE diff_id NOT IN (SELECT diff_id FROM layers)");
  db.run(
    `DELETE FROM blob_origins WHERE digest NOT IN (SELECT digest FROM blobs)
     AND digest NOT IN (SELECT digest FROM layer_variants)`,
  );
}

/** The files of rows that are gone; what came back meanwhile is left alone. */
export function deleteFiles(deps: BlobDeps, freed: Pick<Freed, "layers" | "blobs">): void {
  const aside = [
    ...freed.blobs.map((digest) => takeBlobFile(deps, digest)),
    ...freed.layers.map((chainId) => takeLayerDir(deps, chainId)),
  ];
  failpoint("storage.gc.trashed");
  for (const path of aside) if (path !== undefined) deleteTree(deps.sys, path);
}

/** Moves a blob's file to the trash if it has no row and nobody is making it. Returns its path there. */
export function takeBlobFile(deps: BlobDeps, digest: Digest): string | undefined {
  return takeUnlessKnown(deps, {
    lock: blobLock(deps, digest),
    path: deps.paths.blob(digest),
    sql: "SELECT 1 FROM blobs WHERE digest = ?",
    digest,
  });
}

/** The same for a layer's directory. */
export function takeLayerDir(deps: BlobDeps, chainId: Digest): string | undefined {
  return takeUnlessKnown(deps, {
    lock: layerLock(deps, chainId),
    path: deps.paths.layer(chainId),
    sql: "SELECT 1 FROM layers WHERE chain_id = ?",
    digest: chainId,
  });
}

/** The lock of whoever makes or deletes the directory of this layer. */
export function layerLock({ sys, paths }: Pick<BlobDeps, "sys" | "paths">, chainId: Digest): LockRequest {
  return { sys, dir: paths.locks, name: `layer-${digestHex(chainId)}` };
}

function takeUnlessKnown(
  deps: BlobDeps,
  item: { lock: LockRequest; path: string; sql: string; digest: Digest },
): string | undefined {
  if (statSync(item.path, { throwIfNoEntry: false }) === undefined) return undefined;
  using lock = FileLock.try(item.lock);
  // Somebody is making it again: theirs now.
  if (lock === undefined) return undefined;
  // Inside a transaction, because images.put makes its small blobs without a lock and checks for them in its own.
  return deps.db.tx(() =>
    deps.db.get(item.sql, item.digest) === undefined ? moveToTrash(deps.paths, item.path) : undefined,
  );
}
