import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, truncateSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { DOCKER_LIST, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST } from "../image/media-types.ts";
import { hostPlatform } from "../image/platform.ts";
import { check } from "./check.ts";
import { destroy, imageOf, plantLayer, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { collectGarbage } from "./gc.ts";
import { platformEntry } from "./index-entry.ts";
import type { Store } from "./store.ts";
import { storeUsage } from "./usage.ts";

let base: string;
let store: Store;
const ctx = createCtx();
const host = hostPlatform();
const foreign = { os: "linux", architecture: host.architecture === "s390x" ? "riscv64" : "s390x" };

beforeEach(() => {
  base = temporaryDir("manifests");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

function bytesOf(document: object): Uint8Array {
  return Buffer.from(JSON.stringify(document));
}

function indexBytes(manifests: Partial<Descriptor>[], more: object = {}): Uint8Array {
  return bytesOf({ schemaVersion: 2, mediaType: OCI_INDEX, manifests, ...more });
}

function putIndex(manifests: Partial<Descriptor>[], names: string[] = [], repoDigests: string[] = []) {
  const bytes = indexBytes(manifests);
  const digest = digestOf(bytes);
  return store.manifests.put({ bytes, digest, mediaType: OCI_INDEX, names, repoDigests });
}

function image(salt: string, names: string[] = [], layers: Digest[] = []) {
  const made = imageOf(store, layers, salt);
  const record = store.images.put({ ...made, names });
  const entry = { mediaType: OCI_MANIFEST, digest: made.manifestDigest, size: made.manifestBytes.length };
  return { record, entry };
}

/** A manifest with its blobs, kept by nothing but the lease. */
async function foreignManifest(salt: string) {
  const lease = store.leases.take("pull");
  const ingest = (text: string | Uint8Array) => store.content.ingest(ctx, streamOf(text), undefined, lease);
  const layer = await ingest(`layer ${salt}`);
  const config = await ingest(`config ${salt}`);
  const manifest = await ingest(
    bytesOf({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, ...config },
      layers: [{ mediaType: OCI_LAYER_GZIP, ...layer }],
    }),
  );
  return {
    entry: { mediaType: OCI_MANIFEST, ...manifest, platform: foreign },
    blobs: [layer.digest, config.digest, manifest.digest],
    lease,
  };
}

function kindOf(run: () => unknown): unknown {
  try {
    run();
    return "nothing thrown";
  } catch (error) {
    return (error as { kind?: unknown }).kind;
  }
}

test("an index is found by every name it has, and means the host's image to those who want one", () => {
  const { record, entry } = image("a");
  const other = image("b");
  const index = putIndex(
    [
      { ...other.entry, platform: foreign },
      { ...entry, platform: host },
    ],
    ["list", "localhost/mine:1"],
  );
  store.manifests.addRepoDigest(index.digest, `quay.io/x/y@${index.digest}`);
  const hex = index.digest.slice(7);
  const names = [
    "list",
    "docker.io/library/list:latest",
    "mine:1",
    index.digest,
    hex,
    hex.slice(0, 12),
    `list@${index.digest}`,
    `quay.io/x/y@${index.digest}`,
  ];
  for (const name of names) {
    expect([name, store.manifests.resolve(name).digest]).toEqual([name, index.digest]);
    expect([name, store.images.resolve(name).id]).toEqual([name, record.id]);
  }
  expect(store.manifests.get(index.digest)).toMatchObject({
    kind: "index",
    names: ["docker.io/library/list:latest", "localhost/mine:1"],
    repoDigests: [`quay.io/x/y@${index.digest}`],
  });
  expect(store.manifests.members(index.digest).toSorted()).toEqual([record.id, other.record.id].toSorted());
  expect(store.manifests.list("artifact")).toEqual([]);
  expect(platformEntry(store, index.digest, foreign)?.digest).toBe(other.entry.digest);
  expect(platformEntry(store, index.digest, { os: "plan9", architecture: "mips" })).toBeUndefined();
  for (const name of ["list:2", "nothing", "", "A B", record.id])
    expect(store.manifests.find(name)).toBeUndefined();
});

test("images and documents have one name space", () => {
  const { record, entry } = image("a", ["app"]);
  const index = putIndex([{ ...entry, platform: host }], ["app"]);
  expect(store.images.get(record.id)?.names).toEqual([]);
  expect(store.manifests.resolve("app").digest).toBe(index.digest);
  expect(kindOf(() => store.images.untag("app"))).toBe("not-found");
  expect(kindOf(() => store.images.remove("app", { force: true, inUse: () => [] }))).toBe("not-found");

  store.images.tag(record.id, "app");
  expect(store.manifests.find("app")).toBeUndefined();
  store.manifests.tag(index.digest, "app");
  expect(store.images.get(record.id)?.names).toEqual([]);
  image("b", ["app"]);
  expect(store.manifests.get(index.digest)?.names).toEqual([]);
  expect(kindOf(() => store.manifests.tag(digestOf("no"), "x"))).toBe("not-found");
  expect(kindOf(() => store.manifests.tag(index.digest, `x@${index.digest}`))).toBe("invalid-argument");
  expect(kindOf(() => store.manifests.resolve("app"))).toBe("not-found");
});

test("an index keeps what it lists, and only as long as it is there itself", async () => {
  const { entry, blobs, lease } = await foreignManifest("s390x");
  const index = putIndex([entry, { ...entry, digest: digestOf("not here") }], ["list"]);
  lease.release();
  expect(collectGarbage(store).blobs).toEqual([]);
  expect(blobs.every((digest) => store.content.has(digest))).toBe(true);
  expect(storeUsage(store)).toMatchObject({ unreferenced: 0, images: [{ id: index.digest, shared: 0 }] });

  // Within another index it needs no name.
  const outer = putIndex(
    [{ mediaType: OCI_INDEX, digest: index.digest, size: store.content.size(index.digest) }],
    ["outer"],
  );
  expect(store.manifests.untag("list")).toBe("docker.io/library/list:latest");
  expect(blobs.every((digest) => store.content.has(digest))).toBe(true);
  expect(store.manifests.get(index.digest)?.names).toEqual([]);
  expect(platformEntry(store, outer.digest, foreign)?.digest).toBe(entry.digest);
  expect(storeUsage(store).images.map((one) => one.id)).toEqual([outer.digest]);

  const removed = store.manifests.remove(outer.digest);
  expect(removed).toEqual({ untagged: ["docker.io/library/outer:latest"], images: [], layers: [] });
  for (const digest of [...blobs, index.digest, outer.digest]) {
    expect(existsSync(store.paths.blob(digest))).toBe(false);
  }
  for (const table of ["manifests", "manifest_names", "blob_refs", "repo_digests", "leases"]) {
    expect([table, store.db.all(`SELECT * FROM ${table}`)]).toEqual([table, []]);
  }
  expect(kindOf(() => store.manifests.remove(outer.digest))).toBe("not-found");
  expect(kindOf(() => store.manifests.untag("outer"))).toBe("not-found");
});

test("what came after its index is kept by putting the index again", async () => {
  const { entry, blobs, lease } = await foreignManifest("late");
  lease.release();
  collectGarbage(store);
  const { digest } = putIndex([entry], ["list"]);
  expect(store.manifests.members(digest)).toEqual([]);
  const again = await foreignManifest("late");
  putIndex([entry], ["list"]);
  again.lease.release();
  collectGarbage(store);
  expect(blobs.map((blob) => store.content.has(blob))).toEqual([true, true, true]);
});

test("an image's memory of its index does not keep the index; an index of a registry stays without a name", () => {
  const { record, entry } = image("a", ["app"]);
  const index = putIndex([{ ...entry, platform: host }], ["list"]);
  const repoDigest = `quay.io/x/y@${index.digest}`;
  store.images.addRepoDigest(record.id, repoDigest);
  store.manifests.addRepoDigest(index.digest, repoDigest);
  store.images.tag(record.id, "list");
  collectGarbage(store);
  expect(store.manifests.get(index.digest)?.names).toEqual([]);
  store.manifests.remove(index.digest);
  expect(store.manifests.list()).toEqual([]);
  expect(store.content.has(index.digest)).toBe(false);
  expect(store.images.get(record.id)?.repoDigests).toEqual([repoDigest]);
});

test("images go with their index only when nothing else names them and the caller says so", () => {
  const layer = plantLayer(store, digestOf("layer"));
  const own = image("own", ["own"]);
  const shared = image("shared");
  const unnamed = image("unnamed", [], [layer]);
  const used = image("used");
  const entries = [own, shared, unnamed, used].map(({ entry }) => entry);
  const index = putIndex(entries, ["list"]);
  putIndex([shared.entry], ["second"]);
  expect(store.manifests.allMembers().size).toBe(4);
  const asked: Digest[] = [];
  const removed = store.manifests.remove(index.digest, (id) => {
    asked.push(id);
    return id !== used.record.id;
  });
  expect(asked.toSorted()).toEqual([unnamed.record.id, used.record.id].toSorted());
  expect(removed.images).toEqual([unnamed.record.id]);
  expect(removed.layers).toEqual([layer]);
  expect(existsSync(store.paths.layer(layer))).toBe(false);
  expect(store.images.list().length).toBe(3);
});

test("a list that has lost its name goes at the next collection, with what was known of its entries", async () => {
  const { entry, blobs, lease } = await foreignManifest("lost");
  const index = putIndex([entry], ["list"]);
  lease.release();
  store.manifests.addRepoDigest(index.digest, `quay.io/x/y@${entry.digest}`);
  expect(store.manifests.sources(entry.digest)).toEqual(["quay.io/x/y"]);
  image("thief", ["list"]);
  expect(collectGarbage(store).blobs.toSorted()).toEqual([...blobs, index.digest].toSorted());
  expect(store.db.all("SELECT * FROM repo_digests")).toEqual([]);
  expect(store.manifests.list()).toEqual([]);
});

test("an artifact with its parts", async () => {
  const lease = store.leases.take("pull");
  const part = await store.content.ingest(ctx, streamOf("part"), undefined, lease);
  const config = await store.content.ingest(ctx, streamOf("{}"), undefined, lease);
  const bytes = bytesOf({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: "application/vnd.example.config", ...config },
    layers: [{ mediaType: "text/plain", ...part }],
    subject: { mediaType: OCI_MANIFEST, digest: digestOf("subject"), size: 7 },
  });
  const record = store.manifests.put({
    bytes,
    digest: digestOf(bytes),
    mediaType: OCI_MANIFEST,
    names: ["a/b:1"],
  });
  lease.release();
  collectGarbage(store);
  expect(store.content.has(part.digest)).toBe(true);
  expect(record).toMatchObject({
    kind: "artifact",
    artifactType: "application/vnd.example.config",
    subject: digestOf("subject"),
  });
  expect(store.images.find("a/b:1")).toBeUndefined();
  store.manifests.untag("a/b:1");
  expect(store.content.has(part.digest)).toBe(false);
});

test("malformed, hostile and wrong documents are refused and leave nothing", () => {
  const entry = { mediaType: OCI_MANIFEST, digest: digestOf("x"), size: 1 };
  const bad: [Uint8Array, string, string][] = [
    [Buffer.from("{"), OCI_INDEX, "invalid-argument"],
    [indexBytes([{ ...entry, digest: "sha256:../../x" }]), OCI_INDEX, "invalid-argument"],
    [indexBytes([{ ...entry, digest: `sha256:${"A".repeat(64)}` }]), OCI_INDEX, "invalid-argument"],
    [indexBytes([{ ...entry, size: -1 }]), OCI_INDEX, "invalid-argument"],
    [indexBytes([entry], { layers: [] }), OCI_INDEX, "invalid-argument"],
    [indexBytes([entry], { Layers: [] }), OCI_INDEX, "invalid-argument"],
    [indexBytes([entry]), DOCKER_LIST, "invalid-argument"],
    [Buffer.alloc(5 * 1024 * 1024, " "), OCI_INDEX, "resource-exhausted"],
  ];
  for (const [bytes, mediaType, kind] of bad) {
    const request = { bytes, digest: digestOf(bytes), mediaType, names: ["x"] };
    expect(kindOf(() => store.manifests.put(request))).toBe(kind);
  }
  const bytes = indexBytes([entry]);
  const good = { bytes, digest: digestOf(bytes), mediaType: OCI_INDEX };
  expect(kindOf(() => store.manifests.put({ ...good, digest: digestOf("other") }))).toBe("data-loss");
  expect(kindOf(() => store.manifests.put({ ...good, digest: "../x" }))).toBe("invalid-argument");
  expect(kindOf(() => store.manifests.put({ ...good, names: ["x", "No Name"] }))).toBe("invalid-argument");
  expect(kindOf(() => store.manifests.put({ ...good, repoDigests: ["x"] }))).toBe("invalid-argument");
  expect(store.manifests.list()).toEqual([]);
  collectGarbage(store);
  expect(store.db.all("SELECT * FROM blobs")).toEqual([]);
});

test("an index of 10,000 entries, twice the same platform, a wrong size, a blob that is no manifest", async () => {
  const { record, entry } = image("a");
  const blob = await store.content.ingest(ctx, streamOf("no manifest"));
  const many = Array.from({ length: 10_000 }, (_, i) => ({
    mediaType: OCI_MANIFEST,
    digest: digestOf(String(i)),
    size: i,
    platform: foreign,
  }));
  const index = putIndex(
    [
      ...many,
      { ...entry, platform: host },
      { ...entry, digest: digestOf("second"), platform: host },
      { mediaType: OCI_MANIFEST, ...blob },
    ],
    ["big"],
  );
  expect(store.images.resolve("big").id).toBe(record.id);
  expect(platformEntry(store, index.digest, foreign)?.digest).toBe(digestOf("0"));
  expect(store.manifests.remove(index.digest).untagged.length).toBe(1);
  expect(store.db.all("SELECT * FROM blob_refs WHERE parent = ?", index.digest)).toEqual([]);

  const wrong = await foreignManifest("wrong");
  putIndex([{ ...wrong.entry, size: wrong.entry.size + 1 }], ["wrong"]);
  expect(store.db.all("SELECT * FROM blob_refs WHERE parent = ?", wrong.entry.digest)).toEqual([]);
});

test("indexes in indexes end somewhere", () => {
  let entry: Descriptor = { ...image("a").entry, platform: host };
  let top: Digest = entry.digest;
  for (let depth = 0; depth < 12; depth++) {
    top = putIndex([entry], [`depth-${depth}`]).digest;
    entry = { mediaType: OCI_INDEX, digest: top, size: store.content.size(top) };
  }
  expect(store.images.find("depth-1")).toBeDefined();
  expect(store.images.find(top)).toBeUndefined();
  for (const { digest } of store.manifests.list()) store.manifests.remove(digest);
  expect(store.manifests.list()).toEqual([]);
});

test("check: an index without its bytes goes with its names", async () => {
  const { entry } = image("a", ["image"]);
  const index = putIndex([{ ...entry, platform: host }], ["list"], []);
  store.manifests.addRepoDigest(index.digest, `quay.io/x@${index.digest}`);
  store.db.run("INSERT INTO manifest_names VALUES ('docker.io/library/ghost:1', 'sha256:no')");
  store.db.run("INSERT INTO manifest_names VALUES ('docker.io/library/image:latest', ?)", index.digest);
  const run = async (repair: boolean) =>
    (await check(ctx, store, { repair, quick: false, containers: () => new Set() })).map(
      ({ kind, object }) => `${kind} ${object}`,
    );
  const dangling = [
    "name-dangling docker.io/library/ghost:1",
    "name-dangling docker.io/library/image:latest",
  ];
  expect(await run(true)).toEqual(dangling);
  expect(await run(false)).toEqual([]);
  truncateSync(store.paths.blob(index.digest), 1);
  expect(await run(true)).toEqual([`blob-damaged ${index.digest}`, `manifest-incomplete ${index.digest}`]);
  expect(await run(false)).toEqual([]);
  expect(store.manifests.find("list")).toBeUndefined();
  expect(store.images.find("image")).toBeDefined();
});
