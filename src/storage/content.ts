/** The content store: blobs by digest. Contract in storage.ts. */
import { readFileSync, statSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { hasCode } from "../sys/errno.ts";
import { storeOfBlob } from "./additional.ts";
import type { BlobDeps, Expected } from "./blob-writer.ts";
import { ioError } from "./files.ts";
import { BlobSource, retryFresh } from "./layer-source.ts";
import { FileLock } from "./lock.ts";
import { blobLock } from "./partial.ts";
import { readChunks } from "./read-chunks.ts";
import type { ByteSource, ContentStore, Lease } from "./storage.ts";

const READ_LIMIT = 8 * 1024 * 1024;

export function createContent(deps: BlobDeps): ContentStore {
  const { db, paths } = deps;
  const row = (digest: Digest) => db.get<{ size: number }>("SELECT size FROM blobs WHERE digest = ?", digest);
  const known = (digest: Digest): { size: number } => {
    const found = row(digest);
    if (found === undefined) throw unknownBlob(digest);
    return found;
  };
  const elsewhere = (digest: Digest): ContentStore | undefined =>
    row(digest) === undefined ? storeOfBlob(deps.additional, digest)?.content : undefined;

  return {
    has: (digest) => row(digest) !== undefined || elsewhere(digest) !== undefined,
    size: (digest) => elsewhere(digest)?.size(digest) ?? known(digest).size,
    path: (digest) => {
      const other = elsewhere(digest);
      if (other !== undefined) return other.path(digest);
      known(digest);
      return paths.blob(digest);
    },
    read: (digest, limit = READ_LIMIT) => {
      const other = elsewhere(digest);
      if (other !== undefined) return other.read(digest, limit);
      const { size } = known(digest);
      if (size > limit) {
        throw fail(
          "resource-exhausted",
          `blob "${digest}" is ${size} bytes, more than the limit of ${limit}`,
          {
            reason: "blob-too-large",
          },
        );
      }
      return readVerified(paths.blob(digest), digest);
    },
    stream: (digest) => {
      const other = elsewhere(digest);
      if (other !== undefined) return other.stream(digest);
      known(digest);
      return readChunks(paths.blob(digest), () => lost(digest));
    },
    ingest: async (ctx, source, expected, lease = deps.leases.session()) => {
      if (expected === undefined) return await ingestStream(ctx, deps, { source, lease });
      const claim = await claimBlob(ctx, deps, expected, lease);
      if (claim.found !== undefined) return claim.found;
      using _lock = claim.lock;
      return await retryFresh((fresh) => ingestStream(ctx, deps, { source, lease, expected, fresh }));
    },
  };
}

/** Either the blob is there (and protected by `lease` from now on), or the caller has the lock to make it. */
export async function claimBlob(
  ctx: Ctx,
  deps: BlobDeps,
  expected: Expected,
  lease: Lease,
): Promise<{ found: { digest: Digest; size: number }; lock?: never } | { found?: never; lock: FileLock }> {
  const before = adopt(deps, expected, lease);
  if (before !== undefined) return { found: before };
  const lock = await FileLock.acquire(ctx, blobLock(deps, expected.digest));
  const found = adopt(deps, expected, lease);
  if (found === undefined) return { lock };
  lock.release();
  return { found };
}

function adopt(deps: BlobDeps, expected: Expected, lease: Lease) {
  const { digest, size } = expected;
  const { db, paths } = deps;
  const sql = "SELECT size FROM blobs WHERE digest = ?";
  // Without a write lock first: mostly it is not there.
  if (db.get(sql, digest) === undefined) return adoptElsewhere(deps, expected);
  return db.tx(() => {
    const row = db.get<{ size: number }>(sql, digest);
    if (row === undefined) return undefined;
    if (size !== undefined && row.size !== size) {
      throw fail("data-loss", `blob "${digest}" has the wrong size: ${row.size} bytes, expected ${size}`, {
        reason: "size-mismatch",
        data: { digest },
      });
    }
    // A damaged store heals by itself here: what is missing is fetched again.
    if (statSync(paths.blob(digest), { throwIfNoEntry: false })?.size !== row.size) return undefined;
    lease.protect("blob", digest);
    return { digest, size: row.size };
  });
}

/** Nothing of an additional store needs protection from us. */
function adoptElsewhere({ additional }: BlobDeps, { digest, size }: Expected) {
  const found = storeOfBlob(additional, digest)?.content.size(digest);
  return found === undefined || (size !== undefined && size !== found) ? undefined : { digest, size: found };
}

async function ingestStream(
  ctx: Ctx,
  deps: BlobDeps,
  from: { source: ByteSource; lease: Lease; expected?: Expected; fresh?: boolean },
): Promise<{ digest: Digest; size: number }> {
  using blob = new BlobSource(ctx, from.source);
  blob.keepAs(deps, from.expected, from.fresh);
  await blob.feed(async (stream) => {
    for await (const _ of stream);
  });
  return (await blob.commit(from.lease)) as { digest: Digest; size: number };
}

function unknownBlob(digest: Digest): Error {
  return fail("not-found", `blob "${digest}" is not in the store`, { reason: "blob-unknown" });
}

function readVerified(path: string, digest: Digest): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw hasCode(error, "ENOENT") ? lost(digest) : ioError(error, `cannot read blob "${digest}"`);
  }
  if (digestOf(bytes, digestAlgorithm(digest)) === digest) return bytes;
  throw fail("data-loss", `blob "${digest}" is damaged: its bytes do not match its digest`, {
    reason: "blob-damaged",
    hint: 'run "berth system check --repair", then pull the image again',
  });
}

function lost(digest: Digest): Error {
  return fail("data-loss", `the file of blob "${digest}" is missing from the store`, {
    reason: "blob-missing",
    hint: 'run "berth system check --repair", then pull the image again',
  });
}
