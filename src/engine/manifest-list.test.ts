// Lists made here, of what the store has and of what a registry has; indexes pulled whole; hostile ones.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import {
  engineFixture,
  type EngineFixture,
  makeImage,
  type MadeImage,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Platform } from "../image/image.ts";
import { isIndex } from "../image/manifest.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../image/media-types.ts";
import { hostPlatform } from "../image/platform.ts";
import { listImages, tag, untag } from "./images.ts";
import { addToList, annotateEntry, createList, removeFromList } from "./manifest-list.ts";
import { pushList } from "./manifest-push.ts";
import { removeList } from "./manifest-remove.ts";
import { pull } from "./pull.ts";
import { pullAllPlatforms } from "./pull-index.ts";
import { removeImage } from "./remove-image.ts";

const ctx = createCtx();
const host = hostPlatform();
const foreign: Platform = { os: "linux", architecture: host.architecture === "s390x" ? "riscv64" : "s390x" };
const retry = { retries: 1, baseMs: 5, stallMs: 2000 };
const options = { registry: { retry } };

let fixture: EngineFixture;
let registry: FakeRegistry;
beforeEach(() => {
  fixture = engineFixture("manifest");
  registry = new FakeRegistry();
});
afterEach(() => {
  registry[Symbol.dispose]();
  fixture[Symbol.dispose]();
});

function imageFor(platform: Platform, text: string): MadeImage {
  return makeImage([tarOf({ "etc/which": text })], { config: platform });
}

/** Puts the image's parts into the registry; returns its entry for an index. */
function serve(image: MadeImage, platform?: Platform): Descriptor {
  for (const bytes of image.blobs.values()) registry.addBlob(bytes);
  registry.addManifest(`x-${image.manifestDigest.slice(7, 19)}`, Buffer.from(image.manifest).toString());
  const entry = { mediaType: OCI_MANIFEST, digest: image.manifestDigest, size: image.manifest.length };
  return platform === undefined ? entry : { ...entry, platform };
}

function serveIndex(name: string, manifests: object[], more: object = {}): string {
  return registry.addManifest(
    name,
    { schemaVersion: 2, mediaType: OCI_INDEX, manifests, ...more },
    OCI_INDEX,
  );
}

const name = (tagName: string): string => `${registry.host}/team/app:${tagName}`;

async function pulled(tagName: string): Promise<MadeImage[]> {
  const images = [imageFor(host, "host"), imageFor(foreign, "foreign")] as const;
  serveIndex(tagName, [serve(images[1], foreign), serve(images[0], host)]);
  await pullAllPlatforms(ctx, fixture.engine, { reference: name(tagName), ...options });
  return [...images];
}

function entries(list: string): Descriptor[] {
  const { document } = fixture.engine.manifests.resolve(list);
  return isIndex(document) ? document.manifests : [];
}

function expectNothingLeft(): void {
  const { engine } = fixture;
  expect(engine.manifests.list()).toEqual([]);
  expect(engine.images.list()).toEqual([]);
  expect(engine.db.all("SELECT * FROM blobs")).toEqual([]);
  expect(engine.db.all("SELECT * FROM blob_refs")).toEqual([]);
  expect(readdirSync(engine.paths.ingest)).toEqual([]);
}

describe("pull --all-platforms", () => {
  test("the host's image is unpacked, others are kept as blobs, and all goes with the name", async () => {
    const { engine } = fixture;
    const [own, other] = (await pulled("v1")) as [MadeImage, MadeImage];
    const image = engine.images.resolve(name("v1"));
    expect(image.id).toBe(own.configDigest);
    expect(image.names).toEqual([name("v1")]);
    expect(readFileSync(`${engine.layers.diffPath(image.chainId as string)}/etc/which`, "utf8")).toBe("host");
    expect(engine.layers.list().length).toBe(1);
    for (const digest of other.blobs.keys()) expect(engine.content.has(digest)).toBe(true);

    const listed = listImages(ctx, engine, { all: false, filters: [] });
    expect(listed.map((one) => [one.name, one.record.id])).toEqual([
      [name("v1"), engine.manifests.resolve(name("v1")).digest],
    ]);
    expect(listed[0]?.record.size).toBeGreaterThan(0);
    expect(listImages(ctx, engine, { all: true, filters: [] }).length).toBe(2);
    const filters = [{ key: "manifest", value: "true" }];
    expect(listImages(ctx, engine, { all: true, filters }).length).toBe(1);

    const removed = await removeImage(ctx, engine, { image: name("v1"), force: false });
    expect(removed.deleted).toContain(own.configDigest);
    expectNothingLeft();
  });

  test("an ordinary pull of the same index leaves its name where it is", async () => {
    const { engine } = fixture;
    await pulled("v1");
    await pull(ctx, engine, { reference: name("v1"), policy: "always", ...options });
    expect(engine.manifests.find(name("v1"))).toBeDefined();
    const newer = imageFor(host, "newer");
    serveIndex("v1", [serve(newer, host)]);
    const record = await pull(ctx, engine, { reference: name("v1"), policy: "newer", ...options });
    expect(record.id).toBe(newer.configDigest);
    expect(engine.manifests.find(name("v1"))).toBeUndefined();
    expect(engine.manifests.list()[0]?.names).toEqual([]);
  });

  test("another platform is unpacked from what is here, without a registry", async () => {
    const { engine } = fixture;
    const [, other] = (await pulled("v1")) as [MadeImage, MadeImage];
    registry.seen.length = 0;
    const platform = `${foreign.os}/${foreign.architecture}`;
    const image = await pull(ctx, engine, { reference: name("v1"), policy: "never", platform, registry: {} });
    expect(image.id).toBe(other.configDigest);
    expect(registry.seen).toEqual([]);
    const nothing = pull(ctx, engine, {
      reference: name("v1"),
      policy: "missing",
      platform: "plan9/386",
      registry: {},
    });
    expect(await failure(nothing)).toMatchObject({ kind: "not-found", reason: "no-matching-platform" });
  });

  test("a single image is pulled as ever", async () => {
    const image = imageFor(host, "alone");
    for (const bytes of image.blobs.values()) registry.addBlob(bytes);
    registry.addManifest("one", Buffer.from(image.manifest).toString());
    const got = await pullAllPlatforms(ctx, fixture.engine, { reference: name("one"), ...options });
    expect(got).toEqual({ digest: image.manifestDigest, image: image.configDigest });
    expect(fixture.engine.images.resolve(name("one")).names).toEqual([name("one")]);
  });

  test.each([
    ["an entry of another size", (e: Descriptor) => [{ ...e, size: e.size + 1 }], {}, "data-loss"],
    [
      "a digest that leads elsewhere",
      (e: Descriptor) => [{ ...e, digest: "sha256:../../x" }],
      {},
      "invalid-argument",
    ],
    ["a negative size", (e: Descriptor) => [{ ...e, size: -1 }], {}, "invalid-argument"],
    ["an entry that nobody has", (e: Descriptor) => [{ ...e, digest: digestOf("no") }], {}, "not-found"],
    ["another type than it is", (e: Descriptor) => [{ ...e, mediaType: OCI_INDEX }], {}, "invalid-argument"],
    ["manifests and layers", (e: Descriptor) => [e], { layers: [] }, "invalid-argument"],
  ] as const)("an index with %s is refused, and nothing is left", async (_, manifests, more, kind) => {
    serveIndex("bad", manifests(serve(imageFor(host, "x"), host)), more);
    const request = { reference: name("bad"), ...options };
    expect(await failure(pullAllPlatforms(ctx, fixture.engine, request))).toMatchObject({ kind });
    const { collectGarbage } = await import("../storage/gc.ts");
    collectGarbage(fixture.engine.store);
    expectNothingLeft();
  });

  test("indexes within indexes to a depth; the same entry and platform twice", async () => {
    const { engine } = fixture;
    const image = imageFor(host, "deep");
    const second = imageFor(host, "second");
    let manifests: object[] = [serve(image, host), serve(image, host), serve(second, host)];
    for (let depth = 0; depth < 4; depth++) {
      const digest = serveIndex(`d${depth}`, manifests);
      manifests = [{ mediaType: OCI_INDEX, digest, size: registry.manifests.get(digest)?.bytes.length }];
    }
    await pullAllPlatforms(ctx, engine, { reference: name("d3"), ...options });
    expect(engine.images.resolve(name("d3")).id).toBe(image.configDigest);
    expect(listImages(ctx, engine, { all: false, filters: [] }).map((one) => one.name)).toEqual([name("d3")]);
    serveIndex("d4", manifests);
    serveIndex("d5", [
      {
        ...manifests[0],
        digest: registry.addManifest(
          "d4b",
          { schemaVersion: 2, mediaType: OCI_INDEX, manifests, annotations: { a: "" } },
          OCI_INDEX,
        ),
        size: JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests, annotations: { a: "" } })
          .length,
      },
    ]);
    const tooDeep = pullAllPlatforms(ctx, engine, { reference: name("d5"), ...options });
    expect(await failure(tooDeep)).toMatchObject({ reason: "index-nesting" });
    await removeImage(ctx, engine, { image: name("d3"), force: false });
    expectNothingLeft();
  });
});

describe("lists made here", () => {
  test("of remote images: only what they are is kept, until somebody runs or pushes them", async () => {
    const { engine } = fixture;
    const images = [imageFor(host, "host"), imageFor(foreign, "foreign")] as const;
    serveIndex("all", [serve(images[0], host), serve(images[1], foreign)]);
    const remote = `docker://${name("all")}`;
    const base = { all: false, annotations: {}, amend: false, ...options };
    await createList(ctx, engine, { ...base, name: "mine", images: [remote] });
    expect(entries("mine").map((entry) => entry.digest)).toEqual([images[0].manifestDigest]);
    const add = { list: "mine", images: [remote], all: true, change: {}, indexAnnotations: {}, ...options };
    await addToList(ctx, engine, add);
    expect(entries("mine").map((entry) => entry.platform)).toEqual([host, foreign]);
    expect(engine.images.list()).toEqual([]);
    // The host's and the lists themselves: one document is left.
    expect(engine.manifests.list().length).toBe(1);

    await annotateEntry(ctx, engine, {
      list: "mine",
      image: images[1].manifestDigest,
      change: { variant: "v9", annotations: { who: "me" } },
      ...options,
    });
    expect(entries("mine")[1]).toMatchObject({
      platform: { ...foreign, variant: "v9" },
      annotations: { who: "me" },
    });

    const destination = `docker://${registry.host}/other/app:2`;
    const { digest } = await pushList(ctx, engine, {
      list: "mine",
      destination,
      all: true,
      remove: false,
      ...options,
    });
    expect(digest).toBe(engine.manifests.resolve("mine").digest);
    expect(registry.manifests.has("2")).toBe(true);
    expect(engine.manifests.resolve("mine").repoDigests).toEqual([`${registry.host}/other/app@${digest}`]);

    const record = await pull(ctx, engine, { reference: "mine", policy: "missing", ...options });
    expect(record.id).toBe(images[0].configDigest);
    const left = { list: "mine", images: [images[1].manifestDigest], ...options };
    await removeFromList(ctx, engine, left);
    expect(await failure(removeFromList(ctx, engine, left))).toMatchObject({ kind: "not-found" });
    expect(await failure(removeFromList(ctx, engine, { ...left, images: ["sha256:../x"] }))).toMatchObject({
      kind: "invalid-argument",
    });
    await removeList(ctx, engine, { list: "mine" });
    expectNothingLeft();
  });

  test("of images of the store, which stay as long as the list", async () => {
    const { engine } = fixture;
    const image = imageFor(host, "own");
    serve(image);
    registry.addManifest("own", Buffer.from(image.manifest).toString());
    await pull(ctx, engine, { reference: name("own"), policy: "always", ...options });
    const base = { all: false, annotations: { top: "1" }, amend: false, ...options };
    await createList(ctx, engine, {
      ...base,
      name: "mine:1",
      images: [name("own"), `containers-storage:${name("own")}`],
    });
    expect(entries("mine:1")).toEqual([
      {
        mediaType: OCI_MANIFEST,
        digest: image.manifestDigest,
        size: image.manifest.length,
        platform: host,
      },
    ]);
    tag(ctx, engine, { image: "mine:1", names: ["mine:2"] });
    await addToList(ctx, engine, {
      list: "mine:2",
      images: [],
      all: false,
      change: {},
      indexAnnotations: { b: "2" },
      ...options,
    });
    // Only the name that was asked for.
    expect(engine.manifests.resolve("mine:1").digest).not.toBe(engine.manifests.resolve("mine:2").digest);
    await removeImage(ctx, engine, { image: name("own"), force: false });
    for (const digest of image.blobs.keys()) expect(engine.content.has(digest)).toBe(true);
    expect((await pull(ctx, engine, { reference: "mine:1", policy: "never", registry: {} })).id).toBe(
      image.configDigest,
    );
    untag(ctx, engine, { image: "mine:1", names: [] });
    await removeList(ctx, engine, { list: "mine:2" });
    expect(engine.manifests.list()).toEqual([]);
  });

  test("names that are taken, and things that are no list", async () => {
    const { engine } = fixture;
    const image = imageFor(host, "own");
    serve(image);
    registry.addManifest("own", Buffer.from(image.manifest).toString());
    await pull(ctx, engine, { reference: name("own"), policy: "always", ...options });
    const request = { images: [], all: false, annotations: {}, ...options };
    await createList(ctx, engine, { ...request, name: "a", amend: false });
    await createList(ctx, engine, { ...request, name: "b", amend: false });
    expect(await failure(createList(ctx, engine, { ...request, name: "a", amend: false }))).toMatchObject({
      kind: "already-exists",
    });
    await createList(ctx, engine, { ...request, name: "a", amend: true, images: [name("own")] });
    expect([entries("a").length, entries("b").length]).toEqual([1, 0]);
    for (const amend of [true, false]) {
      const taken = createList(ctx, engine, { ...request, name: name("own"), amend });
      expect(await failure(taken)).toMatchObject({ kind: "already-exists" });
    }
    const add = { images: [name("own")], all: false, change: {}, indexAnnotations: {}, ...options };
    expect(await failure(addToList(ctx, engine, { ...add, list: name("own") }))).toMatchObject({
      reason: "not-a-manifest-list",
    });
    expect(await failure(addToList(ctx, engine, { ...add, list: "none" }))).toMatchObject({
      kind: "not-found",
    });
    const bad = createList(ctx, engine, { ...request, name: "c", amend: false, images: [name("nothing")] });
    expect(await failure(bad)).toMatchObject({ kind: "not-found" });
    expect(engine.manifests.find("c")).toBeUndefined();
    expect(
      await failure(createList(ctx, engine, { ...request, name: "Not A Name", amend: false })),
    ).toMatchObject({ kind: "invalid-argument" });
  });

  test("two who change a list at the same time both get what they wanted", async () => {
    const { engine } = fixture;
    const request = { images: [], all: false, annotations: {}, amend: false, ...options };
    await createList(ctx, engine, { ...request, name: "both" });
    const images = Array.from({ length: 6 }, (_, i) => imageFor(host, String(i)));
    const places = images.map((image, i) => {
      serve(image);
      registry.addManifest(`p${i}`, Buffer.from(image.manifest).toString());
      return `docker://${name(`p${i}`)}`;
    });
    const add = { all: false, change: {}, indexAnnotations: {}, ...options };
    await Promise.all(
      places.map((place) => addToList(ctx, engine, { ...add, list: "both", images: [place] })),
    );
    expect(entries("both").length).toBe(6);
    expect(engine.manifests.list().length).toBe(1);
    expect(existsSync(engine.paths.blob(engine.manifests.resolve("both").digest))).toBe(true);
  });

  // Took half a minute when the store was asked the wrong way round.
  test("a list of 10,000 is listed and added to as any other", async () => {
    const { engine } = fixture;
    const image = imageFor(host, "own");
    serve(image);
    registry.addManifest("own", Buffer.from(image.manifest).toString());
    await pull(ctx, engine, { reference: name("own"), policy: "always", ...options });
    const many = Array.from({ length: 10_000 }, (_, i) => ({
      mediaType: OCI_MANIFEST,
      digest: digestOf(String(i)),
      size: i,
      platform: foreign,
    }));
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: many }));
    engine.manifests.put({ bytes, digest: digestOf(bytes), mediaType: OCI_INDEX, names: ["big"] });
    const add = { list: "big", images: [name("own")], all: false, change: {}, indexAnnotations: {} };
    await addToList(ctx, engine, { ...add, ...options });
    const listed = listImages(ctx, engine, { all: false, filters: [] });
    expect(listed.map((one) => one.name).toSorted()).toEqual(
      [name("own"), "docker.io/library/big:latest"].toSorted(),
    );
    expect(engine.images.resolve("big").id).toBe(image.configDigest);
  });
});
