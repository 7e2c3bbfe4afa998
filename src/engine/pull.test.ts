// Pulls from a registry that serves what it is given, and, at the end, from a real one.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import {
  collect,
  engineFixture,
  type EngineFixture,
  makeImage,
  type MadeImage,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { createCtx, type ProgressEvent } from "../core/ctx.ts";
import { chainIds } from "../image/chain.ts";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { pull, type PullRequest } from "./pull.ts";

const ctx = createCtx();
const first = tarOf({ "etc/one": "1", "etc/both": "below" });
const second = tarOf({ "etc/two": "2", "etc/both": "above" });
const retry = { retries: 2, baseMs: 5, stallMs: 2000 };

let fixture: EngineFixture;
let registry: FakeRegistry;
beforeEach(() => {
  fixture = engineFixture("pull");
  registry = new FakeRegistry();
});
afterEach(() => {
  registry[Symbol.dispose]();
  fixture[Symbol.dispose]();
});

function serve(image: MadeImage, tag: string): void {
  for (const bytes of image.blobs.values()) registry.addBlob(bytes);
  registry.addManifest(tag, Buffer.from(image.manifest).toString(), image.mediaType);
}

function pullTag(tag: string, more: Partial<PullRequest> = {}, at = ctx) {
  const reference = `${registry.host}/team/app${tag === "" ? "" : `:${tag}`}`;
  return pull(at, fixture.engine, { reference, policy: "always", registry: { retry }, ...more });
}

/** Nothing is left that no image needs. */
function expectNothingVisible(): void {
  expect(fixture.engine.images.list()).toEqual([]);
  expect(fixture.engine.leases.dead()).toEqual([]);
  expect(readdirSync(fixture.engine.paths.ingest)).toEqual([]);
}

describe("an image", () => {
  test.each([
    ["oci", ["gzip", "zstd"]],
    ["docker", ["gzip", "none"]],
  ] as const)("%s with layers in %p is stored byte for byte", async (family, formats) => {
    const image = makeImage([first, second], { family, formats: [...formats] });
    serve(image, "v1");
    const events: ProgressEvent[] = [];
    const record = await pullTag("v1", {}, createCtx({ progress: (event) => events.push(event) }));
    const name = `${registry.host}/team/app`;
    expect(record.id).toBe(image.configDigest);
    expect(record.names).toEqual([`${name}:v1`]);
    expect(record.repoDigests).toEqual([`${name}@${image.manifestDigest}`]);
    const { content, layers } = fixture.engine;
    for (const [digest, bytes] of image.blobs)
      expect(Buffer.from(await collect(content.stream(digest)))).toEqual(Buffer.from(bytes));
    const chain = chainIds([digestOf(first), digestOf(second)]);
    expect(readFileSync(`${layers.diffPath(chain[0] as Digest)}/etc/both`, "utf8")).toBe("below");
    expect(readFileSync(`${layers.diffPath(chain[1] as Digest)}/etc/both`, "utf8")).toBe("above");
    for (const layer of image.layers) {
      const id = digestOf(layer).slice(7, 19);
      const statuses = events.filter((event) => event.id === id).map((event) => event.status);
      expect([statuses[0], statuses.at(-1)]).toEqual(["waiting", "done"]);
      expect(events.findLast((event) => event.id === id)).toMatchObject({
        current: layer.length,
        total: layer.length,
      });
    }
  });

  test("the same layers twice and empty ones", async () => {
    const empty = tarOf({});
    serve(makeImage([first, empty, first, empty]), "v1");
    const record = await pullTag("v1");
    expect(fixture.engine.layers.stack(record.chainId as Digest).length).toBe(4);
  });

  test("without layers", async () => {
    serve(makeImage([]), "v1");
    expect((await pullTag("v1")).chainId).toBeUndefined();
  });

  test("layers that are there are not fetched again", async () => {
    serve(makeImage([first]), "v1");
    await pullTag("v1");
    serve(makeImage([first, second]), "v2");
    registry.seen.length = 0;
    const events: ProgressEvent[] = [];
    await pullTag("v2", {}, createCtx({ progress: (event) => events.push(event) }));
    expect(registry.count("GET", `/blobs/${makeImage([first]).layers.map((l) => digestOf(l))[0]}`)).toBe(0);
    expect(events.filter((event) => event.status === "exists").length).toBe(1);
  });

  test("a tag that moves takes the name along", async () => {
    serve(makeImage([first]), "v1");
    const before = await pullTag("v1");
    serve(makeImage([second]), "v1");
    const after = await pullTag("v1");
    expect(after.id).not.toBe(before.id);
    expect(fixture.engine.images.get(before.id)?.names).toEqual([]);
    expect(fixture.engine.images.resolve(`${registry.host}/team/app:v1`).id).toBe(after.id);
  });

  test("by digest it gets no name, but is found by it", async () => {
    const image = makeImage([first]);
    serve(image, "v1");
    const reference = `${registry.host}/team/app@${image.manifestDigest}`;
    const record = await pullTag("", { reference });
    expect(record.names).toEqual([]);
    expect(fixture.engine.images.resolve(reference).id).toBe(record.id);
  });

  test("all tags", async () => {
    serve(makeImage([first]), "v1");
    serve(makeImage([second]), "v2");
    await pullTag("", { allTags: true });
    const names = fixture.engine.images.list().flatMap((record) => record.names);
    expect(names.toSorted()).toEqual(["v1", "v2"].map((tag) => `${registry.host}/team/app:${tag}`));
    expect(await failure(pullTag("v1", { allTags: true }))).toMatchObject({ kind: "invalid-argument" });
  });
});

describe("policies", () => {
  test("missing, never, newer, always", async () => {
    expect(await failure(pullTag("v1", { policy: "never" }))).toMatchObject({ kind: "not-found" });
    expect(registry.seen).toEqual([]);
    serve(makeImage([first]), "v1");
    const before = await pullTag("v1", { policy: "missing" });
    registry.seen.length = 0;
    expect((await pullTag("v1", { policy: "missing" })).id).toBe(before.id);
    expect((await pullTag("v1", { policy: "never" })).id).toBe(before.id);
    expect(registry.seen).toEqual([]);
    expect((await pullTag("v1", { policy: "newer" })).id).toBe(before.id);
    expect(registry.count("GET", "/blobs/")).toBe(0);
    serve(makeImage([second]), "v1");
    expect((await pullTag("v1", { policy: "newer" })).id).not.toBe(before.id);
  });

  test("newer makes do with what is there when the registry is away", async () => {
    serve(makeImage([first]), "v1");
    const record = await pullTag("v1");
    const away = { reference: `${registry.host}/team/app:v1`, policy: "newer" } as const;
    registry.fault = ({ path }) => (path === "/v2/" ? undefined : new Response(null, { status: 404 }));
    expect((await pullTag("", away)).id).toBe(record.id);
    expect(await failure(pullTag("v1"))).toMatchObject({ kind: "not-found" });
  });
});

describe("platforms", () => {
  const arm = makeImage([first], { config: { architecture: "arm64" } });
  const amd = makeImage([second]);
  function serveIndex(tag: string): string {
    for (const image of [arm, amd]) serve(image, image.manifestDigest);
    const entry = (image: MadeImage, architecture: string) => ({
      mediaType: image.mediaType,
      digest: image.manifestDigest,
      size: image.manifest.length,
      platform: { os: "linux", architecture },
    });
    const inner = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json" };
    const index = { ...inner, manifests: [entry(arm, "arm64"), entry(amd, "amd64")] };
    return registry.addManifest(tag, index, inner.mediaType);
  }

  test("chosen from an index, and known by the digests of both", async () => {
    const top = serveIndex("v1");
    const record = await pullTag("v1", { platform: "linux/arm64/v8" });
    expect(record.id).toBe(arm.configDigest);
    const name = `${registry.host}/team/app`;
    expect(record.repoDigests.toSorted()).toEqual(
      [`${name}@${top}`, `${name}@${arm.manifestDigest}`].toSorted(),
    );
    expect(await failure(pullTag("v1", { platform: "linux/s390x" }))).toMatchObject({
      kind: "not-found",
      hint: "available: linux/arm64, linux/amd64",
    });
  });

  test("policy missing does not take another platform's image", async () => {
    serveIndex("v1");
    await pullTag("v1", { platform: "linux/arm64" });
    const record = await pullTag("v1", { platform: "linux/amd64", policy: "missing" });
    expect(record.id).toBe(amd.configDigest);
  });

  test("an image without an index is refused for another platform than its own", async () => {
    serve(arm, "v1");
    expect(await failure(pullTag("v1", { platform: "linux/amd64" }))).toMatchObject({
      reason: "no-matching-platform",
    });
    expectNothingVisible();
    expect((await pullTag("v1")).id).toBe(arm.configDigest);
  });

  test("indexes within indexes, to a depth", async () => {
    let digest = serveIndex("v0");
    for (let depth = 0; depth < 5; depth++) {
      const mediaType = "application/vnd.oci.image.index.v1+json";
      const size = registry.manifests.get(digest)?.bytes.length;
      const manifests = [{ mediaType, digest, size, platform: { os: "linux", architecture: "amd64" } }];
      digest = registry.addManifest(`nested${depth}`, { schemaVersion: 2, mediaType, manifests }, mediaType);
    }
    expect((await pullTag("nested0", { platform: "linux/amd64" })).id).toBe(amd.configDigest);
    expect(await failure(pullTag("nested4", { platform: "linux/amd64" }))).toMatchObject({
      reason: "index-nesting",
    });
  });
});

describe("what is wrong is refused and leaves nothing", () => {
  const other = tarOf({ other: "x" });
  const cases: [name: string, make: () => void, expected: object][] = [
    [
      "a layer of other bytes",
      () => {
        const image = makeImage([first, second]);
        serve(image, "v1");
        const bytes = Buffer.from(image.layers[1] as Uint8Array);
        bytes[20] = (bytes[20] as number) ^ 0xff;
        registry.blobs.set(digestOf(image.layers[1] as Uint8Array), new Uint8Array(bytes));
      },
      { kind: "data-loss" },
    ],
    [
      "a layer that is too short",
      () => {
        const image = makeImage([first, second]);
        serve(image, "v1");
        registry.blobs.set(digestOf(image.layers[0] as Uint8Array), new Uint8Array(10));
      },
      { kind: "data-loss", reason: "blob-size" },
    ],
    [
      "a layer that is not there",
      () => {
        const image = makeImage([first, second]);
        serve(image, "v1");
        registry.blobs.delete(digestOf(image.layers[1] as Uint8Array));
      },
      { kind: "not-found" },
    ],
    [
      "a diff id of another tar",
      () =>
        serve(
          makeImage([first], { config: { rootfs: { type: "layers", diff_ids: [digestOf(other)] } } }),
          "v1",
        ),
      { kind: "data-loss", reason: "diff-id-mismatch" },
    ],
    [
      "more diff ids than layers",
      () =>
        serve(
          makeImage([first], {
            config: { rootfs: { type: "layers", diff_ids: [digestOf(first), digestOf(other)] } },
          }),
          "v1",
        ),
      { kind: "invalid-argument", reason: "layer-count-mismatch" },
    ],
    [
      "a config of other bytes",
      () => {
        const image = makeImage([first]);
        serve(image, "v1");
        registry.blobs.set(image.configDigest, new Uint8Array(image.config.length));
      },
      { kind: "data-loss", reason: "digest-mismatch" },
    ],
    [
      "a config that is no object",
      () => serve(makeImage([], { config: { rootfs: null } }), "v1"),
      { kind: "invalid-argument" },
    ],
    [
      "an artifact",
      () => {
        const config = registry.addBlob("{}");
        registry.addManifest("v1", {
          schemaVersion: 2,
          artifactType: "application/x-thing",
          config: { ...config, mediaType: "application/vnd.oci.empty.v1+json" },
          layers: [],
        });
      },
      { kind: "unimplemented", reason: "not-an-image" },
    ],
    [
      "an index that says another size",
      () => {
        const image = makeImage([first]);
        serve(image, image.manifestDigest);
        const entry = { mediaType: image.mediaType, digest: image.manifestDigest, size: 5 };
        const mediaType = "application/vnd.oci.image.index.v1+json";
        registry.addManifest("v1", { schemaVersion: 2, mediaType, manifests: [entry] }, mediaType);
      },
      { kind: "data-loss", reason: "size-mismatch" },
    ],
    [
      "an index that calls a manifest an index",
      () => {
        const image = makeImage([first]);
        serve(image, image.manifestDigest);
        const mediaType = "application/vnd.oci.image.index.v1+json";
        const entry = { mediaType, digest: image.manifestDigest, size: image.manifest.length };
        registry.addManifest("v1", { schemaVersion: 2, mediaType, manifests: [entry] }, mediaType);
      },
      { kind: "invalid-argument" },
    ],
  ];
  test.each(cases)("%s", async (_name, make, expected) => {
    make();
    expect(await failure(pullTag("v1"))).toMatchObject(expected);
    expectNothingVisible();
  });

  test("an unknown tag, a malformed name", async () => {
    expect(await failure(pullTag("v9"))).toMatchObject({ kind: "not-found" });
    expect(await failure(pullTag("", { reference: "A//b" }))).toMatchObject({ kind: "invalid-argument" });
    expect(await failure(pullTag("v1", { platform: "x/y/z/w" }))).toMatchObject({ kind: "invalid-argument" });
    expectNothingVisible();
  });

  test("a caller who gives up in the middle", async () => {
    const image = makeImage([first, tarOf({ big: crypto.getRandomValues(new Uint8Array(60_000)) })]);
    serve(image, "v1");
    const abort = new AbortController();
    const slow = digestOf(image.layers[1] as Uint8Array);
    registry.fault = ({ path }) => {
      if (!path.endsWith(slow)) return undefined;
      setTimeout(() => abort.abort(), 50);
      return new Response(new ReadableStream({ pull: () => Bun.sleep(5000) }));
    };
    expect(await failure(pullTag("v1", {}, createCtx({ signal: abort.signal })))).toMatchObject({
      kind: "canceled",
    });
    expectNothingVisible();
  });
});

test("the digest in the store's path is never taken from outside unchecked", async () => {
  registry.addManifest("v1", {
    schemaVersion: 2,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: "sha256:../../../../etc/passwd",
      size: 1,
    },
    layers: [],
  });
  expect(await failure(pullTag("v1"))).toMatchObject({ kind: "invalid-argument", reason: "invalid-digest" });
  expect(existsSync(`${fixture.engine.paths.root}/etc`)).toBe(false);
});
