/**
 * One blob on its way into the store: written aside in `ingest/`, hashed on the way, verified, synced,
 * renamed. The caller holds the blob's lock where the digest is known beforehand; such a blob can be left
 * half written, and the next writer goes on with it (partial.ts).
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsync,
  fsyncSync,
  ftruncateSync,
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
import { digestAlgorithm } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { hasCode } from "../sys/errno.ts";
import type { AdditionalStores } from "./additional.ts";
import { fsyncDir, ioError, uniqueName } from "./files.ts";
import type { Leases } from "./lease.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import type { Ctx } from "../core/ctx.ts";
import { FileLock } from "./lock.ts";
import { blobLock, forgetPartial, MIN_PARTIAL, notePartial, partialName } from "./partial.ts";
import type { StorePaths } from "./paths.ts";
import { readAt } from "./read-chunks.ts";
import type { Lease } from "./storage.ts";

export interface BlobDeps {
  db: Db;
  sys: Sys;
  paths: StorePaths;
  leases: Leases;
  /** Where to look for what this store does not have. */
  additional?: AdditionalStores | undefined;
}

export interface Expected {
  digest: Digest;
  /** Bytes. */
  size?: number;
}

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
const CHUNK = 1024 * 1024;

export class BlobWriter implements Disposable {
  readonly #deps: BlobDeps;
  readonly #expected: Expected | undefined;
  readonly #hasher: Bun.CryptoHasher;
  readonly #lease: Lease;
  readonly #path: string;
  readonly #existing: number = 0;
  /** Known by digest and size: what is written may stay for the next attempt. */
  readonly #resumable: boolean;
  #fd: number | undefined;
  #size = 0;
  #state: "open" | "kept" | "done" = "open";

  /** With `resume` it goes on with what an earlier attempt has left: see {@link existing}. */
  constructor(deps: BlobDeps, expected?: Expected, resume = false) {
    this.#deps = deps;
    this.#expected = expected;
    this.#resumable = resume && expected?.size !== undefined;
    this.#hasher = new Bun.CryptoHasher(expected === undefined ? "sha256" : digestAlgorithm(expected.digest));
    const name = expected === undefined ? `new-${uniqueName()}` : partialName(expected.digest);
    this.#path = `${deps.paths.ingest}/${name}`;
    let known = false;
    this.#lease = deps.db.tx(() => {
      if (expected !== undefined) known = notePartial(deps.db, expected.digest, expected.size ?? 0);
      return deps.leases.take("blob", `ingest/${name}`);
    });
    try {
      this.#fd = openSync(this.#path, FLAGS, 0o600);
      this.#existing = this.#takeOver(known);
    } catch (error) {
      this[Symbol.dispose]();
      throw ioError(error, "cannot store a blob");
    }
  }

  /** Bytes that are there already, or 0 with the file empty. */
  #takeOver(known: boolean): number {
    const { size } = fstatSync(this.#fd as number);
    if (size === 0) return 0;
    if (known && this.#resumable && size <= (this.#expected?.size as number)) return size;
    ftruncateSync(this.#fd as number, 0);
    return 0;
  }

  /** Bytes of an earlier attempt. They are read with {@link readExisting} before anything is written. */
  get existing(): number {
    return this.#existing;
  }

  /** What is there already, which takes part in the verification like everything that is written. */
  async *readExisting(): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#size < this.#existing) {
      const length = Math.min(CHUNK, this.#existing - this.#size);
      const chunk = await readAt(this.#fd as number, this.#size, length);
      if (chunk.byteLength === 0) throw fail("data-loss", `${this.#what()} lost its beginning`);
      this.#hasher.update(chunk);
      this.#size += chunk.byteLength;
      yield chunk;
    }
  }

  /** Disposing leaves what was written for the next attempt; for sources that broke off, not for ones that gave wrong bytes. */
  keep(): void {
    if (this.#resumable && this.#state === "open" && this.#size >= Math.max(MIN_PARTIAL, this.#existing)) {
      this.#state = "kept";
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
      const at = this.#size - chunk.byteLength;
      for (let done = 0; done < chunk.byteLength;)
        done += writeSync(this.#fd as number, chunk, done, chunk.byteLength - done, at + done);
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
      if (this.#expected !== undefined) forgetPartial(db, digest);
      this.#lease.release();
    });
    this.#state = "done";
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

  /** Leaves nothing of an attempt that was not committed, unless it was told to {@link keep} it. */
  [Symbol.dispose](): void {
    this.#close();
    if (this.#state === "done") return;
    if (this.#state === "open") unlinkIfThere(this.#path);
    this.#deps.db.tx(() => {
      if (this.#state === "open" && this.#expected !== undefined)
        forgetPartial(this.#deps.db, this.#expected.digest);
      this.#lease.release();
    });
    this.#state = "done";
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
