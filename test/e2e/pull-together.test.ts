// Many pulls at once: what a registry is asked for, and how often.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { tarOf } from "../fake/engine.ts";
import { FakeRegistry } from "../fake/registry.ts";
import { Box, type Outcome } from "./box.ts";
import { OCI_MANIFEST, putImage, putIndex, type Stored } from "./registry.ts";

const COUNT = 16;

let box: Box;
let registry: FakeRegistry;
beforeAll(() => {
  box = new Box("together");
  box.ok(["ps"]);
  box.mark();
});
afterAll(() => box.close());
beforeEach(() => (registry = new FakeRegistry()));
afterEach(async () => {
  registry[Symbol.dispose]();
  box.berth(["rmi", "-f", "-a"]);
  box.ok(["image", "prune", "-f"]);
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  expect(await box.leaks()).toEqual([]);
});

const HOST = process.arch === "x64" ? "amd64" : process.arch;

function tar(seed: string): Uint8Array<ArrayBuffer> {
  const noise = Buffer.alloc(300_000);
  for (let at = 0; at < noise.length; at += 32) {
    noise.set(new Bun.CryptoHasher("sha256").update(`${seed} ${at}`).digest(), at);
  }
  return new Uint8Array(tarOf({ [`data/${seed}`]: noise }));
}

function pullAll(names: string[], ...flags: string[]): Promise<Outcome[]> {
  return Promise.all(names.map((name) => box.async(["pull", "-q", ...flags, name])));
}

/** How often each blob and manifest was sent, by digest. */
function sent(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { method, path } of registry.seen) {
    const digest = /\/(?:blobs|manifests)\/(sha\w+:\w+)$/.exec(path)?.[1];
    if (method === "GET" && digest !== undefined) counts[digest] = (counts[digest] ?? 0) + 1;
  }
  return counts;
}

function codes(outcomes: Outcome[]): number[] {
  return outcomes.map(({ code, stderr }) => {
    if (code !== 0) console.warn(stderr);
    return code;
  });
}

const NO_ERRORS = Array.from({ length: COUNT }, () => 0);

test("sixteen pulls of one image: every blob and every manifest comes once", async () => {
  const platform = { os: "linux", architecture: HOST };
  const stored = putImage(registry, "inner", { tar: tar("one"), platform });
  putIndex(registry, "1", [{ platform, stored }]);
  // All of them want it while it is on its way.
  registry.rate = 400_000;
  const name = `${registry.host}/team/app:1`;
  const outcomes = await pullAll(Array.from({ length: COUNT }, () => name));
  expect(codes(outcomes)).toEqual(NO_ERRORS);
  expect(new Set(outcomes.map(({ stdout }) => stdout))).toEqual(new Set([`${stored.config.slice(7)}\n`]));
  expect(sent()).toEqual({ [stored.layer]: 1, [stored.config]: 1, [stored.digest]: 1 });
  registry.seen.length = 0;
  expect(codes(await pullAll(Array.from({ length: 4 }, () => name)))).toEqual([0, 0, 0, 0]);
  expect(sent()).toEqual({});
});

test("with --policy missing only one of them asks at all", async () => {
  const stored = putImage(registry, "1", { tar: tar("missing") });
  registry.rate = 400_000;
  const names = Array.from({ length: 8 }, () => `${registry.host}/team/app:1`);
  expect(codes(await pullAll(names, "--policy", "missing"))).toEqual(names.map(() => 0));
  expect(sent()).toEqual({ [stored.layer]: 1, [stored.config]: 1 });
  expect(registry.count("GET", "/manifests/1")).toBe(1);
});

test("sixteen images that share layers: the shared ones come once", async () => {
  const shared = ["base", "libs"].map((seed) => layerOf(tar(seed)));
  const own = Array.from({ length: COUNT }, (_, i) => layerOf(tar(`own ${i}`)));
  own.forEach((layer, i) => putLayers(String(i), [...shared, layer]));
  registry.rate = 2_000_000;
  const names = own.map((_, i) => `${registry.host}/team/app:${i}`);
  expect(codes(await pullAll(names))).toEqual(NO_ERRORS);
  const counts = sent();
  for (const { blob } of [...shared, ...own])
    expect([blob.digest, counts[blob.digest]]).toEqual([blob.digest, 1]);
  expect(box.ok(["images", "-q"]).split("\n").length).toBe(COUNT);
});

test("one layer many times in one image, with empty ones between", async () => {
  const layer = layerOf(tar("again"));
  const empty = layerOf(new Uint8Array(1024));
  putLayers("1", [layer, empty, layer, empty, empty, layer]);
  expect(codes(await pullAll([`${registry.host}/team/app:1`]))).toEqual([0]);
  const counts = sent();
  expect([counts[layer.blob.digest], counts[empty.blob.digest]]).toEqual([1, 1]);
});

test("whoever is killed while the others wait is followed by one of them", async () => {
  const stored = putImage(registry, "1", { tar: tar("heir") });
  registry.rate = 150_000;
  const name = `${registry.host}/team/app:1`;
  const first = box.spawn(["pull", "-q", name]);
  await box.until("the first is at the layer", () => registry.count("GET", stored.layer) === 1);
  const others = pullAll(Array.from({ length: 4 }, () => name));
  await Bun.sleep(300);
  first.kill("SIGKILL");
  await first.exited;
  registry.rate = undefined;
  expect(codes(await others)).toEqual([0, 0, 0, 0]);
  expect(registry.count("GET", stored.layer)).toBeLessThanOrEqual(2);
});

interface Layer {
  blob: ReturnType<FakeRegistry["addBlob"]>;
  diffId: string;
}

function layerOf(content: Uint8Array<ArrayBuffer>): Layer {
  const diffId = `sha256:${new Bun.CryptoHasher("sha256").update(content).digest("hex")}`;
  return { blob: registry.addBlob(Bun.gzipSync(content)), diffId };
}

function putLayers(tag: string, layers: Layer[]): Pick<Stored, "digest"> {
  const config = registry.addBlob(
    JSON.stringify({
      os: "linux",
      architecture: HOST,
      config: { Labels: { tag } },
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  );
  const digest = registry.addManifest(tag, {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: layers.map(({ blob }) => ({ ...blob, mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" })),
  });
  return { digest };
}
