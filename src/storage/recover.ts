/**
 * Undoes what processes left that died in the middle of something (DESIGN §4). Cheap when there is nothing
 * to do: one query and two directory listings, so every command can begin with it.
 */
import { failpoint } from "../core/failpoint.ts";
import { isDigest } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { deleteTree, discard, namesIn } from "./files.ts";
import type { BlobDeps } from "./blob-writer.ts";
import { takeBlobFile, takeLayerDir } from "./gc.ts";
import { dropLease, type LeaseRow } from "./lease.ts";
import { FileLock } from "./lock.ts";
import { dropPartials, knownPartials, partialDigest, blobFileName } from "./partial.ts";
import type { RootfsStore } from "./storage.ts";

export interface RecoverDeps extends BlobDeps {
  rootfs: RootfsStore;
}

export interface Recovered {
  /** Leases of dead processes that were undone. */
  leases: LeaseRow[];
  /** What was deleted besides, relative to the store's root. */
  leftovers: string[];
}

/** Kinds after which files may lie at their final place without a row. */
const MAY_ORPHAN = new Set(["blob", "layer", "image", "gc"]);

export function recover(deps: RecoverDeps): Recovered {
  const leases = deps.leases.dead();
  const leftovers: string[] = [];
  if (leases.some((lease) => MAY_ORPHAN.has(lease.kind))) leftovers.push(...sweepOrphans(deps));
  for (const lease of leases) {
    undo(deps, lease);
    failpoint("storage.recover.undone");
    dropLease(deps.db, lease.id);
  }
  dropPartials(deps, "stale");
  leftovers.push(...sweepIngest(deps), ...sweepTrash(deps));
  sweepLocks(deps);
  return { leases, leftovers };
}

/** Directories of containers nobody knows; `known` is asked after the directory was read, because records come before directories. */
export function orphanContainers(deps: RecoverDeps, known: () => Set<string>): string[] {
  const names = namesIn(deps.paths.containers);
  if (names.length === 0) return [];
  const leased = leasedPaths(deps);
  const ids = known();
  return names.filter((id) => !ids.has(id) && !leased.includes(`containers/${id}`));
}

function undo(deps: RecoverDeps, { kind, path }: LeaseRow): void {
  // The only places where anything temporary lies; a damaged row must not delete anything else.
  const match = /^(ingest|containers)\/([A-Za-z0-9][A-Za-z0-9._-]*)$/.exec(path);
  if (match === null) return;
  const [, place, name] = match as unknown as [string, string, string];
  if (place === "containers") deps.rootfs.remove(name);
  else if (kind === "image") {
    for (const file of namesIn(deps.paths.ingest)) if (file.startsWith(`${name}-`)) removeIngest(deps, file);
  } else if (partialDigest(name) === undefined) removeIngest(deps, name);
}

/** False if a living process is writing it: an ingest of a known digest has the same name in every attempt. */
function removeIngest(deps: RecoverDeps, name: string): boolean {
  const digest = partialDigest(name);
  const blob = digest === undefined ? name : blobFileName(digest);
  using lock = FileLock.try({ sys: deps.sys, dir: deps.paths.locks, name: `blob-${blob}` });
  if (lock === undefined) return false;
  discard(deps, `${deps.paths.ingest}/${name}`);
  return true;
}

function leasedPaths({ db }: RecoverDeps): string[] {
  return db.all<{ path: string }>("SELECT path FROM leases WHERE path <> ''").map((row) => row.path);
}

/** Files without a lease, and parts of blobs without a row: a power cut may take the row of a lease and leave its file. */
export function strayIngest(deps: RecoverDeps): string[] {
  const names = namesIn(deps.paths.ingest);
  if (names.length === 0) return [];
  // Read after the directory: leases are committed before their files are made.
  const leased = leasedPaths(deps);
  const partials = knownPartials(deps.db);
  return names.filter((name) => {
    if (partials.has(name)) return false;
    const path = `ingest/${name}`;
    return !leased.some((lease) => path === lease || path.startsWith(`${lease}-`));
  });
}

function sweepIngest(deps: RecoverDeps): string[] {
  return strayIngest(deps)
    .filter((name) => removeIngest(deps, name))
    .map((name) => `ingest/${name}`);
}

/** One process at a time, and under a new name, so that whoever began to delete an entry finds it gone instead of racing. */
function sweepTrash(deps: RecoverDeps): string[] {
  const { paths, sys } = deps;
  const names = namesIn(paths.trash);
  if (names.length === 0) return [];
  using lock = FileLock.try({ sys, dir: paths.locks, name: "trash" });
  if (lock === undefined) return [];
  for (const name of names) discard(deps, `${paths.trash}/${name}`);
  return names.map((name) => `trash/${name}`);
}

/** Files of locks that nobody holds: each is the last trace of a killed process. Whoever waits for one finds out that it is gone. */
export function sweepLocks({ sys, paths }: Pick<RecoverDeps, "sys" | "paths">): void {
  for (const name of namesIn(paths.locks)) FileLock.try({ sys, dir: paths.locks, name })?.release();
}

export interface Orphans {
  blobs: Digest[];
  layers: Digest[];
}

/** Blob files and layer directories that have no row. They may be on their way in: whoever takes them away looks again under their lock. */
export function findOrphans({ db, paths }: RecoverDeps): Orphans {
  const blobs = (["sha256", "sha512"] as const).flatMap((algorithm) =>
    namesIn(`${paths.blobs}/${algorithm}`).map((hex) => `${algorithm}:${hex}`),
  );
  const layers = namesIn(paths.layers).map((hex) => `${hex.length === 128 ? "sha512" : "sha256"}:${hex}`);
  const without = (digests: string[], sql: string): Digest[] => {
    const known = new Set(db.all<{ id: string }>(sql).map((row) => row.id));
    return digests.filter((digest) => isDigest(digest) && !known.has(digest));
  };
  return {
    blobs: without(blobs, "SELECT digest AS id FROM blobs"),
    layers: without(layers, "SELECT chain_id AS id FROM layers"),
  };
}

export function sweepOrphans(deps: RecoverDeps): string[] {
  const { blobs, layers } = findOrphans(deps);
  const taken: string[] = [];
  const drop = (aside: string | undefined, name: string): void => {
    if (aside === undefined) return;
    deleteTree(deps.sys, aside);
    taken.push(name);
  };
  for (const digest of blobs) drop(takeBlobFile(deps, digest), `blobs/${digest}`);
  for (const chainId of layers) drop(takeLayerDir(deps, chainId), `layers/${chainId}`);
  return taken;
}
