/** Where everything of a store lies (DESIGN §4). Nothing else in the engine joins these paths by hand. */
import { chmodSync, mkdirSync, statSync } from "node:fs";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";

export interface StorePaths {
  /** Survives a reboot: "/var/lib/berth". */
  root: string;
  /** On a tmpfs, gone after a reboot: "/run/berth". */
  run: string;
  db: string;
  blobs: string;
  /** Half-made blobs and layers; each has a lease. */
  ingest: string;
  layers: string;
  /** On its way out: anybody may delete anything in it at any time. */
  trash: string;
  containers: string;
  volumes: string;
  /** An empty directory: the lower of a container without an image. */
  empty: string;
  locks: string;
  /** Exit files, one a container, written by the monitor. */
  exits: string;
  netns: string;
  blob(digest: Digest): string;
  layer(chainId: Digest): string;
  diff(chainId: Digest): string;
  container(id: string): string;
  upper(id: string): string;
  work(id: string): string;
  merged(id: string): string;
  /** `run/containers/<id>`: sockets, pid files, persist directory of one container; made by its owner. */
  runContainer(id: string): string;
  volume(name: string): string;
}

export function storePaths(root: string, run: string): StorePaths {
  const containers = `${root}/containers`;
  const layers = `${root}/layers`;
  const blobs = `${root}/blobs`;
  return {
    root,
    run,
    db: `${root}/berth.db`,
    blobs,
    ingest: `${root}/ingest`,
    layers,
    trash: `${root}/trash`,
    containers,
    volumes: `${root}/volumes`,
    empty: `${root}/empty`,
    locks: `${run}/locks`,
    exits: `${run}/exits`,
    netns: `${run}/netns`,
    blob: (digest) => `${blobs}/${digestAlgorithm(digest)}/${digestHex(digest)}`,
    layer: (chainId) => `${layers}/${digestHex(chainId)}`,
    diff: (chainId) => `${layers}/${digestHex(chainId)}/diff`,
    container: (id) => `${containers}/${id}`,
    upper: (id) => `${containers}/${id}/upper`,
    work: (id) => `${containers}/${id}/work`,
    merged: (id) => `${containers}/${id}/merged`,
    runContainer: (id) => `${run}/containers/${id}`,
    volume: (name) => `${root}/volumes/${name}`,
  };
}

/**
 * Makes all directories that are missing: the store's 0700, the run directory 0711 with 0700 inside. Costs two
 * stats when they are there, because the last one made of each half stands for all before it.
 */
export function ensureDirs(paths: StorePaths): void {
  const { root, run } = paths;
  if (!isDirectory(paths.volumes)) {
    make(root, 0o700);
    for (const algorithm of ["sha256", "sha512"]) make(`${paths.blobs}/${algorithm}`, 0o700);
    for (const path of [paths.ingest, paths.layers, paths.trash, paths.containers]) make(path, 0o700);
    make(paths.empty, 0o755);
    make(paths.volumes, 0o700);
  }
  if (!isDirectory(paths.netns)) {
    make(run, 0o711);
    for (const path of [paths.locks, paths.exits, `${run}/containers`, paths.netns]) make(path, 0o700);
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function make(path: string, mode: number): void {
  const made = mkdirSync(path, { recursive: true, mode });
  // Only what was made here: an administrator's own mode of an existing directory stays. The umask may have taken bits.
  if (made !== undefined) chmodSync(path, mode);
}
