/** Documents (manifests, configs, indexes) into the store together with the rows that speak of them: all or nothing, durably. */
import { statSync } from "node:fs";
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import { type BlobDeps, insertBlob, writeSmallBlobs } from "./blob-writer.ts";
import { uniqueName } from "./files.ts";

/** Writes the blobs, then runs `rows` in the durable transaction that makes them visible. Errors: resource-exhausted, those of `rows`. */
export function putSmallBlobs(deps: BlobDeps, blobs: Map<Digest, Uint8Array>, rows: () => void): void {
  const aside = `ingest/put-${uniqueName()}`;
  using lease = deps.leases.take("image", aside);
  writeSmallBlobs(deps.paths, aside, blobs);
  failpoint("storage.image.blobs");
  deps.db.durable(() => {
    // A collection may just have taken a file that was still without a row; nobody can once we are in here.
    if ([...blobs.keys()].some((digest) => !fileExists(deps.paths.blob(digest)))) {
      writeSmallBlobs(deps.paths, aside, blobs);
    }
    for (const [digest, bytes] of blobs) insertBlob(deps.db, digest, bytes.byteLength);
    rows();
    lease.release();
  });
}

function fileExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What the blob `parent` keeps alive. */
export function insertRefs(db: Db, parent: Digest, children: Pick<Descriptor, "digest">[]): void {
  for (const { digest } of children) {
    db.run("INSERT OR IGNORE INTO blob_refs (parent, child) VALUES (?, ?)", parent, digest);
  }
}

/** Size before digest. Errors: data-loss. */
export function verifyBytes(
  what: string,
  bytes: Uint8Array,
  { digest, size }: { digest: Digest; size?: number },
): void {
  if (size !== undefined && bytes.byteLength !== size) {
    throw fail(
      "data-loss",
      `${what} "${digest}" has the wrong size: ${bytes.byteLength} bytes, expected ${size}`,
      { reason: "size-mismatch" },
    );
  }
  const found = digestOf(bytes, digestAlgorithm(digest));
  if (found === digest) return;
  throw fail("data-loss", `${what} "${digest}" does not match its digest: its bytes have "${found}"`, {
    reason: "digest-mismatch",
    data: { expected: digest, found },
  });
}
