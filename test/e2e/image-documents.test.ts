/**
 * Manifests, indexes and configs that are wrong, by every way an image comes in: pull, load, and copy from a registry and a layout. Each way
 * refuses them with the same words, leaves the store as it was, and writes nothing elsewhere.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tarOf } from "../fake/engine.ts";
import { digestOf, FakeRegistry } from "../fake/registry.ts";
import { Box, type Outcome } from "./box.ts";
import { OCI_INDEX, OCI_MANIFEST } from "./registry.ts";
import { changes, storeState } from "./store-state.ts";

const HOST = process.arch === "x64" ? "amd64" : process.arch;
const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";
const QUICK = ["--retry", "0"];

let box: Box;
let registry: FakeRegistry;
let before: string[];
let layout: string;

beforeAll(() => {
  box = new Box("documents");
  box.importBusybox();
  box.mark();
  before = storeState(box.root);
});
afterAll(() => {
  const check = box.berth(["system", "check"]);
  box.close();
  expect(check).toMatchObject({ code: 0, stdout: "" });
});
beforeEach(() => {
  registry = new FakeRegistry();
  layout = join(box.dir, "layout");
});
afterEach(async () => {
  registry[Symbol.dispose]();
  for (const name of ["layout", "layout.tar", "copied"])
    rmSync(join(box.dir, name), { recursive: true, force: true });
  const left = changes(before, box.root);
  if (left.length > 0) {
    box.berth(["rmi", "-f", "localhost/copied:1", "localhost/loaded:1", `${registry.host}/team/app:1`]);
    box.berth(["image", "prune", "-f"]);
  }
  expect(left).toEqual([]);
  expect(await box.leaks()).toEqual([]);
});

type Json = Record<string, unknown>;

const tar = new Uint8Array(tarOf({ "etc/one": "1" }));
const gzip = Bun.gzipSync(tar);
const layer = { mediaType: OCI_LAYER, digest: digestOf(gzip), size: gzip.length };
const config: Json = {
  os: "linux",
  architecture: HOST,
  config: { Cmd: ["/bin/true"] },
  rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
  history: [{ created_by: "test" }],
};

/** A manifest of the layer and this config, where `more` is in place of what is right. */
function manifestOf(value: unknown = config, more: Json = {}): Json {
  registry.addBlob(gzip);
  const blob = registry.addBlob(typeof value === "string" ? value : JSON.stringify(value));
  return {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { ...blob, mediaType: OCI_CONFIG },
    layers: [layer],
    ...more,
  };
}

function indexOf(manifest: Json, entry: Json = {}, more: Json = {}): Json {
  const bytes = JSON.stringify(manifest);
  registry.addManifest("inner", manifest);
  registry.addBlob(bytes);
  const platform = { os: "linux", architecture: HOST };
  const manifests = [
    { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.length, platform, ...entry },
  ];
  return { schemaVersion: 2, mediaType: OCI_INDEX, manifests, ...more };
}

/** The document under the tag "1" of the registry and in a layout, as a directory and as an archive. */
function offer(document: Json | string, mediaType: string): void {
  const bytes = typeof document === "string" ? document : JSON.stringify(document);
  registry.addManifest("1", bytes, mediaType);
  registry.addBlob(bytes);
  mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  for (const [digest, blob] of registry.blobs)
    writeFileSync(join(layout, "blobs/sha256", digest.slice(7)), blob);
  const annotations = { "org.opencontainers.image.ref.name": "localhost/loaded:1" };
  const manifests = [{ mediaType, digest: digestOf(bytes), size: Buffer.byteLength(bytes), annotations }];
  writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  const made = Bun.spawnSync(["tar", "-C", layout, "-cf", `${layout}.tar`, "."]);
  if (!made.success) throw new Error(made.stderr.toString());
}

const source = (): string => `docker://${registry.host}/team/app:1`;
const WAYS: Record<string, () => string[]> = {
  pull: () => ["pull", "-q", ...QUICK, `${registry.host}/team/app:1`],
  load: () => ["load", "-q", "-i", `${layout}.tar`],
  "copy from a registry": () => ["copy", "-q", ...QUICK, source(), "berth:localhost/copied:1"],
  "copy from a layout": () => ["copy", "-q", `oci:${layout}`, "berth:localhost/copied:1"],
};

async function byAllWays(ways = WAYS): Promise<Record<string, Outcome>> {
  const ended = Object.entries(ways).map(async ([way, args]) => [way, await box.async(args())] as const);
  return Object.fromEntries(await Promise.all(ended));
}

function expectRefused(outcomes: Record<string, Outcome>, says: RegExp): void {
  for (const [way, { code, stderr, stdout }] of Object.entries(outcomes)) {
    const said = stderr.split("\n").filter((line) => line.startsWith("Error: "));
    expect({ way, code, stdout, said }).toEqual({
      way,
      code: 125,
      stdout: "",
      said: [expect.stringMatching(says)],
    });
    expect(stderr).not.toMatch(/internal error|TypeError|RangeError|SyntaxError| at .*\.ts:/);
  }
}

const big = (length: number): string => "x".repeat(length);
const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

type Case = [what: string, document: () => Json | string, says: RegExp, mediaType?: string];

describe("documents:", () => {
  const cases: Case[] = [
    [
      "a manifest that is an index as well",
      () => manifestOf(config, { manifests: [] }),
      /both manifests and layers/,
    ],
    [
      "an index that is a manifest as well",
      () => indexOf(manifestOf(), {}, { layers: [layer] }),
      /both manifests and layers/,
      OCI_INDEX,
    ],
    [
      "the same in another case of letters",
      () => indexOf(manifestOf(), {}, { mediaType: undefined, Layers: [layer] }),
      /both manifests and layers/,
      OCI_INDEX,
    ],
    [
      "a manifest called an index",
      () => manifestOf(config, { mediaType: undefined }),
      /does not fit/,
      OCI_INDEX,
    ],
    ["an index called a manifest", () => indexOf(manifestOf()), /served as|does not fit/],
    [
      "a manifest that says another type",
      () => manifestOf(),
      /served as/,
      "application/vnd.docker.distribution.manifest.v2+json",
    ],
    [
      "an entry that says another type",
      () => indexOf(manifestOf(), { mediaType: OCI_INDEX }),
      /does not fit|served as/,
      OCI_INDEX,
    ],
    ["an entry of another size", () => indexOf(manifestOf(), { size: 7 }), /7/, OCI_INDEX],
    ["schema 1", () => manifestOf(config, { schemaVersion: 1, mediaType: undefined }), /schema 1/],
    ["no version of the schema", () => manifestOf(config, { schemaVersion: null }), /schemaVersion is not 2/],
    ["no config", () => manifestOf(config, { config: null }), /config is not an object/],
    ["layers that are no list", () => manifestOf(config, { layers: {} }), /layers is not a list/],
    ["a layer that is null", () => manifestOf(config, { layers: [null] }), /layers\[0\] is not an object/],
    ["nothing", () => "", /not JSON/],
    ["null", () => "null", /not an object/],
    ["a list", () => "[]", /not an object/],
    ["a document that is nested deep", () => deep(100_000), /nested deeper/],
    ["text that is not UTF-8 of JSON", () => "{\u0000}", /not JSON/],
  ];
  test.each(cases)("%s", async (...[, document, says, mediaType = OCI_MANIFEST]) => {
    offer(document(), mediaType);
    // A copy that changes nothing looks at the document all the same.
    const through = (): string[] => ["copy", "-q", ...QUICK, source(), `oci:${join(box.dir, "copied")}:1`];
    expectRefused(await byAllWays({ ...WAYS, "copy to a layout": through }), says);
    expect(existsSync(join(box.dir, "copied"))).toBe(false);
  });
});

describe("digests and sizes:", () => {
  const cases: [what: string, layer: Json, says: RegExp][] = [
    ["a path", { digest: "sha256:../../../../etc/passwd" }, /invalid digest/],
    ["a path of the right length", { digest: `sha256:${"../".repeat(21)}x` }, /invalid digest/],
    ["capital letters", { digest: layer.digest.toUpperCase().replace("SHA", "sha") }, /invalid digest/],
    ["an unknown algorithm", { digest: `md5:${"0".repeat(32)}` }, /unsupported algorithm/],
    ["the length of another algorithm", { digest: layer.digest.replace("256", "512") }, /invalid digest/],
    ["a line end", { digest: `${layer.digest}\n` }, /invalid digest/],
    ["a number", { digest: 7 }, /digest is not a string/],
    ["a negative size", { size: -1 }, /size is not a number of bytes/],
    ["a size of text", { size: String(layer.size) }, /size is not a number of bytes/],
    ["a size beyond counting", { size: 1e300 }, /size is not a number of bytes/],
    ["a size that is too small", { size: layer.size - 1 }, /bytes/],
    ["a size that is too large", { size: layer.size + 1 }, /bytes/],
    ["other bytes", { digest: digestOf("other") }, /not found|lacks|other/],
  ];
  test.each(cases)("%s", async (_what, wrong, says) => {
    offer(manifestOf(config, { layers: [{ ...layer, ...wrong }] }), OCI_MANIFEST);
    expectRefused(await byAllWays(), says);
    expect(readdirSync(box.dir).sort()).toEqual([
      "busybox-root",
      "busybox.tar",
      "layout",
      "layout.tar",
      "root",
      "run",
    ]);
  });
});

describe("configs:", () => {
  const rootfs = config["rootfs"] as Json;
  const cases: [what: string, config: unknown, says: RegExp][] = [
    ["null", "null", /invalid image config/],
    ["a list", [], /invalid image config/],
    ["no JSON", "{", /invalid image config/],
    ["without a root file system", { ...config, rootfs: null }, /rootfs is not an object/],
    ["of another kind of root file system", { ...config, rootfs: { ...rootfs, type: "vhd" } }, /rootfs.type/],
    [
      "more diff ids than layers",
      { ...config, rootfs: { ...rootfs, diff_ids: [digestOf(tar), digestOf("x")] } },
      /1 layers/,
    ],
    [
      "fewer diff ids than layers",
      { ...config, history: [], rootfs: { ...rootfs, diff_ids: [] } },
      /1 layers/,
    ],
    [
      "a diff id of another tar",
      { ...config, rootfs: { ...rootfs, diff_ids: [digestOf("x")] } },
      /does not match its digest/,
    ],
    [
      "a diff id that is a path",
      { ...config, rootfs: { ...rootfs, diff_ids: ["sha256:../../x"] } },
      /invalid digest/,
    ],
    ["more history than layers", { ...config, history: [{}, {}] }, /history names 2 layers/],
    ["history of nulls", { ...config, history: [null] }, /history\[0\]/],
    ["environment of numbers", { ...config, config: { Env: [1] } }, /config.Env/],
    ["more than 4 MiB", { ...config, author: big(4 * 1024 * 1024) }, /more than the limit/],
    ["nested deep", deep(100_000), /nested deeper/],
  ];
  test.each(cases)("%s", async (_what, value, says) => {
    offer(manifestOf(value), OCI_MANIFEST);
    expectRefused(await byAllWays(), says);
  });

  test("nulls wherever they may be are taken for nothing", async () => {
    const { rootfs: layers, os, architecture } = config;
    const nulls = { created: null, author: null, config: null, history: null, variant: null };
    offer(
      manifestOf({ os, architecture, rootfs: layers, ...nulls }, { annotations: null, subject: null }),
      OCI_MANIFEST,
    );
    for (const [way, { code, stderr }] of Object.entries(await byAllWays()))
      expect({ way, code, stderr }).toMatchObject({ way, code: 0 });
    const names = [`${registry.host}/team/app:1`, "localhost/loaded:1", "localhost/copied:1"];
    const shown = box.ok([
      "image",
      "inspect",
      "--format",
      "{{.Id}} {{json .Config}} {{json .History}}",
      ...names,
    ]);
    expect(new Set(shown.split("\n")).size).toBe(1);
    box.ok(["rmi", "-f", ...names]);
  });
});
