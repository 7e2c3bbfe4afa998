/** The content store: blobs by digest. Contract in storage.ts. */
import { fstatSync, openSync, closeSync, read, readFileSync, statSync } from "node:fs";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { hasCode } from "../sys/errno.ts";
import { type BlobDeps, blobLock, BlobWriter, type Expected } from "./blob-writer.ts";
import { ioError } from "./files.ts";
import { FileLock } from "./lock.ts";
import type { ContentStore, Lease } from "./storage.ts";

const CHUNK = 1024 * 1024;
const READ_LIMIT = 8 * 1024 * 1024;

export function createContent(deps: BlobDeps): ContentStore {
  const { db, paths } = deps;
  const row = (digest: Digest) => db.get<{ size: number }>("SELECT size FROM blobs WHERE digest = ?", digest);
  const known = (digest: Digest): { size: number } => {
    const found = row(digest);
    if (found === undefined) throw unknownBlob(digest);
    return found;
  };

  return {
    has: (digest) => row(digest) !== undefined,
    size: (digest) => known(digest).size,
    path: (digest) => {
      known(digest);
      return paths.blob(digest);
    },
    read: (digest, limit = READ_LIMIT) => {
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
      known(digest);
      return readChunks(paths.blob(digest), digest);
    },
    ingest: async (ctx, source, expected, lease = deps.leases.session()) => {
      if (expected === undefined) return await ingestStream(ctx, deps, { source, lease });
      const claim = await claimBlob(ctx, deps, expected, lease);
      if (claim.found !== undefined) return claim.found;
      using _lock = claim.lock;
      return await ingestStream(ctx, deps, { source, lease, expected });
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

function adopt(deps: BlobDeps, { digest, size }: Expected, lease: Lease) {
  const { db, paths } = deps;
  const sql = "SELECT size FROM blobs WHERE digest = ?";
  // Without a write lock first: mostly it is not there.
  if (db.get(sql, digest) === undefined) return undefined;
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

async function ingestStream(
  ctx: Ctx,
  deps: BlobDeps,
  { source, lease, expected }: { source: AsyncIterable<Uint8Array>; lease: Lease; expected?: Expected },
): Promise<{ digest: Digest; size: number }> {
  using writer = new BlobWriter(deps, expected);
  for await (const chunk of source) {
    checkCanceled(ctx);
    writer.write(chunk);
  }
  return await writer.commit(ctx, lease);
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

async function* readChunks(path: string, digest: Digest): AsyncGenerator<Uint8Array> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw hasCode(error, "ENOENT") ? lost(digest) : ioError(error, `cannot read blob "${digest}"`);
  }
  try {
    const { size } = fstatSync(fd);
    for (let offset = 0; offset < size;) {
      const chunk = await readAt(fd, offset, Math.min(CHUNK, size - offset));
      if (chunk.byteLength === 0) return;
      offset += chunk.byteLength;
      yield chunk;
    }
  } finally {
    closeSync(fd);
  }
}

function readAt(fd: number, offset: number, length: number): Promise<Uint8Array> {
  // A fresh buffer each time: the consumer may keep it.
  const buffer = Buffer.allocUnsafeSlow(length);
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, length, offset, (error, count) =>
      error === null || error === undefined ? resolve(buffer.subarray(0, count)) : reject(error),
    );
  });
}
