// What copy makes of bad sources and bad destinations: an error that names the trouble, and nothing left behind.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { engineFixture, type EngineFixture } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { imageKinds, indexOf, type Kind, writeLayout } from "../../test/fake/image-kinds.ts";
import { TarWriter } from "../archive/tar-writer.ts";
import { createCtx } from "../core/ctx.ts";
import { copyImage, type CopyImageRequest } from "./copy-image.ts";
import { parsePlace } from "./transfer/place.ts";

const ctx = createCtx();
const kinds = imageKinds();

let fixture: EngineFixture;
let layout: string;
beforeEach(() => {
  fixture = engineFixture("copy-hostile");
  layout = writeLayout(at("layout"), kinds.oci);
});
afterEach(() => fixture[Symbol.dispose]());

const at = (name: string): string => join(fixture.path, name);

function copy(source: string, destination: string, more: Partial<CopyImageRequest> = {}, within = ctx) {
  return copyImage(within, fixture.engine, {
    source: parsePlace(source),
    destination: parsePlace(destination),
    multiArch: "all",
    preserveDigests: false,
    referrers: false,
    names: [],
    sourceRegistry: {},
    destinationRegistry: {},
    ...more,
  });
}

const destinations = () => [
  `oci:${at("out")}:v1`,
  `oci-archive:${at("out.tar")}`,
  `docker-archive:${at("out.tar")}`,
  `dir:${at("out")}`,
  "berth:localhost/out",
];

/** Nothing of ours is there. */
function expectNothing(): void {
  expect(readdirSync(fixture.path).filter((name) => name.startsWith("out") || name.startsWith("."))).toEqual(
    [],
  );
  const { engine } = fixture;
  expect(engine.images.list()).toEqual([]);
  expect(engine.manifests.list()).toEqual([]);
  expect(engine.db.all("SELECT digest FROM blobs")).toEqual([]);
  expect(engine.db.all("SELECT chain_id FROM layers")).toEqual([]);
}

const layerOf = ({ bytes }: Kind): { digest: string; size: number } =>
  (JSON.parse(Buffer.from(bytes).toString()) as { layers: [{ digest: string; size: number }] }).layers[0];
const blobFile = (digest: string): string => join(layout, "blobs", digest.replace(":", "/"));

describe("a damaged source", () => {
  const damages: [string, (file: string, size: number) => void, string][] = [
    ["truncated", (file, size) => truncateSync(file, size - 1), "data-loss"],
    ["longer", (file) => writeFileSync(file, "more", { flag: "a" }), "data-loss"],
    ["other bytes", (file, size) => writeFileSync(file, Buffer.alloc(size, 7)), "data-loss"],
    ["missing", (file) => rmSync(file), "not-found"],
    ["a link out", (file) => (rmSync(file), symlinkSync("/etc/passwd", file)), "not-found"],
    ["a directory", (file) => (rmSync(file), mkdirSync(file)), "invalid-argument"],
  ];
  test.each(damages)("%s", async (_name, damage, kind) => {
    const { digest, size } = layerOf(kinds.oci);
    damage(blobFile(digest), size);
    for (const destination of destinations()) {
      expect(await failure(copy(`oci:${layout}`, destination))).toMatchObject({ kind });
      expectNothing();
    }
  });

  test.each([
    ["another size", { size: 5 }, "data-loss"],
    ["a digest that is a path", { digest: "sha256:../../../../etc/passwd" }, "invalid-argument"],
    ["a digest of an unknown algorithm", { digest: `md5:${"0".repeat(32)}` }, "invalid-argument"],
    ["a negative size", { size: -1 }, "invalid-argument"],
  ])("index.json says %s", async (_name, wrong, kind) => {
    writeFileSync(
      join(layout, "index.json"),
      JSON.stringify({ schemaVersion: 2, manifests: [{ ...kinds.oci.top, ...wrong }] }),
    );
    expect(await failure(copy(`oci:${layout}`, `oci:${at("out")}`))).toMatchObject({ kind });
    expectNothing();
  });

  test("an index that lies about what it lists", async () => {
    const liar = indexOf([{ kind: kinds.oci, more: { size: 12 } }]);
    const other = writeLayout(at("liar"), liar);
    for (const to of [`oci:${at("out")}`, `dir:${at("out")}`, "berth:localhost/out"]) {
      expect(await failure(copy(`oci:${other}`, to))).toMatchObject({
        kind: "data-loss",
        reason: "size-mismatch",
      });
      expectNothing();
    }
  });

  test("an index without what it lists: as a whole refused, alone copied", async () => {
    const other = writeLayout(at("sparse"), {
      ...kinds.index,
      blobs: new Map([[kinds.index.top.digest, kinds.index.bytes]]),
    });
    expect(await failure(copy(`oci:${other}`, `oci:${at("out")}`))).toMatchObject({ kind: "not-found" });
    expectNothing();
    const { digest } = await copy(`oci:${other}`, `oci:${at("out")}`, { multiArch: "index-only" });
    expect(digest).toBe(kinds.index.top.digest);
  });

  test.each([
    ["not JSON", "{", "invalid-argument"],
    ["no list", "{}", "invalid-argument"],
    ["empty", '{"schemaVersion":2,"manifests":[]}', "not-found"],
    ["too large", `{"schemaVersion":2,"manifests":[]${" ".repeat(4 * 1024 * 1024)}}`, "resource-exhausted"],
  ])("index.json is %s", async (_name, text, kind) => {
    writeFileSync(join(layout, "index.json"), text);
    expect(await failure(copy(`oci:${layout}`, `oci:${at("out")}`))).toMatchObject({ kind });
    expectNothing();
  });

  test("a name that is not there says which are; several images want a name", async () => {
    expect(await failure(copy(`oci:${layout}:v2`, `oci:${at("out")}`))).toMatchObject({
      kind: "not-found",
      hint: "it has v1",
    });
    await copy(`oci:${writeLayout(at("zstd"), kinds.zstd)}`, `oci:${layout}:v2`);
    const error = await failure(copy(`oci:${layout}`, `oci:${at("out")}`));
    expect(error).toMatchObject({ reason: "ambiguous-entry", hint: "name one after a colon: v1, v2" });
    expect((await copy(`oci:${layout}:@0`, `oci:${at("out")}`)).digest).toBe(kinds.oci.top.digest);
  });
});

describe("a hostile archive", () => {
  type Entry = {
    name: string;
    type?: "file" | "symlink" | "hardlink" | "char";
    link?: string;
    bytes?: string;
  };
  function archive(...entries: Entry[]): string {
    const tar = new TarWriter();
    const parts = entries.flatMap(({ name, type = "file", link = "", bytes = "" }) => {
      const content = Buffer.from(bytes);
      const header = {
        name: Buffer.from(name),
        type,
        linkName: Buffer.from(link),
        size: content.length,
        mode: 0o644,
      };
      return [tar.header(header), content, tar.padding(content.length)];
    });
    const path = at("hostile.tar");
    writeFileSync(path, Buffer.concat([...parts, tar.end()]));
    return path;
  }
  test.each([
    ["a path out", { name: "../x", bytes: "x" }],
    ["an absolute path", { name: "/etc/x", bytes: "x" }],
    ["a device", { name: "null", type: "char" as const }],
    ["a link out", { name: "manifest.json", type: "symlink" as const, link: "/etc/passwd" }],
    ["a link up and out", { name: "a/manifest.json", type: "symlink" as const, link: "../../etc/passwd" }],
  ])("%s", async (_name, entry) => {
    for (const transport of ["oci-archive", "docker-archive"]) {
      const error = await failure(copy(`${transport}:${archive(entry)}`, `oci:${at("out")}`));
      expect(error).toMatchObject({ kind: "invalid-argument", reason: "archive-member" });
    }
    expectNothing();
  });

  test("members that are not there, nor their blobs", async () => {
    const missing = archive({ name: "manifest.json", bytes: '[{"Config":"../../etc/passwd","Layers":[]}]' });
    expect(await failure(copy(`docker-archive:${missing}`, `oci:${at("out")}`))).toMatchObject({
      kind: "invalid-argument",
    });
    const empty = archive({ name: "x", bytes: "x" });
    expect(await failure(copy(`oci-archive:${empty}`, `oci:${at("out")}`))).toMatchObject({
      reason: "not-a-layout",
    });
    writeFileSync(at("hostile.tar"), Buffer.alloc(5000, "text"));
    expect((await failure(copy(`oci-archive:${at("hostile.tar")}`, `oci:${at("out")}`))).kind).toMatch(
      /data-loss|invalid-argument/,
    );
    truncateSync(archive({ name: "index.json", bytes: "x".repeat(4000) }), 2000);
    expect(await failure(copy(`oci-archive:${at("hostile.tar")}`, `oci:${at("out")}`))).toMatchObject({
      kind: "data-loss",
    });
    expectNothing();
  });
});

describe("a destination", () => {
  test("that is somebody else's is left alone", async () => {
    mkdirSync(at("mine"));
    writeFileSync(join(at("mine"), "letter"), "dear");
    for (const transport of ["oci", "dir"]) {
      const error = await failure(copy(`oci:${layout}`, `${transport}:${at("mine")}`));
      expect(error).toMatchObject({ kind: "already-exists" });
      expect(readdirSync(at("mine"))).toEqual(["letter"]);
    }
    writeFileSync(at("file"), "content");
    for (const transport of ["oci-archive", "docker-archive", "oci", "dir"]) {
      await failure(copy(`oci:${layout}`, `${transport}:${at("file")}`));
      expect(readFileSync(at("file"), "utf8")).toBe("content");
    }
  });

  test("that is an empty file becomes the archive", async () => {
    writeFileSync(at("empty.tar"), "");
    await copy(`oci:${layout}`, `oci-archive:${at("empty.tar")}`);
    expect((await copy(`oci-archive:${at("empty.tar")}`, `dir:${at("d")}`)).digest).toBe(
      kinds.oci.top.digest,
    );
    expect(readdirSync(fixture.path).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("whose directories are links keeps what it writes inside", async () => {
    mkdirSync(at("outside"));
    mkdirSync(at("trap"));
    writeFileSync(join(at("trap"), "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    symlinkSync(at("outside"), join(at("trap"), "blobs"));
    await copy(`oci:${layout}`, `oci:${at("trap")}:v1`);
    expect(readdirSync(at("outside"))).toEqual([]);
    expect((await copy(`oci:${at("trap")}:v1`, `dir:${at("d")}`)).digest).toBe(kinds.oci.top.digest);
  });

  test("with an index.json that is a link, or malformed", async () => {
    mkdirSync(at("trap"));
    writeFileSync(at("victim"), "untouched");
    symlinkSync(at("victim"), join(at("trap"), "index.json"));
    writeFileSync(join(at("trap"), "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    await copy(`oci:${layout}`, `oci:${at("trap")}:v1`);
    expect(readFileSync(at("victim"), "utf8")).toBe("untouched");
    writeFileSync(join(at("trap"), "index.json"), '{"manifests":7}');
    expect(await failure(copy(`oci:${layout}`, `oci:${at("trap")}:v1`))).toMatchObject({
      kind: "invalid-argument",
    });
    expect(readFileSync(join(at("trap"), "index.json"), "utf8")).toBe('{"manifests":7}');
  });

  test("that has a file of the right name and size but other bytes gets the right ones", async () => {
    const { digest, size } = layerOf(kinds.oci);
    const out = writeLayout(at("damaged"), kinds.oci);
    const file = join(out, "blobs", digest.replace(":", "/"));
    writeFileSync(file, Buffer.alloc(size, 1));
    await copy(`oci:${layout}`, `oci:${out}:v1`);
    expect(readFileSync(file)).toEqual(readFileSync(blobFile(digest)));
  });

  test("directory of another image takes the new one in its place, and keeps what it does not know", async () => {
    await copy(`oci:${layout}`, `dir:${at("d")}`);
    writeFileSync(join(at("d"), "README"), "mine");
    const other = writeLayout(at("zstd"), kinds.zstd);
    await copy(`oci:${other}`, `dir:${at("d")}`);
    const names = [...kinds.zstd.blobs.keys()].map((digest) => digest.split(":")[1] as string);
    const files = names.filter((name) => !kinds.zstd.top.digest.includes(name));
    expect(readdirSync(at("d")).toSorted()).toEqual(
      [...files, "README", "manifest.json", "version"].toSorted(),
    );
  });

  test("is told apart from the source", async () => {
    await copy(`oci:${layout}`, `dir:${at("d")}`);
    expect(await failure(copy(`dir:${at("d")}`, `dir:${at("d")}`))).toMatchObject({ reason: "same-place" });
    expect((await copy(`oci:${layout}:v1`, `oci:${layout}:also`)).digest).toBe(kinds.oci.top.digest);
    const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as {
      manifests: unknown[];
    };
    expect(manifests).toHaveLength(2);
  });
});

test("a copy that is given up leaves nothing, not even directories it made", async () => {
  const places = [...destinations(), `oci:${at("out/deep/er")}:v1`, `dir:${at("out/deep/er")}`];
  for (const destination of places) {
    const abort = new AbortController();
    const within = createCtx({
      signal: abort.signal,
      progress: ({ status }) => {
        if (status === "uploading") abort.abort();
      },
    });
    const error = await failure(copy(`oci:${layout}`, destination, {}, within));
    expect({ destination, kind: error.kind }).toEqual({ destination, kind: "canceled" });
    expectNothing();
  }
});

describe("names in a layout", () => {
  const refs = (directory: string) =>
    (
      JSON.parse(readFileSync(join(directory, "index.json"), "utf8")) as {
        manifests: { digest: string; annotations?: Record<string, string> }[];
      }
    ).manifests.map(({ digest, annotations }) => [
      digest,
      annotations?.["org.opencontainers.image.ref.name"],
    ]);

  test("move to the new image; what had it stays without", async () => {
    const other = writeLayout(at("zstd"), kinds.zstd);
    await copy(`oci:${other}`, `oci:${layout}:v1`);
    expect(refs(layout)).toEqual([
      [kinds.oci.top.digest, undefined],
      [kinds.zstd.top.digest, "v1"],
    ]);
    await copy(`oci:${other}`, `oci:${layout}:v1`);
    expect(refs(layout)).toHaveLength(2);
  });

  test("all come in when many copy at once", async () => {
    const names = Array.from({ length: 12 }, (_, i) => `t${i}`);
    await Promise.all(names.map((name) => copy(`oci:${layout}:v1`, `oci:${at("shared")}:${name}`)));
    expect(
      refs(at("shared"))
        .map(([, name]) => String(name))
        .toSorted((a, b) => a.localeCompare(b)),
    ).toEqual(names.toSorted((a, b) => a.localeCompare(b)));
  });

  test("one that fails takes nothing from others that are at work", async () => {
    const broken = writeLayout(at("broken"), kinds.oci);
    rmSync(join(broken, "blobs", layerOf(kinds.oci).digest.replace(":", "/")));
    const outcomes = await Promise.allSettled([
      copy(`oci:${layout}:v1`, `oci:${at("shared")}:good`),
      copy(`oci:${broken}:v1`, `oci:${at("shared")}:bad`),
      copy(`oci:${layout}:v1`, `oci:${at("shared")}:fine`),
    ]);
    expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBeGreaterThanOrEqual(2);
    expect((await copy(`oci:${at("shared")}:good`, `dir:${at("d")}`)).digest).toBe(kinds.oci.top.digest);
    expect(existsSync(join(at("shared"), "index.json"))).toBe(true);
  });
});
