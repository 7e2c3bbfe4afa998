// Indexes on their way out of a store and into another: whole, sparse, nested, by platform.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  collect,
  describe as describeBytes,
  engineFixture,
  type EngineFixture,
  makeImage,
  streamOf,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { layoutFiles, makeIndex, storeIndex } from "../../test/fake/stored-index.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import { digestHex, digestOf } from "../image/digest.ts";
import { collectGarbage } from "../storage/gc.ts";
import { load, type LoadRequest } from "./load.ts";
import { save } from "./save.ts";

const ctx = createCtx();
const NAME = "local/multi:1";
const FULL = "docker.io/local/multi:1";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("load-index");
});
afterEach(() => fixture[Symbol.dispose]());

function loadFile(bytes: Uint8Array, more: Omit<LoadRequest, "source"> = {}) {
  return load(ctx, fixture.engine, { source: { path: fixture.file("archive.tar", bytes) }, ...more });
}

describe.each(["a file", "a stream"])("from %s", (kind) => {
  const loaded = (bytes: Uint8Array, more: Omit<LoadRequest, "source"> = {}) =>
    kind === "a file"
      ? loadFile(bytes, more)
      : load(ctx, fixture.engine, { source: streamOf(bytes), ...more });

  test("this host's platform, or the one asked for", async () => {
    const index = makeIndex();
    const archive = tarOf(layoutFiles(index, NAME));
    const host = process.arch === "x64" ? 0 : undefined;
    if (host !== undefined)
      expect(await loaded(archive)).toEqual({
        names: [FULL],
        ids: [index.images[host]?.configDigest as string],
      });
    const other = await loaded(archive, { platform: "linux/s390x" });
    expect(other).toEqual({ names: [FULL], ids: [index.images[1]?.configDigest as string] });
    expect(fixture.engine.images.resolve(NAME).config.architecture).toBe("s390x");
    expect(await failure(loaded(archive, { platform: "linux/riscv64" }))).toMatchObject({
      kind: "not-found",
    });
  });

  test("all platforms: the name is the index's, and everything is kept", async () => {
    const index = makeIndex();
    const { engine } = fixture;
    await loaded(tarOf(layoutFiles(index, NAME)), { allPlatforms: true });
    collectGarbage(engine.store);
    expect(engine.manifests.resolve(NAME).digest).toBe(index.digest);
    for (const image of [...index.images, index.statement])
      for (const [digest, bytes] of image.blobs)
        expect(Buffer.from(engine.content.read(digest)).equals(Buffer.from(bytes))).toBe(true);
    if (process.arch === "x64")
      expect(engine.images.resolve(NAME).id).toBe(index.images[0]?.configDigest as string);
  });

  test("a sparse index: what is not there is not kept", async () => {
    const index = makeIndex();
    const files = layoutFiles(index, NAME);
    for (const digest of index.images[1]?.blobs.keys() ?? [])
      delete files[`blobs/sha256/${digestHex(digest)}`];
    const archive = tarOf(files);
    if (process.arch !== "x64") return console.warn("skip: the index is made for amd64");
    expect((await loaded(archive, { allPlatforms: true })).names).toEqual([FULL]);
    const { engine } = fixture;
    expect(engine.manifests.resolve(NAME).digest).toBe(index.digest);
    expect(engine.content.has(index.images[1]?.manifestDigest as string)).toBe(false);
    expect(await failure(loaded(archive, { platform: "linux/s390x" }))).toMatchObject({
      reason: "archive-incomplete",
    });
  });

  test("indexes within an index, and several names", async () => {
    const index = makeIndex();
    const files = layoutFiles(index, NAME);
    const inner = { mediaType: OCI_INDEX, digest: index.digest, size: index.bytes.length };
    const outer = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [inner] }));
    files[`blobs/sha256/${digestHex(digestOf(outer))}`] = outer;
    const single = makeImage([tarOf({ single: "" })]);
    for (const [digest, bytes] of single.blobs) files[`blobs/sha256/${digestHex(digest)}`] = bytes;
    const named = (entry: object, name: string) => ({
      ...entry,
      annotations: { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": "tag" },
    });
    const top = describeBytes(OCI_INDEX, outer);
    const image = describeBytes(single.mediaType, single.manifest);
    files["index.json"] = JSON.stringify({
      schemaVersion: 2,
      manifests: [
        named(top, "a.example/x:1"),
        named(top, "a.example/x:2"),
        named(image, "b.example/y:1"),
        image,
      ],
    });
    const { names } = await loaded(tarOf(files), { allPlatforms: true, platform: "linux/amd64" });
    expect(names.toSorted()).toEqual(["a.example/x:1", "a.example/x:2", "b.example/y:1"]);
    const { engine } = fixture;
    expect(engine.manifests.resolve("a.example/x:2").digest).toBe(digestOf(outer));
    expect(engine.content.has(index.statement.configDigest)).toBe(true);
    expect(engine.images.resolve("b.example/y:1").id).toBe(single.configDigest);
  });
});

describe("saved", () => {
  test.each(["oci-archive", "docker-archive"] as const)("as %s an index comes back whole", async (format) => {
    const { engine } = fixture;
    const index = await storeIndex(engine, NAME);
    const archive = await collect(save(ctx, engine, { images: [NAME], format }));
    expect((await collect(save(ctx, engine, { images: [NAME], format }))).equals(archive)).toBe(true);
    using other = engineFixture("load-index-other");
    await load(ctx, other.engine, { source: streamOf(archive), allPlatforms: true, platform: "linux/amd64" });
    expect(other.engine.manifests.resolve(NAME).digest).toBe(index.digest);
    for (const image of [...index.images, index.statement])
      for (const digest of image.blobs.keys()) expect(other.engine.content.has(digest)).toBe(true);
  });

  test("one platform of it is an image like any other", async () => {
    const { engine } = fixture;
    const index = await storeIndex(engine, NAME);
    const request = { images: [NAME], platform: "linux/s390x" };
    const archive = await collect(save(ctx, engine, { ...request, format: "docker-archive" }));
    using other = engineFixture("load-index-other");
    const { ids, names } = await load(ctx, other.engine, { source: streamOf(archive) });
    expect([ids, names]).toEqual([[index.images[1]?.configDigest as string], [FULL]]);
    const path = join(fixture.path, "dir");
    await collect(save(ctx, engine, { ...request, format: "docker-dir", path }));
    expect(existsSync(join(path, digestHex(index.images[1]?.configDigest as string)))).toBe(true);
    expect(
      await failure(collect(save(ctx, engine, { images: [NAME], format: "docker-dir", path: `${path}2` }))),
    ).toMatchObject({ kind: "invalid-argument" });
    expect(existsSync(`${path}2`)).toBe(false);
  });

  test("a sparse index goes without what is missing, and says so", async () => {
    const { engine } = fixture;
    const index = await storeIndex(engine, NAME, { sparse: true });
    const lines: string[] = [];
    const log = createLog({ write: (line) => lines.push(line), level: "warn" });
    const archive = await collect(save({ ...ctx, log }, engine, { images: [NAME], format: "oci-archive" }));
    expect(lines.join("")).toContain("2 of the 3 images");
    expect(archive.includes(digestHex(index.images[0]?.manifestDigest as string))).toBe(true);
    engine.manifests.put({
      bytes: Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          manifests: [
            { mediaType: index.images[1]?.mediaType, digest: index.images[1]?.manifestDigest, size: 1 },
          ],
        }),
      ),
      digest: digestOf(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: OCI_INDEX,
          manifests: [
            { mediaType: index.images[1]?.mediaType, digest: index.images[1]?.manifestDigest, size: 1 },
          ],
        }),
      ),
      mediaType: OCI_INDEX,
      names: ["local/none:1"],
    });
    expect(
      await failure(collect(save(ctx, engine, { images: ["local/none:1"], format: "oci-archive" }))),
    ).toMatchObject({ reason: "sparse-index" });
  });

  const haveSkopeo = existsSync("/usr/bin/skopeo");
  if (!haveSkopeo) console.warn("skip: skopeo is not installed");
  test.skipIf(!haveSkopeo)("skopeo sees the same index, and writes one that is loaded whole", async () => {
    const { engine } = fixture;
    const index = await storeIndex(engine, NAME);
    const path = join(fixture.path, "out.tar");
    writeFileSync(path, await collect(save(ctx, engine, { images: [NAME], format: "oci-archive" })));
    const raw = Bun.spawnSync(["skopeo", "inspect", "--raw", `oci-archive:${path}`]).stdout;
    expect(digestOf(raw)).toBe(index.digest);
    const layout = join(fixture.path, "layout");
    const copied = Bun.spawnSync(["skopeo", "copy", "--all", `oci-archive:${path}`, `oci:${layout}:${NAME}`]);
    expect(copied.exitCode).toBe(0);
    using other = engineFixture("load-index-skopeo");
    const source = { path: layout };
    await load(ctx, other.engine, { source, allPlatforms: true, platform: "linux/amd64" });
    expect(other.engine.manifests.resolve(NAME).digest).toBe(index.digest);
  });
});
