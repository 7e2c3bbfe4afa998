/**
 * One blob on its way into the store: written aside in `ingest/`, hashed on the way, verified, synced,
 * renamed. The caller holds the blob's lock where the digest is known beforehand.
 */
import {
  closeSync,
  constants,
  fsync,
  fsyncSync,
  openSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { failpoint } from "../core/failpoint.ts";
import { fail } from "../core/error.ts";
import { now } from "../core/time.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { hasCode } from "../sys/errno.ts";
import { fsyncDir, ioError, uniqueName } from "./files.ts";
import type { Leases } from "./lease.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import type { Ctx } from "../core/ctx.ts";
import { FileLock, type LockRequest } from "./lock.ts";
import type { StorePaths } from "./paths.ts";
import type { Lease } from "./storage.ts";

export interface BlobDeps {
  db: Db;
  sys: Sys;
  paths: StorePaths;
  leases: Leases;
}

export interface Expected {
  digest: Digest;
  /** Bytes. */
  size?: number;
}

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;

/** The lock of whoever makes or deletes the file of this blob. */
export function blobLock({ sys, paths }: Pick<BlobDeps, "sys" | "paths">, digest: Digest): LockRequest {
  return { sys, dir: paths.locks, name: `blob-${ingestName(digest)}` };
}

/** File name in `ingest/` of a blob whose digest is known: the same for every attempt, so that one can go on with another's bytes. */
function ingestName(digest: Digest): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
}

export class BlobWriter implements Disposable {
  readonly #deps: BlobDeps;
  readonly #expected: Expected | undefined;
  readonly #hasher: Bun.CryptoHasher;
  readonly #lease: Lease;
  readonly #path: string;
  #fd: number | undefined;
  #size = 0;
  #done = false;

  constructor(deps: BlobDeps, expected?: Expected) {
    this.#deps = deps;
    this.#expected = expected;
    this.#hasher = new Bun.CryptoHasher(expected === undefined ? "sha256" : digestAlgorithm(expected.digest));
    const name = expected === undefined ? `new-${uniqueName()}` : ingestName(expected.digest);
    this.#lease = deps.leases.take("blob", `ingest/${name}`);
    this.#path = `${deps.paths.ingest}/${name}`;
    try {
      this.#fd = openSync(this.#path, FLAGS, 0o600);
    } catch (error) {
      this.#lease.release();
      throw ioError(error, "cannot store a blob");
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Errors: data-loss as soon as there are more bytes than expected, resource-exhausted on a full disk. */
  write(chunk: Uint8Array): void {
    this.#size += chunk.byteLength;
    const limit = this.#expected?.size;
    if (limit !== undefined && this.#size > limit) throw this.#wrongSize(`more than ${limit} bytes`);
    this.#hasher.update(chunk);
    failpoint("storage.blob.write");
    try {
      for (let done = 0; done < chunk.byteLength;) done += writeSync(this.#fd as number, chunk, done);
    } catch (error) {
      throw ioError(error, `cannot store ${this.#what()}`);
    }
  }

  /** Verifies, makes the blob durable and visible. `lease` protects it from then on. */
  async commit(ctx: Ctx, lease: Lease): Promise<{ digest: Digest; size: number }> {
    const digest = this.#verified();
    try {
      await fsyncFile(this.#fd as number);
      this.#close();
      failpoint("storage.blob.synced");
      using _lock =
        this.#expected === undefined ? await FileLock.acquire(ctx, blobLock(this.#deps, digest)) : undefined;
      this.#publish(digest, lease);
    } catch (error) {
      throw ioError(error, `cannot store ${this.#what()}`);
    }
    return { digest, size: this.#size };
  }

  #publish(digest: Digest, lease: Lease): void {
    const { db, paths } = this.#deps;
    const target = paths.blob(digest);
    renameSync(this.#path, target);
    fsyncDir(dirname(target));
    failpoint("storage.blob.renamed");
    db.durable(() => {
      // A collection that saw the file without a row may just have taken it away.
      statSync(target);
      insertBlob(db, digest, this.#size);
      lease.protect("blob", digest);
      this.#lease.release();
    });
    this.#done = true;
    failpoint("storage.blob.committed");
  }

  #verified(): Digest {
    const { digest, size } = this.#expected ?? {};
    if (size !== undefined && this.#size !== size) {
      throw this.#wrongSize(`${this.#size} bytes, expected ${size}`);
    }
    const found: Digest = `${digest === undefined ? "sha256" : digestAlgorithm(digest)}:${this.#hasher.digest("hex")}`;
    if (digest === undefined || found === digest) return found;
    throw fail("data-loss", `blob "${digest}" does not match its digest: its bytes have "${found}"`, {
      reason: "digest-mismatch",
      hint: "the source sent other bytes than it announced; try again, or ask whoever runs it",
      data: { expected: digest, found },
    });
  }

  #wrongSize(found: string): Error {
    const { digest } = this.#expected as Expected;
    return fail("data-loss", `blob "${digest}" has the wrong size: ${found}`, {
      reason: "size-mismatch",
      data: { digest },
    });
  }

  #what(): string {
    return this.#expected === undefined ? "a blob" : `blob "${this.#expected.digest}"`;
  }

  #close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Leaves nothing of an attempt that was not committed. */
  [Symbol.dispose](): void {
    this.#close();
    if (this.#done) return;
    unlinkIfThere(this.#path);
    this.#lease.release();
  }
}

export function insertBlob(db: Db, digest: Digest, size: number): void {
  const sql =
    "INSERT INTO blobs (digest, size, created) VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET size = excluded.size";
  db.run(sql, digest, size, now());
}

/**
 * Writes small blobs durably, those that are not there; the caller inserts the rows and holds a lease on
 * `aside`, with which the names of its temporary files begin.
 */
export function writeSmallBlobs(paths: StorePaths, aside: string, blobs: Map<Digest, Uint8Array>): void {
  const directories = new Set<string>();
  for (const [digest, bytes] of blobs) {
    const target = paths.blob(digest);
    if (statSync(target, { throwIfNoEntry: false })?.size === bytes.byteLength) continue;
    const fresh = `${paths.root}/${aside}-${uniqueName()}`;
    try {
      writeSynced(fresh, bytes);
      renameSync(fresh, target);
    } catch (error) {
      unlinkIfThere(fresh);
      throw ioError(error, `cannot store blob "${digest}"`);
    }
    directories.add(dirname(target));
  }
  for (const directory of directories) fsyncDir(directory);
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}

function writeSynced(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, FLAGS | constants.O_EXCL, 0o600);
  try {
    for (let done = 0; done < bytes.byteLength;) done += writeSync(fd, bytes, done);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** On a thread of the pool: an fsync of a big layer takes seconds, and others download meanwhile. */
function fsyncFile(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}
