// Artifact manifests and the names of files in them.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { join, normalize } from "node:path";
import { failure } from "../../test/fake/failure.ts";
import { EngineError } from "../core/error.ts";
import {
  artifactFiles,
  artifactManifest,
  artifactTypeOf,
  checkedTitle,
  EMPTY,
  EMPTY_BYTES,
  isArtifact,
  sniffMediaType,
  TITLE,
  UNPACK,
  withFiles,
} from "./artifact.ts";
import { digestOf } from "./digest.ts";
import type { Descriptor, Manifest } from "./image.ts";
import { parseManifest } from "./manifest.ts";

const text = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes));

function file(title: string | undefined, n = 1, more: Record<string, string> = {}): Descriptor {
  const annotations = title === undefined ? more : { [TITLE]: title, ...more };
  return { mediaType: "text/plain", digest: digestOf(String(n)), size: n, annotations };
}

const manifestOf = (...layers: Descriptor[]): Manifest =>
  parseManifest(artifactManifest({ artifactType: "a/b", files: layers, annotations: {} })) as Manifest;

const refusal = (body: () => unknown): Promise<EngineError> => failure(Promise.resolve().then(body));

describe("manifests", () => {
  test("the empty descriptor is what the specification says", () => {
    expect(digestOf(EMPTY_BYTES)).toBe(EMPTY.digest);
    expect([EMPTY_BYTES.length, Buffer.from(EMPTY_BYTES).toString("base64")]).toEqual([EMPTY.size, "e30="]);
  });

  test("without files there is the empty layer, without a config the empty config", () => {
    const bytes = artifactManifest({ artifactType: "a/b", files: [], annotations: { z: "1", a: "2" } });
    expect(text(bytes)).toEqual({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      artifactType: "a/b",
      config: EMPTY,
      layers: [EMPTY],
      annotations: { a: "2", z: "1" },
    });
    expect(artifactFiles(parseManifest(bytes) as Manifest)).toEqual([]);
  });

  test("a subject is named by type, digest and size alone", () => {
    const subject = { ...file("x"), platform: { os: "linux", architecture: "amd64" } };
    const bytes = artifactManifest({ artifactType: "a/b", files: [], annotations: {}, subject });
    const { mediaType, digest, size } = subject;
    expect(text(bytes)).toMatchObject({ subject: { mediaType, digest, size } });
    expect((text(bytes) as Manifest).subject).not.toHaveProperty("annotations");
  });

  test("files are added to what is there, and what is not known of stays", () => {
    const before = { layers: [EMPTY, file("a")], config: EMPTY, "x-unknown": [1], annotations: { k: "v" } };
    const bytes = withFiles(new TextEncoder().encode(JSON.stringify(before)), [file("b", 2)]);
    expect(text(bytes)).toEqual({ ...before, layers: [file("a"), file("b", 2)] });
  });

  test("what is an artifact, and of what type", () => {
    const image = {
      ...manifestOf(),
      config: { ...EMPTY, mediaType: "application/vnd.oci.image.config.v1+json" },
    };
    expect([isArtifact(manifestOf()), isArtifact(image)]).toEqual([true, false]);
    expect(artifactTypeOf({ ...manifestOf(), artifactType: "" })).toBe(EMPTY.mediaType);
  });
});

describe("file names", () => {
  test.each([
    ["a", "a"],
    ["./a//b/.", "a/b"],
    ["...", "..."],
    ["a..b/..c", "a..b/..c"],
    ["grüße/☃", "grüße/☃"],
  ])("%s", (title, path) => {
    expect(checkedTitle(title)).toBe(path);
  });

  test.each([
    "../../x",
    "/etc/passwd",
    "//etc/passwd",
    "a/../../b",
    "a/..",
    "..",
    "",
    ".",
    "./",
    "a\0b",
    "a\nb",
    "\u001b[2Jx",
    "..\\..\\x",
    "a\\..\\b",
    "C:\\x",
    "c:/x",
    "x".repeat(256),
    "x/".repeat(100),
    "x/".repeat(3000),
  ])("%j is refused", async (title) => {
    const error = await refusal(() => checkedTitle(title));
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "title" });
    expect(error.message).not.toMatch(/\p{Cc}/u);
  });

  test("whatever passes stays in its directory", () => {
    const part = fc.oneof(
      fc.constantFrom(".", "..", "", "a", "..a", "\\", "\\..", "..\\"),
      fc.string({ maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        const title = parts.join("/");
        let path: string;
        try {
          path = checkedTitle(title);
        } catch (error) {
          if (error instanceof EngineError) return;
          throw error;
        }
        const full = join("/base", path);
        expect(full.startsWith("/base/")).toBe(true);
        expect(full).toBe(normalize(`/base/${path}`));
        expect(path.split("/").every((name) => name !== "" && name !== "." && name !== "..")).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("a layer without a title goes by its digest; the same file twice is one", () => {
    const files = artifactFiles(manifestOf(file(undefined, 1), file("a", 2), file("./a", 2), EMPTY));
    expect(files.map(({ path }) => path)).toEqual([digestOf("1").replace(":", "-"), "a"]);
  });

  test("a directory, with and without a name", () => {
    const [named] = artifactFiles(manifestOf(file("d", 1, { [UNPACK]: "true" })));
    expect(named).toMatchObject({ path: "d", directory: true });
    const [bare] = artifactFiles(manifestOf(file(".", 1, { [UNPACK]: "true" })));
    expect(bare).toMatchObject({ path: "", directory: true });
    const [plain] = artifactFiles(manifestOf(file("d", 1, { [UNPACK]: "1" })));
    expect(plain).toMatchObject({ directory: false });
  });

  test.each([
    ["two files of one name", [file("a", 1), file("./a", 2)]],
    ["a file where another needs a directory", [file("a/b/c", 1), file("a", 2)]],
    ["the same in the other order", [file("a/b", 2), file("a/b/c", 1)]],
    ["a directory's contents beside a file", [file(".", 1, { [UNPACK]: "true" }), file("a", 2)]],
  ])("%s are refused", async (_what, layers) => {
    expect(await refusal(() => artifactFiles(manifestOf(...layers)))).toMatchObject({
      reason: "title-twice",
    });
  });
});

test.each([
  ["text/plain", Buffer.from("hello\n\tworld \u001b[1mbold\n")],
  ["text/plain", Buffer.from("grüße").subarray(0, 4)],
  ["text/plain", Buffer.alloc(0)],
  ["application/octet-stream", Buffer.from([0x61, 0, 0x62])],
  ["application/octet-stream", Buffer.from([0xff, 0xfe, 0x61])],
  ["application/gzip", Buffer.from(Bun.gzipSync(new Uint8Array(3)))],
  ["application/zip", Buffer.from("PK\u0003\u0004 and more")],
  ["application/x-tar", Buffer.concat([Buffer.alloc(257, "a"), Buffer.from("ustar\0")])],
])("a file that begins like %s", (mediaType, head) => {
  expect(sniffMediaType(head)).toBe(mediaType);
});
