/** For the tests of this folder: a real store in a directory of its own. */
import { mkdtempSync, readFileSync } from "node:fs";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { AT_FDCWD, MNT_DETACH } from "../sys/const.ts";
import { Db } from "../sys/db.ts";
import { linux } from "../sys/linux.ts";
import { removeTree } from "../sys/remove-tree.ts";
import type { Owner } from "./lease.ts";
import { ensureDirs, storePaths } from "./paths.ts";
import { storageSchema } from "./schema.ts";
import { openStore, type Store } from "./store.ts";
import { namesIn } from "./files.ts";

export function thisProcess(): Owner {
  return {
    pid: process.pid,
    startTime: linux.startTime(process.pid) as number,
    bootId: readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
  };
}

export function storeAt(base: string, owner: () => Owner = thisProcess): Store {
  const paths = storePaths(`${base}/root`, `${base}/run`);
  ensureDirs(paths);
  const db = Db.open(paths.db, 1, storageSchema);
  const child = `await (await import("${import.meta.dir}/unpack-child.ts")).runUnpackChild()`;
  const unpackCommand = [process.execPath, "-e", child];
  return openStore({ db, sys: linux, paths, owner, unpackCommand });
}

export function temporaryDir(name: string): string {
  return mkdtempSync(`/tmp/berth-storage-${name}-`);
}

/** Closes the store and takes away all of it, mounts first. */
export function destroy(store: Store, base: string): void {
  for (const id of namesIn(store.paths.containers)) {
    if (store.rootfs.isMounted(id)) store.sys.umount(store.paths.merged(id), MNT_DETACH);
  }
  store.db.close();
  removeTree(linux, AT_FDCWD, base);
}

export async function* streamOf(...chunks: (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    await Promise.resolve();
    yield typeof chunk === "string" ? Buffer.from(chunk) : chunk;
  }
}

/** What the promise was rejected with; fails if it was not. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  const outcome = await promise.then(
    () => ({ failed: false as const }),
    (error: unknown) => ({ failed: true as const, error }),
  );
  if (!outcome.failed) throw new Error("expected a failure, and there was none");
  return outcome.error;
}

export interface FakeImage {
  manifestBytes: Uint8Array;
  manifestDigest: Digest;
  configBytes: Uint8Array;
}

/** A valid image over layers that are there; `salt` makes it another image. */
export function imageOf(store: Store, chain: Digest[], salt = ""): FakeImage {
  const layers = chain.map((chainId) => store.layers.get(chainId));
  const config = {
    created: "2026-01-02T03:04:05Z",
    architecture: "amd64",
    os: "linux",
    config: { Labels: { salt } },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer?.diffId) },
    history: [],
  };
  const configBytes = Buffer.from(JSON.stringify(config));
  const manifest = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(configBytes),
      size: configBytes.length,
    },
    layers: layers.map((layer) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest: layer?.blob?.digest ?? layer?.diffId,
      size: layer?.blob?.size ?? 0,
    })),
  };
  const manifestBytes = Buffer.from(JSON.stringify(manifest));
  return { manifestBytes, manifestDigest: digestOf(manifestBytes), configBytes };
}

/** A layer row and directory made by hand, where a test is not about unpacking. */
export function plantLayer(store: Store, diffId: Digest, parent?: Digest): Digest {
  const chainId = parent === undefined ? diffId : digestOf(`${parent} ${diffId}`);
  store.sys.mkdir(AT_FDCWD, store.paths.layer(chainId), 0o700);
  store.sys.mkdir(AT_FDCWD, store.paths.diff(chainId), 0o755);
  store.db.run(
    "INSERT INTO layers (chain_id, diff_id, parent, size, created) VALUES (?, ?, ?, 10, '2026-01-01T00:00:00Z')",
    chainId,
    diffId,
    parent ?? null,
  );
  return chainId;
}
