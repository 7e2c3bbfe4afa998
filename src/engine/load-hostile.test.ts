// Archives that are wrong on purpose.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { dockerArchive, rawTar, text } from "../../test/fake/archives.ts";
import {
  describe as describeBytes,
  engineFixture,
  type EngineFixture,
  makeImage,
  type MadeImage,
  streamOf,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { createCtx } from "../core/ctx.ts";
import { digestHex, digestOf } from "../image/digest.ts";
import { load } from "./load.ts";

const ctx = createCtx();
const first = tarOf({ "etc/one": "1" });
const second = tarOf({ "etc/two": "2" });

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("load-hostile");
});
afterEach(() => fixture[Symbol.dispose]());

function loadBytes(bytes: Uint8Array) {
  return load(ctx, fixture.engine, { source: streamOf(bytes) });
}

/** The store after a failure. */
function expectEmpty(): void {
  const { engine } = fixture;
  expect(engine.images.list()).toEqual([]);
  expect(readdirSync(engine.paths.ingest)).toEqual([]);
  expect(readdirSync(`${engine.paths.blobs}/sha256`)).toEqual([]);
  expect(engine.layers.list()).toEqual([]);
}

/** Blobs of the image, and an index.json with it. */
function layout(image: MadeImage): Record<string, string | Uint8Array> {
  const manifests = [describeBytes(image.mediaType, image.manifest)];
  const files: Record<string, string | Uint8Array> = {
    "index.json": JSON.stringify({ schemaVersion: 2, manifests }),
  };
  for (const [digest, bytes] of image.blobs) files[`blobs/sha256/${digestHex(digest)}`] = bytes;
  return files;
}

function nested(image: MadeImage, depth: number): Record<string, string | Uint8Array> {
  const files = layout(image);
  let entry = describeBytes(image.mediaType, image.manifest);
  for (let i = 0; i < depth; i++) {
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const bytes = text(JSON.stringify({ schemaVersion: 2, mediaType, manifests: [entry] }));
    entry = describeBytes(mediaType, bytes);
    files[`blobs/sha256/${digestHex(entry.digest)}`] = bytes;
  }
  return { ...files, "index.json": JSON.stringify({ schemaVersion: 2, manifests: [entry] }) };
}

describe("what is wrong is refused and changes nothing", () => {
  const image = makeImage([first]);
  const good = dockerArchive(image, [first], ["x:1"]);
  const manifest = (entry: object) =>
    JSON.stringify([{ Config: `${digestHex(image.configDigest)}.json`, RepoTags: [], ...entry }]);
  const link = (linkName: string, type: "symlink" | "hardlink" = "symlink") =>
    rawTar(
      { name: "manifest.json", type: "file", bytes: manifest({ Layers: ["l"] }) },
      { name: `${digestHex(image.configDigest)}.json`, type: "file", bytes: image.config },
      { name: "l", type, linkName: text(linkName) },
    );
  const oci = (files: Record<string, string | Uint8Array>) => tarOf({ "oci-layout": "{}", ...files });
  const entry = describeBytes(image.mediaType, image.manifest);
  const index = (...manifests: object[]) => JSON.stringify({ schemaVersion: 2, manifests });
  const cases: [name: string, archive: Uint8Array, expected: object][] = [
    ["nothing", new Uint8Array(), { kind: "invalid-argument", reason: "not-an-archive" }],
    ["no tar", text("hello ".repeat(200)), {}],
    ["a root file system", tarOf({ "etc/passwd": "root" }), { reason: "not-an-archive" }],
    ["a truncated archive", tarOf(good).subarray(0, 2500), { kind: "data-loss" }],
    ["truncated gzip", gzipSync(tarOf(good)).subarray(0, 200), { kind: "data-loss" }],
    [
      "truncated xz",
      Bun.spawnSync(["xz", "-0c"], { stdin: tarOf(good) }).stdout.subarray(0, 200),
      { kind: "data-loss" },
    ],
    [
      "a name that leads out",
      rawTar({ name: "../../x", type: "file", bytes: "x" }),
      { reason: "archive-member" },
    ],
    ["an absolute name", rawTar({ name: "/etc/x", type: "file", bytes: "x" }), { reason: "archive-member" }],
    [
      "a device",
      rawTar({ name: "x", type: "char", device: { major: 1, minor: 5 } }),
      { reason: "archive-member" },
    ],
    ["a fifo", rawTar({ name: "x", type: "fifo" }), { reason: "archive-member" }],
    ["a layer that is a link to the host", link("/etc/passwd"), { reason: "archive-member" }],
    ["a layer that is a link outwards", link("../../etc/passwd"), { reason: "archive-member" }],
    ["a layer that is a hard link outwards", link("../etc/passwd", "hardlink"), { reason: "archive-member" }],
    ["a layer that is a link to nothing", link("nothing"), { reason: "archive-incomplete" }],
    ["a layer that is a link to itself", link("l"), { reason: "archive-incomplete" }],
    ["a manifest that is no JSON", tarOf({ "manifest.json": "[{" }), { kind: "invalid-argument" }],
    ["a manifest of nothing", tarOf({ "manifest.json": "[]" }), { kind: "invalid-argument" }],
    ["a manifest of null", tarOf({ "manifest.json": "[null]" }), { kind: "invalid-argument" }],
    ["an entry without a config", tarOf({ "manifest.json": "[{}]" }), { kind: "invalid-argument" }],
    [
      "layers of numbers",
      tarOf({ "manifest.json": '[{"Config":"x","Layers":[1]}]' }),
      { kind: "invalid-argument" },
    ],
    [
      "a malformed name",
      tarOf({ ...good, "manifest.json": manifest({ Layers: ["layer0/layer.tar"], RepoTags: ["A B"] }) }),
      { kind: "invalid-argument" },
    ],
    [
      "a missing layer",
      tarOf({ ...good, "manifest.json": manifest({ Layers: ["other"] }) }),
      { reason: "archive-incomplete" },
    ],
    [
      "a layer too many",
      tarOf({ ...good, "manifest.json": manifest({ Layers: ["layer0/layer.tar", "layer0/layer.tar"] }) }),
      { reason: "layer-count-mismatch" },
    ],
    ["a layer of other bytes", tarOf({ ...good, "layer0/layer.tar": second }), { kind: "data-loss" }],
    [
      "a blob of other bytes",
      oci({
        ...layout(image),
        [`blobs/sha256/${digestHex(digestOf(image.layers[0] as Uint8Array))}`]: gzipSync(second),
      }),
      { kind: "data-loss" },
    ],
    [
      "a manifest of other bytes and the same size",
      oci({
        ...layout(image),
        [`blobs/sha256/${digestHex(image.manifestDigest)}`]: Buffer.from(image.manifest).fill(" ", 0, 1),
      }),
      { kind: "data-loss" },
    ],
    [
      "a size that is a lie",
      oci({ ...layout(image), "index.json": index({ ...entry, size: entry.size - 1 }) }),
      { kind: "data-loss" },
    ],
    [
      "a manifest that is listed as an index",
      oci({
        ...layout(image),
        "index.json": index({ ...entry, mediaType: "application/vnd.oci.image.index.v1+json" }),
      }),
      { kind: "invalid-argument" },
    ],
    [
      "an index that is a manifest as well",
      oci({
        ...layout(image),
        "index.json": JSON.stringify({ schemaVersion: 2, manifests: [entry], layers: [], config: entry }),
      }),
      { kind: "invalid-argument" },
    ],
    [
      "nothing but attestations",
      oci({
        ...layout(image),
        "index.json": index({ ...entry, platform: { os: "unknown", architecture: "unknown" } }),
      }),
      { kind: "invalid-argument" },
    ],
    ["indexes in indexes in indexes", oci(nested(image, 7)), { kind: "invalid-argument" }],
    [
      "two different manifests",
      rawTar(
        { name: "manifest.json", type: "file", bytes: manifest({ Layers: ["layer0/layer.tar"] }) },
        { name: "./manifest.json", type: "file", bytes: manifest({ Layers: [] }) },
      ),
      { reason: "archive-member" },
    ],
    [
      "the right layer, and after it a wrong one of the same name",
      rawTar(...Object.entries(good).map(([name, bytes]) => ({ name, type: "file" as const, bytes })), {
        name: "layer0/layer.tar",
        type: "file",
        bytes: second,
      }),
      { kind: "data-loss" },
    ],
    [
      "a digest that is a path in a nested name",
      oci({
        ...layout(image),
        "index.json": index({ ...entry, digest: `sha256:${"../".repeat(21)}x` }),
      }),
      { reason: "invalid-digest" },
    ],
    ["an index that is no index", oci({ "index.json": image.manifest }), { kind: "invalid-argument" }],
    ["an empty index", oci({ "index.json": index() }), { kind: "invalid-argument" }],
    [
      "an index of what is not there",
      oci({ "index.json": index(describeBytes(image.mediaType, image.manifest)) }),
      { kind: "not-found" },
    ],
    [
      "a digest that is a path",
      oci({ "index.json": index({ mediaType: image.mediaType, digest: "sha256:../../x", size: 1 }) }),
      { reason: "invalid-digest" },
    ],
    ["a huge index", oci({ "index.json": Buffer.alloc(5_000_000, " ") }), { kind: "resource-exhausted" }],
  ];
  test.each(cases)("%s", async (_name, archive, expected) => {
    expect(await failure(loadBytes(archive))).toMatchObject(expected);
    expectEmpty();
    // What is in a file is only read as far as it is wanted; what is wrong with it is the same.
    const path = fixture.file("archive.tar", archive);
    const error = await failure(load(ctx, fixture.engine, { source: { path } }));
    expect(error).toMatchObject(expected);
    expect(error.message).toContain(path);
    expectEmpty();
  });

  test("one bad image of two", async () => {
    const other = dockerArchive(makeImage([second]), [first], ["y:1"]);
    const [a] = JSON.parse(good["manifest.json"] as string) as object[];
    const [b] = JSON.parse((other["manifest.json"] as string).replace("layer0/", "bad/")) as object[];
    const files = { ...other, ...good, "bad/layer.tar": first, "manifest.json": JSON.stringify([a, b]) };
    expect(await failure(loadBytes(tarOf(files)))).toMatchObject({ kind: "data-loss" });
    expectEmpty();
  });

  test("a missing path, and links in a directory", async () => {
    expect(await failure(load(ctx, fixture.engine, { source: { path: "/nonexistent" } }))).toMatchObject({
      kind: "not-found",
    });
    const path = join(fixture.path, "layout");
    mkdirSync(join(path, "blobs/sha256"), { recursive: true });
    writeFileSync(join(path, "index.json"), index(describeBytes(image.mediaType, image.manifest)));
    symlinkSync("/etc/passwd", join(path, "blobs/sha256", digestHex(image.manifestDigest)));
    expect(await failure(load(ctx, fixture.engine, { source: { path } }))).toMatchObject({
      kind: "not-found",
    });
    expectEmpty();
  });

  test("members that no image needs do not stay", async () => {
    const archive = tarOf({ ...good, "junk.bin": Buffer.alloc(100_000, "j") });
    const { ids } = await loadBytes(archive);
    expect(fixture.engine.content.has(digestOf(Buffer.alloc(100_000, "j")))).toBe(false);
    expect(fixture.engine.images.resolve(ids[0] as string).id).toBe(image.configDigest);
  });
});

test("a wrong layer, and after it the right one of the same name, is what tar means", async () => {
  const image = makeImage([first]);
  const good = Object.entries(dockerArchive(image, [first], ["x:1"]));
  const archive = rawTar(
    { name: "layer0/layer.tar", type: "file", bytes: second },
    ...good.map(([name, bytes]) => ({ name, type: "file" as const, bytes })),
  );
  expect((await loadBytes(archive)).ids).toEqual([image.configDigest]);
  const path = fixture.file("archive.tar", archive);
  expect((await load(ctx, fixture.engine, { source: { path } })).ids).toEqual([image.configDigest]);
});

test("an archive in a file is told from one in a pipe by nothing but its speed", async () => {
  const image = makeImage([first, second]);
  const docker = dockerArchive(image, [first, gzipSync(second)], ["x:1"]);
  const oci = { "oci-layout": "{}", ...layout(image) };
  for (const archive of [tarOf(docker), tarOf(oci), gzipSync(tarOf(docker))]) {
    const path = fixture.file("archive.tar", archive);
    using other = engineFixture("load-same");
    const [a, b] = [await loadBytes(archive), await load(ctx, other.engine, { source: { path } })];
    expect(b).toEqual(a);
    const of = ({ engine }: EngineFixture) => engine.images.list().map((one) => one.manifestDigest);
    expect(of(other)).toEqual(of(fixture));
    fixture.engine.images.remove(image.configDigest, { force: true, inUse: () => [] });
  }
});

test("many entries of one image cost one", async () => {
  const image = makeImage([first]);
  const entry = describeBytes(image.mediaType, image.manifest);
  const manifests = Array.from({ length: 2000 }, (_, i) => ({
    ...entry,
    annotations: { "org.opencontainers.image.ref.name": `a.example/x:${i}` },
  }));
  const archive = tarOf({ ...layout(image), "index.json": JSON.stringify({ schemaVersion: 2, manifests }) });
  expect((await loadBytes(archive)).names.length).toBe(2000);
  expect(fixture.engine.images.list().length).toBe(1);
});
