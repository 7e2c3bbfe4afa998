import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { linux } from "../sys/linux.ts";
import { check as checkStore, type CheckOptions, type Finding } from "./check.ts";
import { destroy, imageOf, plantLayer, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import type { Store } from "./store.ts";
import { storeUsage, treeBytes } from "./usage.ts";

let base: string;
let store: Store;
let layer: Digest;
let imageId: Digest;
const ctx = createCtx();
const options: CheckOptions = { repair: false, quick: false, containers: () => new Set(), inUse: () => [] };
const diff = (): string => store.paths.diff(layer);

/** A store with one image whose layer has a blob: a real tar of a tree with a bit of everything. */
beforeEach(async () => {
  base = temporaryDir("check");
  store = storeAt(base);
  const tree = `${base}/tree`;
  mkdirSync(`${tree}/usr/lib`, { recursive: true });
  symlinkSync("usr/lib", `${tree}/lib`);
  writeFileSync(`${tree}/usr/lib/file`, "content");
  linkSync(`${tree}/usr/lib/file`, `${tree}/hard`);
  linux.mknod(-100, `${tree}/fifo`, 0o010644, { major: 0, minor: 0 });
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/name-`), Buffer.from([0xff])]), "bytes");
  chmodSync(`${tree}/hard`, 0o4755);
  const tar = Bun.spawnSync(["tar", "-C", tree, "-c", "."]).stdout;
  const { digest } = await store.content.ingest(ctx, streamOf(tar));
  layer = plantLayer(store, digest);
  Bun.spawnSync(["cp", "-a", `${tree}/.`, diff()]);
  rmSync(tree, { recursive: true });
  store.db.run("UPDATE layers SET blob = ?, media_type = 'application/x-tar'", digest);
  imageId = store.images.put({ ...imageOf(store, [layer]), names: ["x"] }).id;
  store.leases.endSession();
});
afterEach(() => destroy(store, base));

async function check(change: Partial<CheckOptions> = {}): Promise<string[]> {
  const findings = await checkStore(ctx, store, { ...options, ...change });
  return findings.map((finding: Finding) => `${finding.kind}${finding.repaired ? " repaired" : ""}`);
}

async function details(): Promise<string> {
  return (await checkStore(ctx, store, options)).map((finding) => finding.detail).join("\n");
}

test("a sound store has no findings", async () => {
  expect(await check()).toEqual([]);
});

test("every way to alter a layer is found, and nothing is changed by looking", async () => {
  const file = `${diff()}/usr/lib/file`;
  writeFileSync(file, "Content");
  expect(await details()).toBe('"/usr/lib/file" has other content');
  writeFileSync(file, "longer content");
  expect(await details()).toBe('"/usr/lib/file" has another size');
  writeFileSync(file, "content");
  chmodSync(file, 0o644);
  expect(await details()).toBe('"/usr/lib/file" has another mode');
  chmodSync(file, 0o4755);
  expect(await details()).toBe("");
  unlinkSync(`${diff()}/lib`);
  symlinkSync("usr/bin", `${diff()}/lib`);
  expect(await details()).toBe('"/lib" leads elsewhere');
  unlinkSync(`${diff()}/lib`);
  expect(await details()).toBe('"/lib" is missing');
  symlinkSync("usr/lib", `${diff()}/lib`);
  unlinkSync(`${diff()}/fifo`);
  mkdirSync(`${diff()}/fifo`);
  expect(await details()).toBe('"/fifo" is no fifo');
  rmSync(`${diff()}/fifo`, { recursive: true });
  linux.mknod(-100, `${diff()}/fifo`, 0o010644, { major: 0, minor: 0 });
  writeFileSync(`${diff()}/usr/new`, "");
  expect(await details()).toBe('"/usr/new" was added');
  expect(await check({ quick: true })).toEqual([]);
});

test("a damaged layer goes with its image; what they shared with nobody can be collected", async () => {
  writeFileSync(`${diff()}/usr/lib/file`, "Content");
  expect(await check({ repair: true, inUse: () => ["c1"] })).toEqual(["layer-damaged"]);
  expect(await check({ repair: true })).toEqual(["layer-damaged repaired", "image-incomplete repaired"]);
  expect(await check()).toEqual([]);
  expect(store.images.list()).toEqual([]);
});

test("a missing layer directory, and the layers on it", async () => {
  const top = plantLayer(store, digestOf("top"), layer);
  rmSync(store.paths.layer(layer), { recursive: true });
  expect((await check({ quick: true })).toSorted()).toEqual(["layer-missing"]);
  const repaired = await check({ quick: true, repair: true });
  expect(repaired).toContain("layer-missing repaired");
  expect(repaired).toContain("image-incomplete repaired");
  await check({ quick: true, repair: true });
  expect(await check({ quick: true })).toEqual([]);
  expect(store.layers.get(top)).toBeUndefined();
});

test("blobs: gone, truncated, altered, unknown", async () => {
  const manifest = store.images.resolve("x").manifestDigest;
  writeFileSync(store.paths.blob(digestOf("orphan")), "orphan");
  expect(await check({ repair: true })).toEqual(["blob-orphan repaired"]);

  // The config comes back from the database.
  truncateSync(store.paths.blob(imageId), 1);
  expect(await check({ quick: true })).toEqual(["blob-damaged"]);
  expect(await check({ repair: true })).toEqual(["blob-damaged repaired"]);
  expect(await check()).toEqual([]);
  expect(store.content.read(imageId).length).toBeGreaterThan(1);

  // A layer stays without its blob.
  const blob = store.layers.get(layer)?.blob?.digest as Digest;
  unlinkSync(store.paths.blob(blob));
  expect(await check({ repair: true })).toEqual(["blob-missing repaired"]);
  expect(store.layers.get(layer)?.blob).toBeUndefined();
  expect(store.images.resolve("x").id).toBe(imageId);

  writeFileSync(store.paths.blob(manifest), "x".repeat(store.content.size(manifest)));
  expect(await check({ quick: true, repair: true })).toEqual([]);
  const found = await checkStore(ctx, store, { ...options, repair: true });
  expect(found.map(({ kind }) => kind)).toContain("blob-damaged");
  expect(found.map(({ kind }) => kind)).toContain("image-incomplete");
});

test("rows that lead nowhere, leftovers and foreign directories", async () => {
  store.db.run("INSERT INTO image_names VALUES ('docker.io/library/ghost:latest', 'sha256:no')");
  store.db.run("INSERT INTO repo_digests VALUES ('docker.io/library/ghost', 'sha256:x', 'sha256:no')");
  mkdirSync(`${store.paths.layers}/${"a".repeat(64)}`);
  mkdirSync(`${store.paths.containers}/c1`);
  mkdirSync(`${store.paths.containers}/c2`);
  writeFileSync(`${store.paths.ingest}/layer-x`, "");
  writeFileSync(`${store.paths.trash}/t`, "");
  const containers = () => new Set(["c2"]);
  const kinds = [
    "leftover",
    "leftover",
    "layer-orphan",
    "name-dangling",
    "name-dangling",
    "container-orphan",
  ];
  expect(await check({ containers })).toEqual(kinds);
  expect(await check({ containers, repair: true })).toEqual(kinds.map((kind) => `${kind} repaired`));
  expect(await check({ containers })).toEqual([]);
});

test("a damaged config row is told", async () => {
  store.db.run("UPDATE images SET config = ?", Buffer.from(""));
  expect(await check({ repair: true })).toContain("image-incomplete repaired");
  expect(await check()).toEqual([]);
});

test("usage agrees with du", () => {
  store.rootfs.create({ id: "c1", chainId: layer });
  writeFileSync(`${store.rootfs.mount({ id: "c1", chainId: layer })}/big`, Buffer.alloc(123_456));
  const fd = linux.open(base, 0);
  linux.syncfs(fd);
  linux.close(fd);
  const du = (path: string): number =>
    Number(Bun.spawnSync(["du", "-sx", "-B1", path]).stdout.toString().split("\t")[0]);
  for (const path of [store.paths.layers, store.paths.blobs, store.paths.container("c1")]) {
    expect([path, treeBytes(linux, path)]).toEqual([path, du(path)]);
  }
  const usage = storeUsage(store);
  expect(usage.layers).toBe(du(store.paths.layer(layer)));
  expect(storeUsage(store)).toEqual(usage);
  expect(usage.images).toEqual([{ id: imageId, shared: 0, unique: usage.layers + usage.blobs }]);
  expect(usage.unreferenced).toBe(0);
  const second = store.images.put({ ...imageOf(store, [layer], "second") }).id;
  const shared = storeUsage(store).images.find((image) => image.id === second);
  expect(shared?.shared).toBeGreaterThanOrEqual(usage.layers);
  expect(usage.containers.get("c1")).toBeGreaterThan(123_456);
});
