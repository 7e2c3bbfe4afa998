// Files of artifacts into directories of the host: names, links, what is there already, and what is left after a failure.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { engineFixture, type EngineFixture, streamOf, tarOf } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { createCtx } from "../core/ctx.ts";
import { EMPTY, TITLE, UNPACK } from "../image/artifact.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor } from "../image/image.ts";
import { extractArtifact } from "./artifact-pull.ts";
import { writeFiles } from "./artifact-write.ts";

const ctx = createCtx();
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("artifact-write");
});
afterEach(() => fixture[Symbol.dispose]());

const names = (path: string): string[] =>
  (readdirSync(path, { recursive: true }) as string[]).toSorted((a, b) => (a < b ? -1 : 1));

describe("into a directory", () => {
  let target: string;
  beforeEach(() => {
    target = join(fixture.path, "target");
    mkdirSync(target);
  });

  /** An artifact with these layers, straight into the store. */
  async function stored(
    layers: { title?: string; bytes: Uint8Array; more?: Record<string, string> }[],
  ): Promise<string> {
    const { engine } = fixture;
    using lease = engine.leases.take("load");
    const described: Descriptor[] = [];
    for (const { title, bytes, more } of layers) {
      const annotations = { ...(title === undefined ? {} : { [TITLE]: title }), ...more };
      const blob = await engine.content.ingest(ctx, streamOf(bytes), undefined, lease);
      described.push({ mediaType: "a/b", ...blob, annotations });
    }
    await engine.content.ingest(ctx, streamOf(Buffer.from("{}")), EMPTY, lease);
    const document = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      artifactType: "t/t",
      config: EMPTY,
      layers: described,
    };
    const bytes = Buffer.from(JSON.stringify(document));
    const digest = digestOf(bytes);
    engine.manifests.put({ bytes, digest, mediaType: MANIFEST, names: ["localhost/a:1"] });
    return digest;
  }

  const extract = (more: object = {}) =>
    extractArtifact(ctx, fixture.engine, { artifact: "a:1", target, overwrite: false, ...more });
  const one = (title: string, text = "new") => stored([{ title, bytes: Buffer.from(text) }]);

  test.each(["../../x", "/etc/passwd", "a/../../x", "..", "x\0y"])(
    "the name %j is refused",
    async (title) => {
      await one(title);
      expect(await failure(extract())).toMatchObject({ kind: "invalid-argument", reason: "title" });
      expect(names(target)).toEqual([]);
    },
  );

  test("a link in the directory is not followed, nor replaced by accident", async () => {
    const outside = join(fixture.path, "outside");
    mkdirSync(outside);
    symlinkSync(outside, join(target, "sub"));
    await one("sub/x");
    for (const overwrite of [false, true]) {
      expect(await failure(extract({ overwrite }))).toMatchObject({ reason: "path-in-the-way" });
    }
    expect(names(outside)).toEqual([]);
    await one("sub");
    expect(await failure(extract())).toMatchObject({ reason: "file-exists" });
    await extract({ overwrite: true });
    expect(lstatSync(join(target, "sub")).isFile()).toBe(true);
    expect(names(outside)).toEqual([]);
    expect(names(target)).toEqual(["sub"]);
  });

  test("the directory itself may be a link, or missing", async () => {
    await one("x/y");
    symlinkSync(target, join(fixture.path, "alias"));
    await extract({ target: join(fixture.path, "alias") });
    expect(names(target)).toEqual(["x", "x/y"]);
    await extract({ target: join(fixture.path, "new/deep/") });
    expect(names(join(fixture.path, "new"))).toEqual(["deep", "deep/x", "deep/x/y"]);
  });

  test("a directory that was made for nothing goes again", async () => {
    await stored([
      { title: "good", bytes: Buffer.from("good") },
      {
        title: "d",
        bytes: Buffer.from("no archive, and long enough to be looked at as one: ".repeat(20)),
        more: { [UNPACK]: "true" },
      },
    ]);
    const error = await failure(extract({ target: join(fixture.path, "made/here/") }));
    expect(["data-loss", "invalid-argument"]).toContain(error.kind);
    expect(names(fixture.path)).not.toContain("made");
  });

  test("the same file is left, another is not replaced unless asked", async () => {
    await stored([
      { title: "a", bytes: Buffer.from("same") },
      { title: "b", bytes: Buffer.from("new") },
    ]);
    writeFileSync(join(target, "a"), "same");
    const { ino } = statSync(join(target, "a"));
    const first = await extract();
    expect(first.files.map(({ existed }) => existed)).toEqual([true, false]);
    expect(statSync(join(target, "a")).ino).toBe(ino);
    writeFileSync(join(target, "b"), "old");
    expect(await failure(extract())).toMatchObject({ kind: "already-exists", reason: "file-exists" });
    expect(readFileSync(join(target, "b"), "utf8")).toBe("old");
    await extract({ overwrite: true });
    expect(readFileSync(join(target, "b"), "utf8")).toBe("new");
    expect(names(target)).toEqual(["a", "b"]);
  });

  test("a directory replaces a file and a file a directory where that is asked", async () => {
    await stored([
      { title: "f", bytes: Buffer.from("file") },
      { title: "d", bytes: tarOf({ "d/x": "x" }), more: { [UNPACK]: "true" } },
    ]);
    mkdirSync(join(target, "f/full"), { recursive: true });
    writeFileSync(join(target, "d"), "old");
    expect(await failure(extract())).toMatchObject({ reason: "file-exists" });
    await extract({ overwrite: true });
    expect(names(target)).toEqual(["d", "d/x", "f"]);
  });

  test("when the last one cannot be put, those before are taken back and what was replaced returns", async () => {
    await stored([
      { title: "a", bytes: Buffer.from("new") },
      { title: "deep/er/b", bytes: Buffer.from("new") },
      { title: "c", bytes: tarOf({ "other/x": "x" }), more: { [UNPACK]: "true" } },
    ]);
    writeFileSync(join(target, "a"), "old");
    const { engine } = fixture;
    const rename = engine.sys.rename.bind(engine.sys);
    let count = 0;
    // The disk fails at the last rename.
    engine.sys.rename = (...args) => {
      if (Buffer.from(args[3] as string).toString() === "c" && ++count === 1) throw new Error("disk on fire");
      rename(...args);
    };
    try {
      await extract({ overwrite: true });
      throw new Error("it did not fail");
    } catch (error) {
      expect(String(error)).toContain("disk on fire");
    } finally {
      engine.sys.rename = rename;
    }
    expect(names(target)).toEqual(["a"]);
    expect(readFileSync(join(target, "a"), "utf8")).toBe("old");
  });

  test("whoever owns the directory cannot lead the unpacker out of it", async () => {
    const outside = join(fixture.path, "outside");
    mkdirSync(outside);
    const bytes = tarOf({ "d/x": "x" });
    const file = { mediaType: "a/b", digest: digestOf(bytes), size: bytes.length };
    const swapped = async function* (): AsyncGenerator<Uint8Array> {
      const staging = names(target).find((name) => name.startsWith(".berth-artifact-")) as string;
      renameSync(join(target, staging), join(fixture.path, "aside"));
      mkdirSync(join(outside, "0"));
      symlinkSync(outside, join(target, staging));
      await Promise.resolve();
      yield bytes;
    };
    await writeFiles(ctx, fixture.engine, {
      files: [{ path: "d", directory: true, descriptor: file }],
      directory: target,
      overwrite: false,
      blob: swapped,
    });
    expect(names(outside)).toEqual(["0"]);
    expect(names(target)).toEqual(["d", "d/x"]);
  });

  test("what a killed process has left goes, what a living one holds stays", async () => {
    mkdirSync(join(target, ".berth-artifact-dead/half"), { recursive: true });
    mkdirSync(join(target, ".berth-artifact-live"));
    const { sys } = fixture.engine;
    const fd = sys.open(join(target, ".berth-artifact-live"), 0);
    try {
      sys.flock(fd, "exclusive", false);
      await one("x");
      await extract();
      expect(names(target)).toEqual([".berth-artifact-live", "x"]);
    } finally {
      sys.close(fd);
    }
  });

  test("directories with and without their own name in front, and without a name", async () => {
    const more = { [UNPACK]: "true" };
    await stored([
      {
        title: "one",
        bytes: Bun.gzipSync(tarOf({ "one/a": "1", "one/b": "2" }) as Uint8Array<ArrayBuffer>),
        more,
      },
      { title: "two/deep", bytes: tarOf({ "two/deep/a": "1" }), more },
      { title: "bare", bytes: tarOf({ a: "1", "one/c": "2" }), more },
    ]);
    await extract();
    expect(names(target)).toEqual([
      "bare",
      "bare/a",
      "bare/one",
      "bare/one/c",
      "one",
      "one/a",
      "one/b",
      "two",
      "two/deep",
      "two/deep/a",
    ]);
    const flat = join(fixture.path, "flat");
    await stored([{ title: ".", bytes: tarOf({ a: "1", "b/c": "2" }), more }]);
    await extract({ target: flat });
    expect(names(flat)).toEqual(["a", "b", "b/c"]);
    expect(await failure(extract({ target: flat }))).toMatchObject({ reason: "file-exists" });
  });

  test("a directory whose content is not what it says", async () => {
    const more = { [UNPACK]: "true", "io.deis.oras.content.digest": digestOf("other") };
    await stored([{ title: "d", bytes: tarOf({ "d/a": "1" }), more }]);
    expect(await failure(extract())).toMatchObject({ kind: "data-loss", reason: "digest-mismatch" });
    expect(names(target)).toEqual([]);
  });

  test("one by its title or digest, to a name of one's own", async () => {
    await stored([
      { title: "a", bytes: Buffer.from("1") },
      { title: "b", bytes: Buffer.from("22") },
      { bytes: Buffer.from("333") },
    ]);
    const to = join(target, "mine");
    await extract({ target: to, title: "b" });
    expect(readFileSync(to, "utf8")).toBe("22");
    const digest = digestOf("333");
    await extract({ digest });
    expect(names(target)).toEqual(["mine", digest.replace(":", "-")]);
    await extract({ digest: digestOf("1").slice(7, 20) });
    expect(readFileSync(join(target, "a"), "utf8")).toBe("1");
    expect(await failure(extract({ title: "zzz" }))).toMatchObject({ reason: "artifact-file-unknown" });
  });
});
