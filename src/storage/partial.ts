/**
 * Blobs of which a part is there: what a broken download leaves, for the next attempt, by whatever process, to go on with.
 *
 * The bytes lie at `ingest/ALGORITHM-HEX.part`, from the beginning and without holes; nobody trusts them before the whole has
 * its digest. A row in `partials` comes before the file and goes after it. Whoever writes, takes over or deletes one holds the blob's lock.
 */
import { statSync } from "node:fs";
import { now } from "../core/time.ts";
import { digestAlgorithm, digestHex, isDigest } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import { discard } from "./files.ts";
import { FileLock, type LockRequest } from "./lock.ts";
import type { StorePaths } from "./paths.ts";

/** Less than this is asked for again: keeping it costs more than sending it. Bytes. */
export const MIN_PARTIAL = 64 * 1024;

/** Recovery takes those away that nobody went on with for so long. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000;

const SUFFIX = ".part";

interface PartialDeps {
  db: Db;
  sys: Sys;
  paths: StorePaths;
}

interface PartialRow {
  digest: string;
  /** Bytes of the whole blob. */
  size: number;
  /** When the last attempt began. */
  updated: string;
}

/** Lock and file names of a blob begin with it. */
export function blobFileName(digest: Digest): string {
  return `${digestAlgorithm(digest)}-${digestHex(digest)}`;
}

/** The lock of whoever makes or deletes the file of this blob. */
export function blobLock({ sys, paths }: Pick<PartialDeps, "sys" | "paths">, digest: Digest): LockRequest {
  return { sys, dir: paths.locks, name: `blob-${blobFileName(digest)}` };
}

/** File name in `ingest/`. */
export function partialName(digest: Digest): string {
  return `${blobFileName(digest)}${SUFFIX}`;
}

/** The blob that a file in `ingest/` is a part of. */
export function partialDigest(name: string): Digest | undefined {
  if (!name.endsWith(SUFFIX)) return undefined;
  const digest = name.slice(0, -SUFFIX.length).replace("-", ":");
  return isDigest(digest) ? digest : undefined;
}

/** Says that the file may be there from now on. True if an earlier attempt at the same blob said so before. */
export function notePartial(db: Db, digest: Digest, size: number): boolean {
  const before = db.get<PartialRow>("SELECT * FROM partials WHERE digest = ?", digest);
  db.run("INSERT OR REPLACE INTO partials (digest, size, updated) VALUES (?, ?, ?)", digest, size, now());
  return before?.size === size;
}

export function forgetPartial(db: Db, digest: Digest): void {
  db.run("DELETE FROM partials WHERE digest = ?", digest);
}

/** Names in `ingest/` that have a row. */
export function knownPartials(db: Db): Set<string> {
  const rows = db.all<PartialRow>("SELECT * FROM partials").filter(({ digest }) => isDigest(digest));
  return new Set(rows.map(({ digest }) => partialName(digest as Digest)));
}

/** Takes away what nobody is writing: all, or only what is too old or too small to go on with. Returns their bytes by digest. */
export function dropPartials(deps: PartialDeps, which: "all" | "stale"): Map<Digest, number> {
  const dropped = new Map<Digest, number>();
  for (const row of deps.db.all<PartialRow>("SELECT * FROM partials")) {
    const bytes = dropPartial(deps, row, which);
    if (bytes !== undefined) dropped.set(row.digest, bytes);
  }
  return dropped;
}

function dropPartial(deps: PartialDeps, row: PartialRow, which: "all" | "stale"): number | undefined {
  const { digest } = row;
  // A damaged row names no file.
  if (!isDigest(digest)) {
    forgetPartial(deps.db, digest);
    return undefined;
  }
  using lock = FileLock.try(blobLock(deps, digest));
  if (lock === undefined) return undefined;
  const { path, bytes, problem } = inspect(deps, row);
  if (which === "stale" && problem === undefined) return undefined;
  discard(deps, path);
  forgetPartial(deps.db, digest);
  return bytes;
}

interface Inspected {
  path: string;
  bytes: number;
  /** Why nobody will go on with it. */
  problem?: string | undefined;
}

function inspect({ paths }: PartialDeps, row: PartialRow): Inspected {
  const path = `${paths.ingest}/${partialName(row.digest as Digest)}`;
  const found = statSync(path, { throwIfNoEntry: false });
  const bytes = found?.size ?? 0;
  return { path, bytes, problem: found?.isFile() === true ? problemOf(row, bytes) : "its file is missing" };
}

function problemOf({ size, updated }: PartialRow, bytes: number): string | undefined {
  if (bytes > size) return `its ${bytes} bytes are more than the whole`;
  if (bytes < MIN_PARTIAL) return `its ${bytes} bytes are too few to go on with`;
  return Date.now() - Date.parse(updated) > MAX_AGE_MS ? "nobody went on with it for a week" : undefined;
}

/** Those that nobody is writing and nobody can go on with. */
export function badPartials(deps: PartialDeps): { digest: string; problem: string }[] {
  return deps.db.all<PartialRow>("SELECT * FROM partials").flatMap((row) => {
    const { digest } = row;
    if (!isDigest(digest)) return [{ digest, problem: "its digest is malformed" }];
    using lock = FileLock.try(blobLock(deps, digest));
    const problem = lock === undefined ? undefined : inspect(deps, row).problem;
    return problem === undefined ? [] : [{ digest, problem }];
  });
}
