import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { destroy, imageOf, plantLayer, storeAt, temporaryDir } from "./fixture.ts";
import { collectGarbage } from "./gc.ts";
import type { Store } from "./store.ts";

let base: string;
let store: Store;
const unused = { force: false, inUse: () => [] };

beforeEach(() => {
  base = temporaryDir("images");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

function put(salt: string, names: string[], layers: Digest[] = [], repoDigests: string[] = []) {
  return store.images.put({ ...imageOf(store, layers, salt), names, repoDigests });
}

function kindOf(run: () => unknown): unknown {
  try {
    run();
    return "nothing thrown";
  } catch (error) {
    return (error as { kind?: unknown }).kind;
  }
}

test("an image is found by every name it has", () => {
  const layer = plantLayer(store, digestOf("layer"));
  const manifest = imageOf(store, [layer], "a").manifestDigest;
  const image = put(
    "a",
    ["alpine:3.20", "localhost/mine"],
    [layer],
    [`docker.io/library/alpine@${manifest}`],
  );
  const hex = image.id.slice(7);
  const names = [
    "alpine:3.20",
    "docker.io/library/alpine:3.20",
    "library/alpine:3.20",
    "index.docker.io/library/alpine:3.20",
    "mine",
    "localhost/mine:latest",
    `alpine@${manifest}`,
    `alpine:3.20@${manifest}`,
    image.id,
    hex,
    hex.slice(0, 12),
    hex.slice(0, 3),
    `sha256:${hex.slice(0, 9)}`,
    manifest,
  ];
  for (const name of names) expect([name, store.images.resolve(name).id]).toEqual([name, image.id]);
  expect(image.names).toEqual(["docker.io/library/alpine:3.20", "localhost/mine:latest"]);
  expect(image.chainId).toBe(layer);
  expect(image.size).toBe(10);
  expect(image.created).toBe("2026-01-02T03:04:05Z");
  expect(image.config.rootfs.diff_ids).toEqual([digestOf("layer")]);
  expect(image.manifest.layers.length).toBe(1);
});

test("what is not there is not known, whatever it looks like", () => {
  put("a", ["alpine"]);
  for (const name of [
    "busybox",
    "alpine:3",
    "",
    "ALPINE",
    "a b",
    `alpine@${digestOf("no")}`,
    "sha256:",
    "../x",
  ]) {
    expect(store.images.find(name)).toBeUndefined();
    expect(() => store.images.resolve(name)).toThrow(`${name}: image not known`);
  }
});

test("a name wins over an id, docker.io over localhost, and an ambiguous id is refused", () => {
  const images = Array.from({ length: 40 }, (_, i) => put(String(i), []));
  const first = images[0]?.id.slice(7, 8) as string;
  const sameStart = images.filter((image) => image.id.slice(7, 8) === first);
  expect(sameStart.length).toBeGreaterThan(1);
  expect(kindOf(() => store.images.find(first))).toBe("conflict");
  expect(kindOf(() => store.images.remove(first, unused))).toBe("conflict");

  const target = images[1] as (typeof images)[0];
  store.images.tag(target.id, first);
  expect(store.images.resolve(first).id).toBe(target.id);
  store.images.tag(images[2]?.id as string, "localhost/x");
  expect(store.images.resolve("x").id).toBe(images[2]?.id as string);
  store.images.tag(target.id, "x");
  expect(store.images.resolve("x").id).toBe(target.id);
});

test("a name moves to the newer image and leaves the older dangling", () => {
  const old = put("old", ["app"]);
  const fresh = put("new", ["app"]);
  expect(store.images.resolve("app").id).toBe(fresh.id);
  expect(store.images.get(old.id)?.names).toEqual([]);
  expect(store.images.list().length).toBe(2);
});

test("bad images are refused and leave nothing", () => {
  const good = imageOf(store, [], "good");
  const other = imageOf(store, [], "other");
  const cases: [Partial<typeof good>, string][] = [
    [{ manifestDigest: digestOf("no") }, "data-loss"],
    [{ configBytes: other.configBytes }, "data-loss"],
    [{ manifestBytes: Buffer.from("{") }, "invalid-argument"],
    [imageOf(store, [digestOf("gone")], "x"), "invalid-argument"],
  ];
  for (const [change, kind] of cases) {
    expect(kindOf(() => store.images.put({ ...good, ...change, names: ["x"] }))).toBe(kind);
  }
  const layer = plantLayer(store, digestOf("layer"));
  const needy = imageOf(store, [layer], "needy");
  store.db.run("DELETE FROM layers");
  expect(kindOf(() => store.images.put({ ...needy, names: ["x"] }))).toBe("not-found");
  expect(kindOf(() => store.images.put({ ...good, names: ["x", "No Name"] }))).toBe("invalid-argument");
  expect(store.images.list()).toEqual([]);
  expect(store.db.all("SELECT * FROM image_names")).toEqual([]);
  expect(store.db.all("SELECT * FROM leases")).toEqual([]);
});

test("tag and untag", () => {
  const image = put("a", ["one"]);
  store.images.tag(image.id, "quay.io/x/two:v1");
  expect(store.images.get(image.id)?.names.length).toBe(2);
  expect(store.images.untag("one")).toBe("docker.io/library/one:latest");
  expect(store.images.find("one")).toBeUndefined();
  expect(kindOf(() => store.images.untag("one"))).toBe("not-found");
  expect(kindOf(() => store.images.untag(image.id))).toBe("not-found");
  expect(kindOf(() => store.images.tag(digestOf("no"), "x"))).toBe("not-found");
  expect(kindOf(() => store.images.tag(image.id, `x@${image.id}`))).toBe("invalid-argument");
});

test("removing: names first, the image with the last, shared layers stay", () => {
  const bottom = plantLayer(store, digestOf("bottom"));
  const top = plantLayer(store, digestOf("top"), bottom);
  const image = put("a", ["one", "two"], [bottom, top]);
  put("b", ["other"], [bottom]);

  expect(store.images.remove("one", unused)).toEqual({
    untagged: ["docker.io/library/one:latest"],
    deleted: [],
    layers: [],
  });
  store.images.tag(image.id, "one");
  expect(kindOf(() => store.images.remove(image.id, unused))).toBe("in-use");
  store.images.untag("one");
  expect(kindOf(() => store.images.remove("two", { force: false, inUse: () => ["c1"] }))).toBe("in-use");
  const gone = store.images.remove("two", unused);
  expect(gone.deleted).toEqual([image.id]);
  expect(gone.layers).toEqual([top]);
  expect(existsSync(store.paths.layer(top))).toBe(false);
  expect(existsSync(store.paths.layer(bottom))).toBe(true);
  expect(store.content.has(image.id)).toBe(false);
  expect(existsSync(store.paths.blob(image.manifestDigest))).toBe(false);
  expect(kindOf(() => store.images.remove("two", unused))).toBe("not-found");
});

test("force takes all names, and keeps an image that a container uses", () => {
  const layer = plantLayer(store, digestOf("layer"));
  const image = put("a", ["one", "two"], [layer]);
  const kept = store.images.remove(image.id, { force: true, inUse: () => ["c1"] });
  expect(kept.untagged.length).toBe(2);
  expect(kept.deleted).toEqual([]);
  expect(store.images.get(image.id)?.names).toEqual([]);
  expect(existsSync(store.paths.diff(layer))).toBe(true);
  expect(store.images.remove(image.id, unused).deleted).toEqual([image.id]);
  expect(existsSync(store.paths.layer(layer))).toBe(false);
});

test("a lease keeps what no image needs yet", async () => {
  const { createCtx } = await import("../core/ctx.ts");
  const { streamOf } = await import("./fixture.ts");
  const layer = plantLayer(store, digestOf("layer"));
  const lease = store.leases.take("pull");
  lease.protect("layer", layer);
  const { digest } = await store.content.ingest(createCtx(), streamOf("blob"), undefined, lease);
  expect(collectGarbage(store)).toEqual({ layers: [], blobs: [], bytes: 0 });
  lease.release();
  const freed = collectGarbage(store);
  expect(freed).toEqual({ layers: [layer], blobs: [digest], bytes: 14 });
  expect(existsSync(store.paths.blob(digest))).toBe(false);
  expect(existsSync(store.paths.layer(layer))).toBe(false);
  expect(store.db.all("SELECT * FROM leases")).toEqual([]);
});
