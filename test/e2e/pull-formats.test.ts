// Every compression, media type and digest algorithm that layers come in, unpacked to the same files.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { tarOf } from "../fake/engine.ts";
import { FakeRegistry } from "../fake/registry.ts";
import { Box } from "./box.ts";
import { OCI_MANIFEST } from "./registry.ts";

let box: Box;
let registry: FakeRegistry;
beforeAll(() => {
  box = new Box("formats");
  box.ok(["ps"]);
  box.mark();
});
afterAll(() => box.close());
beforeEach(() => (registry = new FakeRegistry()));
afterEach(async () => {
  registry[Symbol.dispose]();
  box.berth(["rmi", "-f", "-a"]);
  box.ok(["image", "prune", "-f"]);
  expect(readdirSync(join(box.root, "layers"))).toEqual([]);
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  expect(await box.leaks()).toEqual([]);
});

type Algorithm = "sha256" | "sha512";

function digestOf(bytes: Uint8Array, algorithm: Algorithm = "sha256"): string {
  return `${algorithm}:${new Bun.CryptoHasher(algorithm).update(bytes).digest("hex")}`;
}

function add(bytes: Uint8Array, mediaType: string, algorithm: Algorithm = "sha256") {
  const digest = digestOf(bytes, algorithm);
  registry.blobs.set(digest, Uint8Array.from(bytes));
  return { mediaType, digest, size: bytes.length };
}

/** With a content that is none of the other layers'. */
function tar(seed: string): Uint8Array {
  return tarOf({ [`from/${seed}`]: `${seed} `.repeat(20_000), "etc/last": seed });
}

interface Layer {
  mediaType: string;
  tar: Uint8Array;
  bytes: Uint8Array;
  diffAlgorithm?: Algorithm;
  algorithm?: Algorithm;
}

function put(
  tag: string,
  layers: Layer[],
  options: { manifestType?: string; configType?: string; algorithm?: Algorithm } = {},
): string {
  const configType = options.configType ?? "application/vnd.oci.image.config.v1+json";
  const config = {
    os: "linux",
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    config: {},
    rootfs: { type: "layers", diff_ids: layers.map((l) => digestOf(l.tar, l.diffAlgorithm)) },
  };
  const mediaType = options.manifestType ?? OCI_MANIFEST;
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: add(Buffer.from(JSON.stringify(config)), configType, options.algorithm),
    layers: layers.map((layer) => add(layer.bytes, layer.mediaType, layer.algorithm)),
  };
  registry.addManifest(tag, manifest, mediaType);
  const bytes = Buffer.from(JSON.stringify(manifest));
  const digest = digestOf(bytes, options.algorithm);
  registry.manifests.set(digest, { mediaType, bytes: Uint8Array.from(bytes) });
  return digest;
}

async function pull(name: string): Promise<string> {
  const outcome = await box.async(["pull", "-q", name]);
  if (outcome.code !== 0) throw new Error(outcome.stderr);
  return outcome.stdout.trim();
}

/** What the files say that the layers have, whatever layer each is in. */
function files(): Record<string, string> {
  const layers = readdirSync(join(box.root, "layers")).map((id) => join(box.root, "layers", id, "diff/from"));
  return Object.fromEntries(
    layers.flatMap((dir) =>
      readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), "latin1").slice(0, name.length)]),
    ),
  );
}

function halves(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  const middle = (bytes.length >> 1) + 77;
  return [bytes.subarray(0, middle), bytes.subarray(middle)];
}

function host(program: string, bytes: Uint8Array): Uint8Array {
  return Bun.spawnSync([program, "-c"], { stdin: bytes }).stdout;
}

/** RFC 8878 §3.1.2 */
const SKIPPABLE = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]);
const OCI = "application/vnd.oci.image.layer.v1.tar";
const DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip";

const encoders: Record<string, { mediaType: string; encode: (tar: Uint8Array) => Uint8Array }> = {
  plain: { mediaType: OCI, encode: (bytes) => bytes },
  gzip: { mediaType: `${OCI}+gzip`, encode: (bytes) => gzipSync(bytes) },
  "gzip-members": {
    mediaType: `${OCI}+gzip`,
    encode: (bytes) => Buffer.concat(halves(bytes).map((half) => gzipSync(half))),
  },
  "gzip-padded": {
    mediaType: DOCKER,
    encode: (bytes) => Buffer.concat([gzipSync(bytes), Buffer.alloc(999)]),
  },
  zstd: { mediaType: `${OCI}+zstd`, encode: (bytes) => zstdCompressSync(bytes) },
  "zstd-frames": {
    mediaType: `${OCI}+zstd`,
    encode: (bytes) =>
      Buffer.concat([SKIPPABLE, ...halves(bytes).flatMap((half) => [zstdCompressSync(half), SKIPPABLE])]),
  },
  bzip2: { mediaType: `${OCI}+gzip`, encode: (bytes) => host("bzip2", bytes) },
  xz: { mediaType: OCI, encode: (bytes) => host("xz", bytes) },
  foreign: {
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    encode: (bytes) => gzipSync(bytes),
  },
  mislabelled: { mediaType: `${OCI}+gzip`, encode: (bytes) => zstdCompressSync(bytes) },
};

function layerOf(name: string): Layer {
  const { mediaType, encode } = encoders[name] as (typeof encoders)[string];
  const bytes = tar(name);
  return { mediaType, tar: bytes, bytes: encode(bytes) };
}

test("all compressions in one image, Docker's media types among OCI's", async () => {
  put("1", Object.keys(encoders).map(layerOf));
  await pull(`${registry.host}/team/app:1`);
  expect(files()).toEqual(Object.fromEntries(Object.keys(encoders).map((name) => [name, name])));
  const root = box.ok(["image", "mount", `${registry.host}/team/app:1`]);
  expect(readFileSync(join(root, "etc/last"), "utf8")).toBe("mislabelled");
  box.ok(["image", "unmount", `${registry.host}/team/app:1`]);
});

test("Docker's schema 2, with OCI layers in it", async () => {
  put("1", [layerOf("gzip-padded"), layerOf("gzip"), layerOf("zstd")], {
    manifestType: "application/vnd.docker.distribution.manifest.v2+json",
    configType: "application/vnd.docker.container.image.v1+json",
  });
  await pull(`${registry.host}/team/app:1`);
  expect(Object.keys(files()).toSorted()).toEqual(["gzip", "gzip-padded", "zstd"]);
});

test("sha512 for the manifest, the config, a layer and a diff id", async () => {
  const long = "sha512" as const;
  const layers: Layer[] = [
    layerOf("gzip"),
    { ...layerOf("zstd"), algorithm: long },
    { ...layerOf("plain"), algorithm: long },
  ];
  const digest = put("1", layers, { algorithm: long });
  expect(digest).toStartWith("sha512:");
  const name = `${registry.host}/team/app@${digest}`;
  const id = await pull(name);
  expect(id).toMatch(/^sha512:[0-9a-f]{128}$/);
  expect(box.ok(["image", "inspect", "--format", "{{index .RepoDigests 0}}", name])).toBe(name);
  expect(Object.keys(files()).toSorted()).toEqual(["gzip", "plain", "zstd"]);
});

test("4 MiB and not a byte more for every document", async () => {
  const { tar: bytes, ...layer } = layerOf("gzip");
  const config = (length: number): Buffer => {
    const document = {
      os: "linux",
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      config: { Labels: { padding: "" } },
      rootfs: { type: "layers", diff_ids: [digestOf(bytes)] },
    };
    document.config.Labels.padding = "x".repeat(length - JSON.stringify(document).length);
    return Buffer.from(JSON.stringify(document));
  };
  const limit = 4 * 1024 * 1024;
  for (const [tag, length] of [
    ["fits", limit],
    ["long", limit + 1],
  ] as const) {
    const manifest = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: add(config(length), "application/vnd.oci.image.config.v1+json"),
      layers: [add(layer.bytes, layer.mediaType)],
    };
    registry.addManifest(tag, manifest);
    registry.addManifest(`${tag}-manifest`, {
      ...manifest,
      annotations: { x: "y".repeat(length - JSON.stringify({ ...manifest, annotations: { x: "" } }).length) },
    });
  }
  await pull(`${registry.host}/team/app:fits`);
  for (const tag of ["long", "long-manifest"]) {
    const outcome = await box.async(["pull", "-q", `${registry.host}/team/app:${tag}`]);
    expect([tag, outcome.code]).toEqual([tag, 125]);
    expect(outcome.stderr).toContain("4194304");
  }
});

test("--all-tags pulls images of every kind and leaves out what is none", async () => {
  put("oci", [layerOf("gzip")]);
  put("zstd", [layerOf("zstd")]);
  registry.addManifest("chart", {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: add(Buffer.from("{}"), "application/vnd.cncf.helm.config.v1+json"),
    layers: [add(Buffer.from("chart"), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
  });
  const outcome = await box.async(["pull", "-q", "--all-tags", `${registry.host}/team/app`]);
  expect(outcome.code).toBe(0);
  expect(outcome.stderr).toContain("helm");
  const names = box.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]).split("\n").toSorted();
  expect(names).toEqual([`${registry.host}/team/app:oci`, `${registry.host}/team/app:zstd`]);
});

test("--policy: never asks nobody, missing only for what is not here, newer and always see what has moved", async () => {
  const name = `${registry.host}/team/app:1`;
  const with_ = async (policy: string): Promise<{ code: number; id: string; asked: number }> => {
    registry.seen.length = 0;
    const { code, stdout } = await box.async(["pull", "-q", "--policy", policy, name]);
    return { code, id: stdout.trim(), asked: registry.count("GET", "/manifests/") };
  };
  put("1", [layerOf("gzip")]);
  expect(await with_("never")).toMatchObject({ code: 125, asked: 0 });
  const { id: first } = await with_("missing");
  put("1", [layerOf("zstd")]);
  expect(await with_("missing")).toEqual({ code: 0, id: first, asked: 0 });
  expect(await with_("never")).toEqual({ code: 0, id: first, asked: 0 });
  const { id: second } = await with_("newer");
  expect(second).not.toBe(first);
  expect(await with_("newer")).toEqual({ code: 0, id: second, asked: 1 });
  put("1", [layerOf("plain")]);
  expect((await with_("always")).id).not.toBe(second);
  const { host: gone } = registry;
  registry[Symbol.dispose]();
  // The registry is gone: what is here will do for "newer".
  expect((await box.async(["pull", "-q", "--policy", "newer", `${gone}/team/app:1`])).code).toBe(0);
  expect((await box.async(["pull", "-q", "--policy", "always", `${gone}/team/app:1`])).code).toBe(125);
});
