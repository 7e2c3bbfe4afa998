// Every kind of content of the image and distribution specifications to a real docker-registry and back, byte for byte.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import {
  type DockerRegistry,
  haveDockerRegistry,
  startDockerRegistry,
} from "../../test/fake/docker-registry.ts";
import { collect, makeImage, streamOf, tarOf } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { EMPTY } from "../image/artifact.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import { referrersTag } from "./referrers.ts";
import type { RegistryClient } from "./registry.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";

const ctx = createCtx();
const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value, null, 3));
const haveSkopeo = existsSync("/usr/bin/skopeo");
if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");
if (!haveSkopeo) console.warn("skip: skopeo is not installed");

describe.skipIf(!haveDockerRegistry)("docker-registry", () => {
  let registry: DockerRegistry;
  let directory: TempDir;
  let client: RegistryClient;
  beforeAll(async () => {
    directory = tempDir("round-trip");
    await Bun.write(`${directory.path}/registries.conf`, "");
    registry = await startDockerRegistry({ urls: true });
    client = open("team/kinds");
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  function open(repository: string): RegistryClient {
    return openRegistry(parseReference(`${registry.host}/${repository}`), {
      registriesConf: `${directory.path}/registries.conf`,
      authFile: `${directory.path}/auth.json`,
      retry: { retries: 1, baseMs: 5, stallMs: 10_000 },
    });
  }

  async function blob(bytes: Uint8Array, mediaType: string, more: object = {}): Promise<Descriptor> {
    const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length, ...more };
    await client.pushBlob(ctx, descriptor, () => streamOf(bytes));
    // Without its inline bytes, so that the registry's are read.
    const { data: _, ...plain } = descriptor as Descriptor;
    expect((await collect(client.blob(ctx, plain))).equals(Buffer.from(bytes))).toBe(true);
    return descriptor;
  }

  /** Pushes the document and reads it back by tag and by digest; skopeo has to see the same bytes. */
  async function roundTrip(tag: string, bytes: Uint8Array, mediaType: string): Promise<Descriptor> {
    const digest = await client.pushManifest(ctx, tag, mediaType, bytes);
    expect(digest).toBe(digestOf(bytes));
    for (const key of [tag, digest]) {
      const back = await client.manifest(ctx, key);
      expect(Buffer.from(back.bytes).equals(Buffer.from(bytes))).toBe(true);
      expect(back.descriptor).toEqual({ mediaType, digest, size: bytes.length });
    }
    if (haveSkopeo) expect(await raw(tag)).toBe(digest);
    return { mediaType, digest, size: bytes.length };
  }

  async function raw(tag: string): Promise<Digest> {
    const image = `docker://${registry.host}/team/kinds:${tag}`;
    const child = Bun.spawn(["skopeo", "inspect", "--raw", "--tls-verify=false", image], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, err] = [await new Response(child.stdout).bytes(), await new Response(child.stderr).text()];
    if ((await child.exited) !== 0) throw new Error(err);
    return digestOf(out);
  }

  async function image(content: string, family: "oci" | "docker" = "oci"): Promise<Descriptor> {
    const made = makeImage([tarOf({ content })], { family });
    for (const bytes of made.blobs.values()) {
      const { digest } = { digest: digestOf(bytes) };
      await client.pushBlob(ctx, { mediaType: "", digest, size: bytes.length }, () => streamOf(bytes));
    }
    return await roundTrip(`image-${content}`, made.manifest, made.mediaType);
  }

  const artifact = async (more: object = {}): Promise<Uint8Array> =>
    encode({
      schemaVersion: 2,
      mediaType: MANIFEST,
      artifactType: "application/vnd.test",
      config: await blob(Buffer.from("{}"), EMPTY.mediaType, { data: "e30=" }),
      layers: [await blob(Buffer.from("{}"), EMPTY.mediaType, { data: "e30=" })],
      ...more,
    });

  test("images of both families", async () => {
    await image("oci");
    await image("docker", "docker");
  });

  test("an index, and an index of indexes", async () => {
    const platform = { os: "linux", architecture: "arm64" };
    const one = { ...(await image("one")), platform };
    const inner = await roundTrip(
      "index",
      encode({ schemaVersion: 2, mediaType: INDEX, manifests: [one] }),
      INDEX,
    );
    const outer = { schemaVersion: 2, mediaType: INDEX, manifests: [inner, one], annotations: { a: "b" } };
    await roundTrip("nested", encode(outer), INDEX);
    await roundTrip("no-entries", encode({ schemaVersion: 2, mediaType: INDEX, manifests: [] }), INDEX);
  });

  test("an artifact without its target, with it, and what is attached to that", async () => {
    const absent = { mediaType: MANIFEST, digest: `sha256:${"7".repeat(64)}`, size: 7 };
    const early = await roundTrip("early", await artifact({ subject: absent }), MANIFEST);
    expect(await client.referrers(ctx, absent.digest)).toEqual([
      { ...early, artifactType: "application/vnd.test" },
    ]);
    const target = await image("target");
    const annotations = { by: "ann" };
    const first = await roundTrip("first", await artifact({ subject: target, annotations }), MANIFEST);
    const second = await roundTrip(
      "second",
      await artifact({ subject: first, artifactType: "a/b" }),
      MANIFEST,
    );
    const listed = { ...first, artifactType: "application/vnd.test", annotations };
    expect(await client.referrers(ctx, target.digest)).toEqual([listed]);
    expect(await client.referrers(ctx, first.digest, "a/b")).toEqual([{ ...second, artifactType: "a/b" }]);
    // The registry has no referrers API: it is the index at the tag that tells.
    const tag = referrersTag(target.digest);
    expect((await client.tags(ctx)).includes(tag)).toBe(true);
    if (haveSkopeo) expect(await raw(tag)).toBe((await client.manifest(ctx, tag)).descriptor.digest);

    await client.deleteManifest(ctx, first.digest);
    expect(await client.referrers(ctx, target.digest)).toEqual([]);
    expect(await failure(client.manifest(ctx, tag))).toMatchObject({ kind: "not-found" });
    expect(await client.referrers(ctx, first.digest)).toHaveLength(1);
  });

  test("fields and media types that nobody knows, and inline data", async () => {
    const layer = await blob(Buffer.from("x"), "application/vnd.test.x+y", { data: "eA==", "x-field": 1 });
    const config = await blob(Buffer.from("not json"), "text/vnd.test.config");
    const document = { config, layers: [layer], "x-unknown": { deep: [1, null, "é"] } };
    await roundTrip("custom", await artifact(document), MANIFEST);
  });

  test("an empty blob", async () => {
    const empty = await blob(new Uint8Array(), "application/octet-stream");
    await roundTrip("empty", await artifact({ layers: [empty] }), MANIFEST);
  });

  test("no layers", async () => {
    await roundTrip("no-layers", await artifact({ layers: [] }), MANIFEST);
  });

  test("a layer that is not distributed", async () => {
    const made = makeImage([tarOf({ a: "a" })]);
    const config = await blob(made.config, "application/vnd.oci.image.config.v1+json");
    const mediaType = LAYER.replace("layer.v1", "layer.nondistributable.v1");
    const digest = `sha256:${"9".repeat(64)}`;
    const layer = { mediaType, digest, size: 99, urls: ["https://example.com/layer"] };
    const bytes = encode({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] });
    await roundTrip("foreign", bytes, MANIFEST);
  });

  test("an index that lists what is not there: this registry wants all of it", async () => {
    const absent = { mediaType: MANIFEST, digest: `sha256:${"8".repeat(64)}`, size: 8 };
    const bytes = encode({ schemaVersion: 2, mediaType: INDEX, manifests: [absent] });
    const error = await failure(client.pushManifest(ctx, "sparse", INDEX, bytes));
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "manifest-blob-unknown" });
    expect(error.message).toContain("registry answered 400: manifest blob unknown");
    expect(await failure(client.manifest(ctx, "sparse"))).toMatchObject({ kind: "not-found" });
  });

  test("sha512: blobs, but no manifests in this registry", async () => {
    const bytes = Buffer.from("long digest");
    const digest = digestOf(bytes, "sha512");
    const layer = { mediaType: "text/plain", digest, size: bytes.length };
    expect(await client.pushBlob(ctx, layer, () => streamOf(bytes))).toBe("uploaded");
    expect(await client.pushBlob(ctx, layer, () => streamOf(bytes))).toBe("exists");
    expect((await collect(client.blob(ctx, layer))).toString()).toBe("long digest");
    const manifest = await artifact({ layers: [layer] });
    await roundTrip("long", manifest, MANIFEST);
    const long = digestOf(manifest, "sha512");
    const error = await failure(client.pushManifest(ctx, long, MANIFEST, manifest));
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "digest-invalid" });
  });
});

test("what docker-registry refuses goes to one that takes it", async () => {
  using registry = new FakeRegistry();
  using directory = tempDir("round-trip-fake");
  await Bun.write(`${directory.path}/registries.conf`, "");
  const registriesConf = `${directory.path}/registries.conf`;
  const client = openRegistry(parseReference(`${registry.host}/x/y`), { registriesConf });
  const absent = { mediaType: MANIFEST, digest: `sha256:${"8".repeat(64)}`, size: 8 };
  const bytes = encode({ schemaVersion: 2, mediaType: INDEX, manifests: [absent] });
  expect(await client.pushManifest(ctx, "sparse", INDEX, bytes)).toBe(digestOf(bytes));
  const long = digestOf(bytes, "sha512");
  registry.fault = ({ method, path }) =>
    method === "GET" && path.endsWith(long)
      ? new Response(Buffer.from(bytes), { headers: { "Content-Type": INDEX } })
      : method === "PUT"
        ? new Response(null, { status: 201 })
        : undefined;
  expect(await client.pushManifest(ctx, long, INDEX, bytes)).toBe(long);
  expect((await client.manifest(ctx, long)).descriptor.digest).toBe(long);
});
