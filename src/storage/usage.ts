/** What the store takes on the disk: allocated bytes, as du counts them, for `system df`; sizes of containers for `ps -s`. */
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
} from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { Fd, Name, Stat, Sys } from "../sys/sys.ts";
import { namesIn } from "./files.ts";
import { knownPartials } from "./partial.ts";
import type { StorePaths } from "./paths.ts";
import { ownStackIds } from "./stack.ts";

export interface UsageDeps {
  db: Db;
  sys: Sys;
  paths: StorePaths;
}

export interface ImageUsage {
  /** Of an image; or the digest of a document, with all that it lists and that has no name of its own. */
  id: Digest;
  /** Bytes of its layers and blobs that other images need too. */
  shared: number;
  /** Bytes that removing this image alone would free. */
  unique: number;
}

export interface StoreUsage {
  images: ImageUsage[];
  /** All blobs and all unpacked layers. */
  blobs: number;
  layers: number;
  /** What the images need that are in use. */
  kept: number;
  /** Layers and blobs that no image needs: what a collection frees now. */
  unreferenced: number;
  /** Directory of each container, without what is mounted in it. */
  containers: Map<string, number>;
  volumes: Map<string, number>;
  /** Beginnings of broken downloads. */
  partials: number;
  /** Half-made and discarded things. */
  temporary: number;
}

const BLOCK = 512;

/** Allocated bytes below (and of) a path; a file with several names counts once, mounts are not entered. 0 if it does not exist. */
export function treeBytes(sys: Sys, path: string): number {
  return sumTree(sys, path, (stat) => stat.blocks * BLOCK);
}

/** Lengths of the regular files below a path, as docker and podman count a container's size; else as {@link treeBytes}. */
export function fileBytes(sys: Sys, path: string): number {
  return sumTree(sys, path, (stat) => ((stat.mode & S_IFMT) === S_IFREG ? stat.size : 0));
}

function sumTree(sys: Sys, path: string, bytesOf: (stat: Stat) => number): number {
  const seen = new Set<bigint>();
  let total = 0;
  const visit = (dir: Fd, name: Name): void => {
    const stat = statOrNothing(sys, dir, name);
    if (stat === undefined || stat.mountRoot) return;
    const isDirectory = (stat.mode & S_IFMT) === S_IFDIR;
    if (!isDirectory && stat.nlink > 1) {
      if (seen.has(stat.ino)) return;
      seen.add(stat.ino);
    }
    total += bytesOf(stat);
    if (isDirectory) children(dir, name);
  };
  const children = (dir: Fd, name: Name): void => {
    const fd = sys.openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      for (const entry of sys.readdir(fd)) visit(fd, entry.name);
    } finally {
      sys.close(fd);
    }
  };
  visit(AT_FDCWD, path);
  return total;
}

function statOrNothing(sys: Sys, dir: Fd, name: Name) {
  try {
    return sys.stat(dir, name, AT_SYMLINK_NOFOLLOW);
  } catch (error) {
    // A container is writing while we count.
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** `isUsed`: whether a container stands on an image. */
export function storeUsage(deps: UsageDeps, isUsed: (id: Digest) => boolean = () => false): StoreUsage {
  const { sys, paths } = deps;
  const layers = layerBytes(deps);
  const blobs = blobBytes(deps);
  const { images, needs } = imageUsage(deps.db, layers, blobs);
  const needed = new Set([...needs.values()].flatMap((keys) => [...keys]));
  const kept = new Set([...needs].flatMap(([id, keys]) => (isUsed(id) ? [...keys] : [])));
  const unneeded = (sizes: Map<Digest, number>) =>
    sum([...sizes].filter(([key]) => !needed.has(key)).map(([, bytes]) => bytes));
  const each = (dir: string): Map<string, number> =>
    new Map(namesIn(dir).map((name) => [name, treeBytes(sys, `${dir}/${name}`)]));
  const partials = sum([...knownPartials(deps.db)].map((name) => treeBytes(sys, `${paths.ingest}/${name}`)));
  return {
    images,
    blobs: sum(blobs.values()),
    layers: sum(layers.values()),
    kept: sum([...kept].map((key) => (layers.get(key) ?? 0) + (blobs.get(key) ?? 0))),
    unreferenced: unneeded(layers) + unneeded(blobs),
    containers: each(paths.containers),
    volumes: each(paths.volumes),
    partials,
    temporary: treeBytes(sys, paths.ingest) + treeBytes(sys, paths.trash) - partials,
  };
}

/** Allocated bytes of each layer, each blob, and of what is half made or thrown away, by path. */
export function contentBytes(deps: UsageDeps): Map<string, number> {
  const { sys, paths } = deps;
  const places = [paths.ingest, paths.trash].flatMap((dir) => namesIn(dir).map((name) => `${dir}/${name}`));
  return new Map([
    ...[...layerBytes(deps)].map(([id, bytes]) => [paths.layer(id), bytes] as const),
    ...[...blobBytes(deps)].map(([digest, bytes]) => [paths.blob(digest), bytes] as const),
    ...places.map((path) => [path, treeBytes(sys, path)] as const),
  ]);
}

/** Bytes of what was there `before` and is not any more. */
export function freedSince({ sys }: UsageDeps, before: Map<string, number>): number {
  const isThere = (path: string): boolean => statOrNothing(sys, AT_FDCWD, path) !== undefined;
  return sum([...before].filter(([path]) => !isThere(path)).map(([, bytes]) => bytes));
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** Counted once a layer, since a layer never changes. */
function layerBytes({ db, sys, paths }: UsageDeps): Map<Digest, number> {
  const sizes = new Map<Digest, number>();
  for (const row of db.all<{ chain_id: string; disk: number | null }>("SELECT chain_id, disk FROM layers")) {
    const disk = row.disk ?? treeBytes(sys, paths.layer(row.chain_id));
    if (row.disk === null) db.run("UPDATE layers SET disk = ? WHERE chain_id = ?", disk, row.chain_id);
    sizes.set(row.chain_id, disk);
  }
  return sizes;
}

function blobBytes({ db, sys, paths }: UsageDeps): Map<Digest, number> {
  const rows = db.all<{ digest: string }>("SELECT digest FROM blobs");
  return new Map(rows.map(({ digest }) => [digest, treeBytes(sys, paths.blob(digest))]));
}

function imageUsage(
  db: Db,
  layers: Map<Digest, number>,
  blobs: Map<Digest, number>,
): { images: ImageUsage[]; needs: Needs } {
  const needs: Needs = new Map([...imageNeeds(db), ...documentNeeds(db)]);
  const users = new Map<string, number>();
  for (const keys of needs.values()) for (const key of keys) users.set(key, (users.get(key) ?? 0) + 1);
  const bytes = (key: string) => (layers.get(key) ?? 0) + (blobs.get(key) ?? 0);
  const images = [...needs].map(([id, keys]) => {
    const list = [...keys];
    return {
      id,
      shared: sum(list.filter((key) => (users.get(key) ?? 0) > 1).map(bytes)),
      unique: sum(list.filter((key) => users.get(key) === 1).map(bytes)),
    };
  });
  return { images, needs };
}

type Needs = Map<Digest, Set<string>>;

/** Of every image that is one for itself: named, or in no index. */
function imageNeeds(db: Db): Needs {
  const rows = db.all<ImageRow>(
    `SELECT id, chain_id, manifest_digest FROM images WHERE id IN (SELECT image_id FROM image_names) OR id NOT IN (${LISTED})`,
  );
  return new Map(rows.map((row) => [row.id, neededBy(db, row)]));
}

interface ImageRow {
  id: string;
  chain_id: string | null;
  manifest_digest: string;
}

const LISTED = `SELECT needed.child FROM manifests m
  JOIN blob_refs listed ON listed.parent = m.digest JOIN blob_refs needed ON needed.parent = listed.child`;

/** Of every index and artifact that is not within another. */
function documentNeeds(db: Db): Needs {
  const rows = db.all<{ digest: string }>(
    "SELECT digest FROM manifests WHERE digest NOT IN (SELECT r.child FROM blob_refs r JOIN manifests m ON m.digest = r.parent)",
  );
  return new Map(rows.map(({ digest }) => [digest, neededByDocument(db, digest)]));
}

function neededByDocument(db: Db, digest: Digest): Set<string> {
  const blobs = db.all<{ id: string }>(
    `WITH RECURSIVE needed(id) AS (SELECT ? UNION SELECT r.child FROM needed JOIN blob_refs r ON r.parent = needed.id)
     SELECT id FROM needed`,
    digest,
  );
  const keys = new Set(blobs.map((row) => row.id));
  const unnamed = db.all<ImageRow>(
    "SELECT id, chain_id, manifest_digest FROM images WHERE id NOT IN (SELECT image_id FROM image_names)",
  );
  for (const row of unnamed) if (keys.has(row.id)) for (const key of neededBy(db, row)) keys.add(key);
  return keys;
}

/** Chain ids and blob digests; a bottom layer's chain id may equal the digest of its uncompressed blob, and both count then. */
function neededBy(db: Db, image: ImageRow): Set<string> {
  const chain = image.chain_id === null ? [] : ownStackIds(db, image.chain_id);
  const listed = db.all<{ child: string }>(
    "SELECT child FROM blob_refs WHERE parent = ?",
    image.manifest_digest,
  );
  const own = chain.flatMap((id) => {
    const row = db.get<{ blob: string | null }>("SELECT blob FROM layers WHERE chain_id = ?", id);
    return row?.blob === null || row === undefined ? [] : [row.blob];
  });
  return new Set([image.id, image.manifest_digest, ...chain, ...listed.map((row) => row.child), ...own]);
}
