// save → load, both ways with skopeo, and archives that are wrong on purpose.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import {
  collect,
  engineFixture,
  type EngineFixture,
  makeImage,
  streamOf,
  tarOf,
} from "../../test/fake/engine.ts";
import { dockerArchive, rawTar, text } from "../../test/fake/archives.ts";
import { failure } from "../../test/fake/failure.ts";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { importRootfs } from "./import.ts";
import { load } from "./load.ts";
import { save, type SaveRequest } from "./save.ts";

const ctx = createCtx();
const first = tarOf({ "etc/one": "1" });
const second = tarOf({ "etc/two": "2" });
const haveSkopeo = existsSync("/usr/bin/skopeo");
if (!haveSkopeo) console.warn("skip: skopeo is not installed");

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("load");
});
afterEach(() => fixture[Symbol.dispose]());

async function run(...argv: string[]): Promise<void> {
  const child = Bun.spawn(argv, { stdio: ["ignore", "ignore", "pipe"] });
  const err = await new Response(child.stderr).text();
  if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")}: ${err}`);
}

function loadBytes(bytes: Uint8Array) {
  return load(ctx, fixture.engine, { source: streamOf(bytes) });
}

/** The store after a failure, or after everything was removed. */
function expectEmpty(): void {
  const { engine } = fixture;
  expect(engine.images.list()).toEqual([]);
  expect(readdirSync(engine.paths.ingest)).toEqual([]);
  expect(readdirSync(`${engine.paths.blobs}/sha256`)).toEqual([]);
  expect(engine.layers.list()).toEqual([]);
}

describe("save and load", () => {
  async function saved(request: Partial<SaveRequest> = {}): Promise<Buffer> {
    const { engine } = fixture;
    await importRootfs(ctx, engine, {
      source: streamOf(gzipSync(first)),
      name: "a/one:1",
      changes: ["ENV A=1"],
    });
    await importRootfs(ctx, engine, { source: streamOf(second), name: "b.example/two", changes: [] });
    return await collect(
      save(ctx, engine, { images: ["a/one:1", "b.example/two"], format: "docker-archive", ...request }),
    );
  }

  test.each(["docker-archive", "oci-archive"] as const)(
    "%s is the same every time and comes back as it was",
    async (format) => {
      const archive = await saved({ format });
      const { engine } = fixture;
      const before = engine.images
        .list()
        .map(({ id, manifestDigest, names }) => ({ id, manifestDigest, names }));
      const again = await collect(save(ctx, engine, { images: ["a/one:1", "b.example/two"], format }));
      expect(again.equals(archive)).toBe(true);
      using other = engineFixture("load-other");
      const loaded = await load(ctx, other.engine, { source: streamOf(archive, 1000) });
      expect(loaded.names.toSorted()).toEqual(["b.example/two:latest", "docker.io/a/one:1"]);
      const after = other.engine.images
        .list()
        .map(({ id, manifestDigest, names }) => ({ id, manifestDigest, names }));
      expect(after.toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
        before.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
      );
    },
  );

  test.each([
    ["gzip", (bytes: Uint8Array) => gzipSync(bytes)],
    ["zstd", (bytes: Uint8Array) => zstdCompressSync(bytes)],
    ["xz", (bytes: Uint8Array) => Bun.spawnSync(["xz", "-0c"], { stdin: bytes }).stdout],
    ["bzip2", (bytes: Uint8Array) => Bun.spawnSync(["bzip2", "-c"], { stdin: bytes }).stdout],
  ])("compressed with %s, from a file", async (_name, compress) => {
    const path = fixture.file("archive", compress(await saved()));
    using other = engineFixture("load-compressed");
    const { ids } = await load(ctx, other.engine, { source: { path } });
    expect(ids.length).toBe(2);
  });

  test("an image by id has no name, and the same image by two names is there once", async () => {
    await saved();
    const { engine } = fixture;
    const { id } = engine.images.resolve("a/one:1");
    engine.images.tag(id, "c.example/three:3");
    using other = engineFixture("load-names");
    const unnamed = await collect(save(ctx, engine, { images: [id.slice(7, 19)], format: "docker-archive" }));
    expect(await load(ctx, other.engine, { source: streamOf(unnamed) })).toEqual({ names: [], ids: [id] });
    const both = await collect(
      save(ctx, engine, { images: ["a/one:1", "c.example/three:3"], format: "docker-archive" }),
    );
    const { names, ids } = await load(ctx, other.engine, { source: streamOf(both) });
    expect(ids).toEqual([id]);
    expect(names.toSorted()).toEqual(["c.example/three:3", "docker.io/a/one:1"]);
  });

  test("a directory in the OCI layout and one of skopeo's", async () => {
    await saved();
    const { engine } = fixture;
    const path = join(fixture.path, "out");
    expect(
      await collect(save(ctx, engine, { images: ["a/one:1", "b.example/two"], format: "oci-dir", path })),
    ).toHaveLength(0);
    using other = engineFixture("load-dir");
    expect((await load(ctx, other.engine, { source: { path } })).names.length).toBe(2);
    const again = save(ctx, engine, { images: ["a/one:1"], format: "oci-dir", path });
    expect(await failure(collect(again))).toMatchObject({ kind: "already-exists" });
    const dir = join(fixture.path, "dir");
    await collect(save(ctx, engine, { images: ["a/one:1"], format: "docker-dir", path: dir }));
    using third = engineFixture("load-skopeo-dir");
    const { ids } = await load(ctx, third.engine, { source: { path: dir } });
    expect(ids).toEqual([engine.images.resolve("a/one:1").id]);
    expect(readdirSync(fixture.path).filter((name) => name.includes(".berth-"))).toEqual([]);
  });

  test("an unknown image writes nothing", async () => {
    await saved();
    const path = join(fixture.path, "never");
    const request: SaveRequest = { images: ["a/one:1", "nosuch"], format: "oci-dir", path };
    expect(await failure(collect(save(ctx, fixture.engine, request)))).toMatchObject({ kind: "not-found" });
    expect(existsSync(path)).toBe(false);
  });

  test.skipIf(!haveSkopeo)("skopeo reads every format, and what it writes is read", async () => {
    await saved();
    const { engine } = fixture;
    const { id } = engine.images.resolve("a/one:1");
    const at = (name: string): string => join(fixture.path, name);
    for (const format of ["docker-archive", "oci-archive"] as const) {
      writeFileSync(at(format), await collect(save(ctx, engine, { images: ["a/one:1"], format })));
    }
    await collect(save(ctx, engine, { images: ["a/one:1"], format: "oci-dir", path: at("oci-dir") }));
    await collect(save(ctx, engine, { images: ["a/one:1"], format: "docker-dir", path: at("docker-dir") }));
    const sources = [
      `docker-archive:${at("docker-archive")}:a/one:1`,
      `oci-archive:${at("oci-archive")}:1`,
      `oci:${at("oci-dir")}:1`,
      `dir:${at("docker-dir")}`,
    ];
    for (const [i, source] of sources.entries()) {
      await run("skopeo", "copy", source, `docker-archive:${at(`s${i}.tar`)}:x.example/y:${i}`);
      await run("skopeo", "copy", source, `oci-archive:${at(`o${i}.tar`)}:x.example/z:${i}`);
      using other = engineFixture("load-from-skopeo");
      expect((await load(ctx, other.engine, { source: { path: at(`s${i}.tar`) } })).names).toEqual([
        `x.example/y:${i}`,
      ]);
      const { names, ids } = await load(ctx, other.engine, { source: { path: at(`o${i}.tar`) } });
      expect(names).toEqual([`x.example/z:${i}`]);
      expect(other.engine.images.resolve(ids[0] as string).config.config.Env).toEqual(["A=1"]);
      expect(other.engine.images.resolve(ids[0] as string).config.rootfs).toEqual(
        engine.images.resolve(id).config.rootfs,
      );
    }
  });
});

describe("Docker's old archives", () => {
  const image = makeImage([first, second]);

  test("layers as tars, names normalised", async () => {
    const archive = tarOf(dockerArchive(image, [first, second], ["x:1", "quay.io/y"]));
    const { names, ids } = await loadBytes(archive);
    expect(names).toEqual(["docker.io/library/x:1", "quay.io/y:latest"]);
    expect(ids).toEqual([image.configDigest]);
  });

  test("layers compressed, no names", async () => {
    const archive = tarOf(dockerArchive(image, [gzipSync(first), zstdCompressSync(second)], null));
    expect(await loadBytes(archive)).toEqual({ names: [], ids: [image.configDigest] });
  });

  test("a layer that is a link to another member is looked up in the archive", async () => {
    const twice = makeImage([first, first, first]);
    const files = dockerArchive(twice, [first, first, first], ["x:1"]);
    const members = Object.entries(files).map(([name, bytes]) => ({
      name: `./${name}`,
      type: "file" as const,
      bytes,
    }));
    const linked = members.map((member) => {
      if (member.name === "./layer0/layer.tar")
        return { ...member, type: "symlink" as const, bytes: "", linkName: text("../layer2/layer.tar") };
      if (member.name === "./layer1/layer.tar")
        return { ...member, type: "hardlink" as const, bytes: "", linkName: text("layer2/layer.tar") };
      return member;
    });
    expect((await loadBytes(rawTar(...linked))).ids).toEqual([twice.configDigest]);
  });
});

describe("import", () => {
  test("keeps the tar, takes changes and a platform", async () => {
    const { engine } = fixture;
    const request = {
      name: "x:1",
      changes: ['CMD ["/x"]', "LABEL a=b"],
      platform: "linux/arm64",
      message: "from a test",
    };
    const record = await importRootfs(ctx, engine, { source: streamOf(gzipSync(first)), ...request });
    expect(record.names).toEqual(["docker.io/library/x:1"]);
    expect(record.config).toMatchObject({
      architecture: "arm64",
      config: { Cmd: ["/x"], Labels: { a: "b" } },
    });
    expect(record.config.history[0]?.comment).toBe("from a test");
    expect(readFileSync(`${engine.layers.diffPath(record.chainId as string)}/etc/one`, "utf8")).toBe("1");
    expect((await collect(engine.layers.tar(ctx, record.chainId as string))).equals(first)).toBe(true);
  });

  test("xz", async () => {
    const source = streamOf(Bun.spawnSync(["xz", "-0c"], { stdin: first }).stdout);
    const record = await importRootfs(ctx, fixture.engine, { source, changes: [] });
    expect(record.manifest.layers[0]).toMatchObject({
      digest: digestOf(first),
      mediaType: "application/vnd.oci.image.layer.v1.tar",
    });
  });

  test.each([
    ["a bad change", { changes: ["RUN x"] }, first, "invalid-argument"],
    ["a bad name", { name: "A" }, first, "invalid-argument"],
    ["a bad platform", { platform: "x/y/z/w" }, first, "invalid-argument"],
    ["a truncated tar", {}, first.subarray(0, 700), "data-loss"],
    ["an entry that leads out", {}, tarOf({ "../x": "x" }), "invalid-argument"],
  ])("%s", async (_name, request, bytes, kind) => {
    const source = streamOf(bytes);
    expect(
      await failure(importRootfs(ctx, fixture.engine, { source, changes: [], ...request })),
    ).toMatchObject({ kind });
    expectEmpty();
  });
});
