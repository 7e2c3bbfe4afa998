// Pushes into a real docker-registry, read back by skopeo where that is installed.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { zstdDecompressSync } from "node:zlib";
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
  type MadeImage,
  streamOf,
  tarOf,
} from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { createCtx, type ProgressEvent } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { collectGarbage } from "../storage/gc.ts";
import { importRootfs } from "./import.ts";
import { pull } from "./pull.ts";
import { push, type PushRequest } from "./push.ts";

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

/** Pulled into the fixture's store as `x:1` of a fake registry that is gone afterwards. */
async function pulled(image: MadeImage, name = "x", tag = "1"): Promise<string> {
  using registry = new FakeRegistry();
  for (const bytes of image.blobs.values()) registry.addBlob(bytes);
  registry.addManifest(tag, Buffer.from(image.manifest).toString(), image.mediaType);
  const reference = `${registry.host}/${name}:${tag}`;
  await pull(ctx, fixture.engine, { reference, policy: "always", registry: { retry } });
  return reference;
}

interface Sent {
  mediaType: string;
  config: { mediaType: string };
  layers: { mediaType: string; digest: string }[];
}

function sentTo(target: FakeRegistry, tag: string): Sent {
  return JSON.parse(Buffer.from(target.manifests.get(tag)?.bytes ?? []).toString()) as Sent;
}

describe("compression and formats", () => {
  const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
  const imported = async (name: string, ...contents: Uint8Array[]): Promise<string> => {
    await importRootfs(ctx, fixture.engine, {
      source: streamOf(contents[0] ?? first),
      name,
      changes: ["ENV A=1"],
    });
    return name;
  };
  const pushTo = (target: FakeRegistry, image: string, more: Partial<PushRequest> = {}) =>
    push(ctx, fixture.engine, { image, destination: `${target.host}/y:1`, registry: { retry }, ...more });

  test("zstd for layers made here, and compressed once: the second push only asks for it", async () => {
    using target = new FakeRegistry();
    const image = await imported("local/zst:1");
    const choice = { format: "zstd", level: 6, force: true } as const;
    const { digest } = await pushTo(target, image, { compression: choice });
    const [layer] = sentTo(target, "1").layers;
    expect(layer?.mediaType).toBe(`${OCI_LAYER}+zstd`);
    expect(zstdDecompressSync(target.blobs.get(layer?.digest ?? "") as Uint8Array).equals(first)).toBe(true);
    expect(fixture.engine.images.resolve(image).manifestDigest).toBe(digest);
    const uploads = target.count("POST", "uploads");
    expect((await pushTo(target, image, { compression: choice })).digest).toBe(digest);
    expect((await pushTo(target, image)).digest).toBe(digest);
    expect(target.count("POST", "uploads")).toBe(uploads);
  });

  test("an image from a registry keeps its layers unless another compression is asked for", async () => {
    using target = new FakeRegistry();
    const made = makeImage([first, second], { formats: ["none", "gzip"] });
    const image = await pulled(made);
    expect((await pushTo(target, image)).digest).toBe(made.manifestDigest);
    const gentle = { format: "zstd", force: false } as const;
    expect((await pushTo(target, image, { compression: gentle })).digest).toBe(made.manifestDigest);
    const forced = { format: "zstd", force: true } as const;
    const { digest } = await pushTo(target, image, { compression: forced });
    expect(sentTo(target, "1").layers.map((layer) => layer.mediaType)).toEqual([
      `${OCI_LAYER}+zstd`,
      `${OCI_LAYER}+zstd`,
    ]);
    const record = fixture.engine.images.resolve(image);
    // Only for that registry: the image itself stays what it was.
    expect(record.manifestDigest).toBe(made.manifestDigest);
    expect(record.repoDigests).toContain(`${target.host}/y@${digest}`);
    collectGarbage(fixture.engine.store);
    const uploads = target.count("POST", "uploads");
    expect((await pushTo(target, image, { compression: forced })).digest).toBe(digest);
    expect(target.count("POST", "uploads")).toBe(uploads);
  });

  test("from OCI to Docker and back, zstd becoming gzip on the way", async () => {
    using target = new FakeRegistry();
    const made = makeImage([first, second], { formats: ["zstd", "gzip"] });
    const image = await pulled(made);
    const { digest } = await pushTo(target, image, { format: "docker" });
    const sent = sentTo(target, "1");
    expect([sent.mediaType, sent.config.mediaType]).toEqual([
      "application/vnd.docker.distribution.manifest.v2+json",
      "application/vnd.docker.container.image.v1+json",
    ]);
    expect(sent.layers.map((layer) => layer.mediaType)).toEqual(
      Array(2).fill("application/vnd.docker.image.rootfs.diff.tar.gzip"),
    );
    expect("annotations" in sent).toBe(false);
    using other = engineFixture("push-docker");
    const reference = `${target.host}/y:1`;
    const record = await pull(ctx, other.engine, { reference, policy: "always", registry: { retry } });
    expect([record.id, record.manifestDigest]).toEqual([made.configDigest, digest]);
    using back = new FakeRegistry();
    const destination = `${back.host}/z:1`;
    await push(ctx, other.engine, { image: reference, destination, format: "oci", registry: { retry } });
    expect(sentTo(back, "1").layers.map((layer) => layer.mediaType)).toEqual(
      Array(2).fill(`${OCI_LAYER}+gzip`),
    );
  });

  test("a Docker image that is to have zstd layers becomes an OCI one; Docker's format refuses them", async () => {
    using target = new FakeRegistry();
    const image = await pulled(makeImage([first], { family: "docker" }));
    const compression = { format: "zstd", force: true } as const;
    expect(await failure(pushTo(target, image, { compression, format: "docker" }))).toMatchObject({
      reason: "zstd-in-docker-format",
    });
    expect(target.seen).toEqual([]);
    await pushTo(target, image, { compression });
    expect(sentTo(target, "1").mediaType).toBe("application/vnd.oci.image.manifest.v1+json");
  });

  test("the same layer in two images is compressed and sent once, and by many at a time", async () => {
    using target = new FakeRegistry();
    const big = tarOf({ a: randomBytes(3_000_000) });
    await imported("local/one:1", big);
    await importRootfs(ctx, fixture.engine, {
      source: streamOf(big),
      name: "local/two:1",
      changes: ["ENV B=2"],
    });
    const names = ["local/one:1", "local/two:1", "local/one:1", "local/two:1"];
    const all = await Promise.all(
      names.map((image, i) =>
        push(ctx, fixture.engine, { image, destination: `${target.host}/y:${i}`, registry: { retry } }),
      ),
    );
    expect(new Set(all.map(({ digest }) => digest)).size).toBe(2);
    expect(target.count("POST", "uploads")).toBe(3);
  });

  test("a blob is mounted from any repository of the registry that is known to have it", async () => {
    using target = new FakeRegistry();
    const image = await imported("local/one:1");
    await push(ctx, fixture.engine, { image, destination: `${target.host}/a/b:1`, registry: { retry } });
    const [layer] = fixture.engine.images.resolve(image).manifest.layers;
    await importRootfs(ctx, fixture.engine, { source: streamOf(first), name: "local/two:1", changes: [] });
    target.absent.add(layer?.digest ?? "");
    target.mountable.add("a/b");
    await push(ctx, fixture.engine, {
      image: "local/two:1",
      destination: `${target.host}/c:1`,
      registry: { retry },
    });
    const posts = target.seen.filter((seen) => seen.method === "POST" && seen.query.includes("mount="));
    expect(posts.map(({ query }) => new URLSearchParams(query).get("from"))).toContain("a/b");
    expect(target.blobs.size).toBe(3);
  });
});

describe("names", () => {
  test("all tags of a repository, and only of that one", async () => {
    using target = new FakeRegistry();
    const { engine } = fixture;
    const repository = `${target.host}/app`;
    const { id } = await importRootfs(ctx, engine, {
      source: streamOf(first),
      name: `${repository}:v1`,
      changes: [],
    });
    engine.images.tag(id, `${repository}:v2`);
    engine.images.tag(id, `${repository}lication:v3`);
    await importRootfs(ctx, engine, { source: streamOf(second), name: `${repository}:other`, changes: [] });
    const { pushed } = await push(ctx, engine, { image: repository, allTags: true, registry: { retry } });
    expect(pushed.map(({ name }) => name)).toEqual(
      ["other", "v1", "v2"].map((tag) => `${repository}:${tag}`),
    );
    expect(pushed[1]?.digest).toBe(pushed[2]?.digest as string);
    expect([...target.manifests.keys()].filter((key) => !key.includes(":")).toSorted()).toEqual([
      "other",
      "v1",
      "v2",
    ]);
    for (const bad of [`${repository}:v1`, "nosuch/repository"])
      expect(
        (await failure(push(ctx, engine, { image: bad, allTags: true, registry: { retry } }))).kind,
      ).toBe(bad === "nosuch/repository" ? "not-found" : "invalid-argument");
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
