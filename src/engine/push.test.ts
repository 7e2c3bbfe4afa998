// Pushes into a real docker-registry, read back by skopeo where that is installed.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import {
  type DockerRegistry,
  haveDockerRegistry,
  startDockerRegistry,
} from "../../test/fake/docker-registry.ts";
import {
  collect,
  engineFixture,
  type EngineFixture,
  makeImage,
  streamOf,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { createCtx, type ProgressEvent } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { importRootfs } from "./import.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { parallelGzip } from "./push-gzip.ts";

const ctx = createCtx();
const retry = { retries: 1, baseMs: 5, stallMs: 5000 };
const first = tarOf({ "etc/one": "1" });
const second = tarOf({ "etc/two": "2" });

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("push");
});
afterEach(() => fixture[Symbol.dispose]());

async function skopeo(...args: string[]): Promise<string> {
  const child = Bun.spawn(["skopeo", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = [await new Response(child.stdout).text(), await new Response(child.stderr).text()];
  if ((await child.exited) !== 0) throw new Error(`skopeo ${args.join(" ")}: ${err}`);
  return out;
}

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");
const haveSkopeo = existsSync("/usr/bin/skopeo");
if (!haveSkopeo) console.warn("skip: skopeo is not installed");

describe.skipIf(!haveDockerRegistry)("to docker-registry", () => {
  let registry: DockerRegistry;
  beforeAll(async () => {
    registry = await startDockerRegistry();
  });
  afterAll(() => registry[Symbol.asyncDispose]());

  test("an imported tar is compressed, once, and comes back as the same image", async () => {
    const name = `${registry.host}/imported/app:v1`;
    const big = tarOf({ a: randomBytes(5_000_000), b: Buffer.alloc(5_000_000, "x"), c: "c" });
    const record = await importRootfs(ctx, fixture.engine, {
      source: streamOf(big),
      name,
      changes: ['CMD ["/c"]'],
    });
    const events: ProgressEvent[] = [];
    const watched = createCtx({ progress: (event) => events.push(event) });
    const { digest } = await push(watched, fixture.engine, { image: name, registry: { retry } });
    expect(events.map((event) => event.status)).toContain("uploading");

    const stored = fixture.engine.images.resolve(name);
    expect(stored.id).toBe(record.id);
    expect(stored.repoDigests).toEqual([`${registry.host}/imported/app@${digest}`]);
    expect(stored.manifest.layers[0]?.mediaType).toBe("application/vnd.oci.image.layer.v1.tar+gzip");

    events.length = 0;
    const again = await push(watched, fixture.engine, {
      image: record.id,
      destination: `${registry.host}/elsewhere:v2`,
      registry: { retry },
    });
    expect(again.digest).toBe(digest);
    expect(events.map((event) => event.status)).not.toContain("uploading");

    using other = engineFixture("push-other");
    const pulled = await pull(ctx, other.engine, { reference: name, policy: "always", registry: { retry } });
    expect([pulled.id, pulled.manifestDigest]).toEqual([record.id, digest]);
    expect(pulled.config.config.Cmd).toEqual(["/c"]);
  });

  test.skipIf(!haveSkopeo)("skopeo reads it, and copies it out with every digest right", async () => {
    const name = `${registry.host}/skopeo/app:v1`;
    await importRootfs(ctx, fixture.engine, { source: streamOf(first), name, changes: ["ENV A=1"] });
    const { digest } = await push(ctx, fixture.engine, { image: name, registry: { retry } });
    const seen = JSON.parse(await skopeo("inspect", "--tls-verify=false", `docker://${name}`)) as Record<
      string,
      unknown
    >;
    expect(seen).toMatchObject({ Digest: digest, Env: ["A=1"], Os: "linux" });
    await skopeo("copy", "--src-tls-verify=false", `docker://${name}`, `dir:${fixture.path}/copy`);
  });

  test.skipIf(!haveSkopeo)("what skopeo pushed is pulled, and pushed on byte for byte", async () => {
    const archive = fixture.file("in.tar", "");
    const { load } = await import("./load.ts");
    const { save } = await import("./save.ts");
    await importRootfs(ctx, fixture.engine, { source: streamOf(first), name: "local/x:1", changes: [] });
    await Bun.write(
      archive,
      await collect(save(ctx, fixture.engine, { images: ["local/x:1"], format: "oci-archive" })),
    );
    expect((await load(ctx, fixture.engine, { source: { path: archive } })).names).toEqual([
      "docker.io/local/x:1",
    ]);
    const from = `${registry.host}/from/app:v1`;
    await skopeo(
      "copy",
      "--dest-tls-verify=false",
      "--format",
      "v2s2",
      `oci-archive:${archive}`,
      `docker://${from}`,
    );
    using other = engineFixture("push-on");
    const record = await pull(ctx, other.engine, { reference: from, policy: "always", registry: { retry } });
    const to = `${registry.host}/to/app:v1`;
    const { digest } = await push(ctx, other.engine, { image: from, destination: to, registry: { retry } });
    expect(digest).toBe(record.manifestDigest);
    const raw = await skopeo("inspect", "--raw", "--tls-verify=false", `docker://${to}`);
    expect(digestOf(raw)).toBe(digest);
  });
});

describe("layers", () => {
  test("whose blob the store lacks are made again, with the image's id unchanged", async () => {
    using registry = new FakeRegistry();
    const { engine } = fixture;
    const gz = makeImage([first, second]);
    const zst = makeImage([first, second], { formats: ["zstd", "zstd"] });
    for (const [image, tag] of [
      [gz, "gz"],
      [zst, "zst"],
    ] as const) {
      for (const bytes of image.blobs.values()) registry.addBlob(bytes);
      registry.addManifest(tag, Buffer.from(image.manifest).toString(), image.mediaType);
      await pull(ctx, engine, {
        reference: `${registry.host}/x:${tag}`,
        policy: "always",
        registry: { retry },
      });
    }
    expect(engine.content.has(digestOf(zst.layers[0] as Uint8Array))).toBe(false);
    using target = new FakeRegistry();
    const to = `${target.host}/y:1`;
    const { digest } = await push(ctx, engine, {
      image: `${registry.host}/x:zst`,
      destination: to,
      registry: { retry },
    });
    const sent = JSON.parse(Buffer.from(target.manifests.get("1")?.bytes ?? []).toString()) as Record<
      string,
      unknown
    >;
    expect(sent["annotations"]).toEqual({ "org.example.unknown": "kept" });
    expect(sent["config"]).toMatchObject({ digest: zst.configDigest });
    using other = engineFixture("push-again");
    const record = await pull(ctx, other.engine, { reference: to, policy: "always", registry: { retry } });
    expect([record.id, record.manifestDigest]).toEqual([zst.configDigest, digest]);
  });

  test("that are not distributable stay where they are", async () => {
    using registry = new FakeRegistry();
    const image = makeImage([first]);
    const text = Buffer.from(image.manifest)
      .toString()
      .replace("image.layer.v1.tar+gzip", "image.layer.nondistributable.v1.tar+gzip");
    for (const bytes of image.blobs.values()) registry.addBlob(bytes);
    registry.addManifest("1", text);
    await pull(ctx, fixture.engine, {
      reference: `${registry.host}/x:1`,
      policy: "always",
      registry: { retry },
    });
    using target = new FakeRegistry();
    await push(ctx, fixture.engine, {
      image: `${registry.host}/x:1`,
      destination: `${target.host}/x:1`,
      registry: { retry },
    });
    expect([...target.blobs.keys()]).toEqual([image.configDigest]);
    expect(Buffer.from(target.manifests.get("1")?.bytes ?? []).toString()).toBe(text);
  });
});

test("destinations", async () => {
  const { engine } = fixture;
  const { id } = await importRootfs(ctx, engine, { source: streamOf(first), changes: [] });
  const registry = { retry };
  expect(await failure(push(ctx, engine, { image: "nosuch", registry }))).toMatchObject({
    kind: "not-found",
  });
  expect(await failure(push(ctx, engine, { image: id, registry }))).toMatchObject({
    reason: "no-destination",
  });
  const pinned = `127.0.0.1:1/x@sha256:${"a".repeat(64)}`;
  expect(await failure(push(ctx, engine, { image: id, destination: pinned, registry }))).toMatchObject({
    reason: "push-to-digest",
  });
  expect(
    await failure(push(ctx, engine, { image: id, destination: "127.0.0.1:1/x", registry })),
  ).toMatchObject({
    kind: "unavailable",
  });
  expect(engine.images.resolve(id).repoDigests).toEqual([]);
});

describe("parallel gzip", () => {
  test.each([0, 1, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 13_000_000])(
    "%d bytes come back, always as the same bytes",
    async (size) => {
      const bytes = Buffer.alloc(size);
      for (let i = 0; i < size; i += 7) bytes[i] = i % 251;
      const once = await collect(parallelGzip(streamOf(bytes, 1_000_003)));
      expect(gunzipSync(once).equals(bytes)).toBe(true);
      expect((await collect(parallelGzip(streamOf(bytes, 77_777)))).equals(once)).toBe(true);
    },
  );

  test("an error of the source ends it", async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(9_000_000);
      await Promise.resolve();
      throw new Error("broken");
    };
    let message = "";
    try {
      await collect(parallelGzip(broken()));
    } catch (error) {
      ({ message } = error as Error);
    }
    expect(message).toBe("broken");
  });
});
