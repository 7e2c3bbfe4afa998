// Artifacts in the store, in directories and on a real docker-registry, which has no referrers API.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type DockerRegistry,
  haveDockerRegistry,
  startDockerRegistry,
} from "../../test/fake/docker-registry.ts";
import { engineFixture, type EngineFixture, streamOf, tarOf } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import { CREATED, EMPTY, TITLE } from "../image/artifact.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Manifest } from "../image/image.ts";
import { collectGarbage } from "../storage/gc.ts";
import { addArtifact, type AddArtifactRequest } from "./artifact-add.ts";
import { attachedTo, listArtifacts, removeArtifact } from "./artifact-list.ts";
import { extractArtifact, pullArtifact, pullFiles } from "./artifact-pull.ts";
import { attach, pushArtifact, pushFiles } from "./artifact-push.ts";
import { referrersOf } from "./artifact-referrers.ts";
import { listImages } from "./images.ts";
import { importRootfs } from "./import.ts";
import { push } from "./push.ts";
import { check } from "./system.ts";

const ctx = createCtx();
const registryOptions = { retry: { retries: 1, baseMs: 5, stallMs: 5000 } };
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("artifact");
});
afterEach(() => fixture[Symbol.dispose]());

function make(files: string[], more: Partial<AddArtifactRequest> = {}): AddArtifactRequest {
  return {
    name: "site/report:1",
    pack: { files, annotations: {} },
    annotations: {},
    append: false,
    replace: false,
    ...more,
  };
}

/** A directory with a file, an empty directory and a link in it. */
function sampleDirectory(name = "data"): string {
  const path = join(fixture.path, name);
  mkdirSync(join(path, "sub/empty"), { recursive: true });
  writeFileSync(join(path, "sub/x"), "x");
  symlinkSync("sub/x", join(path, "link"));
  return path;
}

const names = (path: string): string[] =>
  (readdirSync(path, { recursive: true }) as string[]).toSorted((a, b) => (a < b ? -1 : 1));

const findings = async (): Promise<string[]> => {
  const { findings: all } = await check(ctx, fixture.engine, { repair: false, quick: false });
  return all.map(({ kind, object }) => `${kind} ${object}`);
};

describe("in the store", () => {
  test("files and directories come back as they were; nothing is an image", async () => {
    const { engine } = fixture;
    const big = new Uint8Array(3_000_000).fill(7);
    const files = [
      fixture.file("hi.txt", "hi\n"),
      `${fixture.file("r.json", "{}")}:application/json`,
      fixture.file("a:b", "colon"),
      `${fixture.file("c:d", "colon")}:`,
      fixture.file("big", big),
      fixture.file("empty", ""),
      sampleDirectory(),
    ];
    const { digest } = await addArtifact(ctx, engine, make(files, { type: "application/vnd.test" }));
    const [item] = listArtifacts(ctx, engine);
    expect(item).toMatchObject({ name: "localhost/site/report:1", type: "application/vnd.test" });
    expect(item?.manifest.config).toEqual(EMPTY);
    const types = item?.manifest.layers.map((layer) => [layer.annotations?.[TITLE], layer.mediaType]);
    expect(types).toEqual([
      ["hi.txt", "text/plain"],
      ["r.json", "application/json"],
      ["a:b", "text/plain"],
      ["c:d", "text/plain"],
      ["big", "application/octet-stream"],
      ["empty", "text/plain"],
      ["data", "application/vnd.oci.image.layer.v1.tar+gzip"],
    ]);
    expect(listImages(ctx, engine, { all: true, filters: [] })).toEqual([]);

    const target = join(fixture.path, "out");
    const { files: written } = await extractArtifact(ctx, engine, {
      artifact: digest,
      target,
      overwrite: false,
    });
    expect(written.map(({ path }) => path.slice(target.length + 1))).toEqual(
      types?.map(([title]) => title) as string[],
    );
    expect(names(target)).toEqual([
      "a:b",
      "big",
      "c:d",
      "data",
      "data/link",
      "data/sub",
      "data/sub/empty",
      "data/sub/x",
      "empty",
      "hi.txt",
      "r.json",
    ]);
    expect(readFileSync(join(target, "big")).equals(Buffer.from(big))).toBe(true);
    expect(readFileSync(join(target, "data/link"), "utf8")).toBe("x");
    expect(await findings()).toEqual([]);
  });

  test("a directory packed twice is the same bytes, whoever owns it", async () => {
    const { engine } = fixture;
    const path = sampleDirectory();
    const layer = async (name: string): Promise<Descriptor> => {
      const { digest } = await addArtifact(ctx, engine, make([path], { name }));
      return (engine.manifests.resolve(digest).document as Manifest).layers[0] as Descriptor;
    };
    expect(await layer("a")).toEqual(await layer("b"));
    symlinkSync("/etc/passwd", join(path, "out"));
    expect(await failure(layer("c"))).toMatchObject({ reason: "link-leads-out" });
  });

  test("SOURCE_DATE_EPOCH makes the digest stable, an annotation of one's own too", async () => {
    const { engine } = fixture;
    const file = fixture.file("f", "f");
    process.env["SOURCE_DATE_EPOCH"] = "1700000000";
    try {
      const first = await addArtifact(ctx, engine, make([file], { name: "a" }));
      const second = await addArtifact(ctx, engine, make([file], { name: "b" }));
      expect(second).toEqual(first);
      expect(engine.manifests.get(first.digest)?.names).toEqual(["localhost/a:latest", "localhost/b:latest"]);
      const { document } = engine.manifests.resolve("a");
      expect(document.annotations?.[CREATED]).toBe("2023-11-14T22:13:20Z");
    } finally {
      delete process.env["SOURCE_DATE_EPOCH"];
    }
  });

  test("append keeps what it is, replace does not, a plain add refuses", async () => {
    const { engine } = fixture;
    const [a, b] = [fixture.file("a", "a"), fixture.file("b", "b")];
    const annotations = { k: "v" };
    const first = await addArtifact(ctx, engine, make([a], { type: "t/one", annotations }));
    expect(await failure(addArtifact(ctx, engine, make([b])))).toMatchObject({ reason: "artifact-exists" });
    const second = await addArtifact(ctx, engine, make([b], { append: true }));
    expect(engine.manifests.get(first.digest)).toBeUndefined();
    const { document } = engine.manifests.resolve("localhost/site/report:1");
    expect(document).toMatchObject({ artifactType: "t/one", annotations });
    expect((document as Manifest).layers.map((layer) => layer.annotations?.[TITLE])).toEqual(["a", "b"]);
    const again = await failure(
      addArtifact(ctx, engine, make([fixture.file("b", "other")], { append: true })),
    );
    expect(again).toMatchObject({ reason: "title-twice" });
    expect(engine.manifests.resolve("site/report:1").digest).toBe(second.digest);
    const third = await addArtifact(ctx, engine, make([b], { replace: true }));
    expect(listArtifacts(ctx, engine).map(({ record }) => record.digest)).toEqual([third.digest]);
    expect(await failure(addArtifact(ctx, engine, make([a], { name: "none", append: true })))).toMatchObject({
      kind: "not-found",
    });
    removeArtifact(ctx, engine, { artifact: "site/report:1" });
    collectGarbage(engine.store);
    expect(engine.db.all("SELECT digest FROM blobs")).toEqual([]);
    expect(await findings()).toEqual([]);
  });

  test("an image's name is not taken", async () => {
    const { engine } = fixture;
    await importRootfs(ctx, engine, {
      source: streamOf(tarOf({ a: "a" })),
      name: "localhost/img:1",
      changes: [],
    });
    const error = await failure(
      addArtifact(ctx, engine, make([fixture.file("a", "a")], { name: "img:1", replace: true })),
    );
    expect(error).toMatchObject({ reason: "name-taken" });
    expect(() => removeArtifact(ctx, engine, { artifact: "img:1" })).toThrow("not an artifact");
  });

  test("what is refused leaves no trace", async () => {
    const { engine } = fixture;
    const a = fixture.file("a", "a");
    mkdirSync(join(fixture.path, "d"));
    const cases: [Partial<AddArtifactRequest>, string[], string][] = [
      [{}, ["/nosuch/file"], "path-missing"],
      [{}, [a, fixture.file("d/a", "other")], "title-twice"],
      [{}, ["/dev/null"], "not-regular"],
      [{}, [`${a}:not a type`], "media-type"],
      [{ type: "nonsense" }, [a], "media-type"],
      [{ config: "/nosuch/config" }, [a], "path-missing"],
      [{ name: "x@sha256:00" }, [a], "invalid-reference"],
      [{ pack: { files: [a], annotations: { [TITLE]: "../x" } } }, [a], "title"],
    ];
    for (const [more, files, reason] of cases) {
      const request = { ...make(files), ...more };
      expect(await failure(addArtifact(ctx, engine, request))).toMatchObject({ reason });
    }
    expect(engine.manifests.list()).toEqual([]);
    collectGarbage(engine.store);
    expect(engine.db.all("SELECT digest FROM blobs")).toEqual([]);
  });

  test("what is attached to an image lives as long as it, and can go before", async () => {
    const { engine } = fixture;
    await importRootfs(ctx, engine, {
      source: streamOf(tarOf({ a: "a" })),
      name: "localhost/img:1",
      changes: [],
    });
    const request = {
      ...make([fixture.file("sbom", "s")], { type: "t/sbom" }),
      subject: "img:1",
      local: true,
    };
    const attached = await attach(ctx, engine, { ...request, registry: {} });
    // Compressed by now: what it is attached to is what a push will send.
    const { manifestDigest } = engine.images.resolve("img:1");
    const other = await attach(ctx, engine, { ...request, type: "t/other", registry: {} });
    const deeper = await attach(ctx, engine, {
      ...request,
      subject: attached.digest,
      type: "t/deep",
      registry: {},
    });
    collectGarbage(engine.store);
    expect(attachedTo(engine, manifestDigest)).toHaveLength(2);
    const tree = await referrersOf(ctx, engine, {
      reference: "img:1",
      local: true,
      type: "t/sbom",
      depth: 9,
      registry: {},
    });
    expect(tree).toMatchObject({
      descriptor: { digest: manifestDigest },
      referrers: [
        { descriptor: { digest: attached.digest }, referrers: [{ descriptor: { digest: deeper.digest } }] },
      ],
    });
    removeArtifact(ctx, engine, { artifact: other.digest });
    expect(attachedTo(engine, manifestDigest)).toHaveLength(1);
    expect(await findings()).toEqual([]);
    engine.images.remove("img:1", { force: false, inUse: () => [] });
    expect(engine.manifests.list()).toEqual([]);
    expect(engine.db.all("SELECT digest FROM blobs")).toEqual([]);
  });
});

describe("from a registry that lies", () => {
  const at = (registry: FakeRegistry): string => `${registry.host}/x/y:1`;

  function serve(registry: FakeRegistry, layers: Descriptor[]): void {
    registry.addBlob("{}");
    const document = { schemaVersion: 2, mediaType: MANIFEST, artifactType: "t/t", config: EMPTY, layers };
    registry.addManifest("1", document);
  }

  test.each([
    [
      "wrong bytes",
      (registry: FakeRegistry, digest: string) => registry.blobs.set(digest, new Uint8Array([9, 9, 9])),
    ],
    ["no bytes", (registry: FakeRegistry, digest: string) => registry.blobs.delete(digest)],
    ["too many", (registry: FakeRegistry, digest: string) => registry.blobs.set(digest, new Uint8Array(99))],
  ])("%s: neither files nor names", async (_what, spoil) => {
    using registry = new FakeRegistry();
    const { engine } = fixture;
    const good = { ...registry.addBlob("good"), annotations: { [TITLE]: "good" } };
    const bad = { ...registry.addBlob("bad"), annotations: { [TITLE]: "bad" } };
    serve(registry, [good, bad]);
    spoil(registry, bad.digest);
    const request = { reference: at(registry), registry: registryOptions };
    const directory = join(fixture.path, "out");
    expect(["data-loss", "not-found"]).toContain(
      (await failure(pullFiles(ctx, engine, { ...request, directory, overwrite: false }))).kind,
    );
    expect(() => statSync(directory)).toThrow("ENOENT");
    expect(["data-loss", "not-found"]).toContain((await failure(pullArtifact(ctx, engine, request))).kind);
    expect(engine.manifests.list()).toEqual([]);
  });

  test("an image is no artifact, and says what to do", async () => {
    using registry = new FakeRegistry();
    const config = { ...registry.addBlob("{}"), mediaType: "application/vnd.oci.image.config.v1+json" };
    registry.addManifest("1", { schemaVersion: 2, mediaType: MANIFEST, config, layers: [] });
    const error = await failure(
      pullArtifact(ctx, fixture.engine, { reference: at(registry), registry: registryOptions }),
    );
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "not-an-artifact" });
    expect(error.hint).toContain("berth pull");
  });

  test("referrers that refer to each other end", async () => {
    using registry = new FakeRegistry();
    const config = { ...registry.addBlob("{}"), mediaType: "a/b" };
    const one = registry.addManifest("1", { schemaVersion: 2, mediaType: MANIFEST, config, layers: [] });
    const entry = { mediaType: MANIFEST, digest: one, size: 9, artifactType: "t/t" };
    const fresh = (n: number): object => ({ ...entry, digest: digestOf(String(n)) });
    let n = 0;
    let endless = false;
    registry.fault = ({ path }) =>
      path.includes("/referrers/")
        ? Response.json({ schemaVersion: 2, manifests: [entry, fresh(endless ? n++ : 0)] })
        : undefined;
    const request = { reference: at(registry), local: false, depth: Infinity, registry: registryOptions };
    const tree = await referrersOf(ctx, fixture.engine, request);
    expect(tree.referrers).toMatchObject([{ descriptor: { digest: digestOf("0") }, referrers: [] }]);
    endless = true;
    n = 1;
    const lines: string[] = [];
    const warned = createCtx({ log: createLog({ write: (line) => lines.push(line) }) });
    const cut = await referrersOf(warned, fixture.engine, request);
    expect(JSON.stringify(cut).split("referrers").length).toBe(502);
    expect(lines).toHaveLength(1);
  });
});

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("on docker-registry", () => {
  let registry: DockerRegistry;
  beforeAll(async () => {
    registry = await startDockerRegistry();
  });
  afterAll(() => registry[Symbol.asyncDispose]());

  test("from the store and straight from files: the same blobs, and all comes back", async () => {
    const { engine } = fixture;
    const files = [fixture.file("hi.txt", "hi"), fixture.file("empty", ""), sampleDirectory()];
    const annotations = { [CREATED]: "2026-01-02T03:04:05Z" };
    const config = `${fixture.file("config", '{"a":1}')}:application/vnd.test.config`;
    const request = make(files, { type: "t/t", annotations, config });
    const { digest } = await addArtifact(ctx, engine, request);
    const stored = `${registry.host}/team/stored:1`;
    const direct = `${registry.host}/team/direct:1`;
    const pushed = await pushArtifact(ctx, engine, {
      artifact: "site/report:1",
      destination: stored,
      registry: registryOptions,
    });
    expect(pushed).toEqual({ digest, reference: stored });
    const other = await pushFiles(ctx, engine, {
      ...request,
      destination: direct,
      registry: registryOptions,
    });
    expect(other.digest).toBe(digest);

    using second = engineFixture("artifact-second");
    const pulled = await pullArtifact(ctx, second.engine, { reference: direct, registry: registryOptions });
    expect(pulled).toEqual({ digest, reference: direct });
    const record = second.engine.manifests.resolve(direct);
    expect(record).toMatchObject({
      names: [direct],
      repoDigests: [`${registry.host}/team/direct@${digest}`],
    });
    collectGarbage(second.engine.store);
    const [a, b] = [join(fixture.path, "a"), join(fixture.path, "b")];
    await extractArtifact(ctx, second.engine, { artifact: direct, target: a, overwrite: false });
    await pullFiles(ctx, engine, {
      reference: stored,
      directory: b,
      overwrite: false,
      registry: registryOptions,
    });
    expect(names(a)).toEqual([
      "data",
      "data/link",
      "data/sub",
      "data/sub/empty",
      "data/sub/x",
      "empty",
      "hi.txt",
    ]);
    expect(names(b)).toEqual(names(a));
    const moved = await pushArtifact(ctx, second.engine, {
      artifact: direct,
      destination: `${registry.host}/moved:2`,
      registry: registryOptions,
    });
    expect(moved.digest).toBe(digest);
  });

  test("attached to an image, found by the fall-back tag, sent on from the store", async () => {
    const { engine } = fixture;
    const image = `${registry.host}/team/app:1`;
    await importRootfs(ctx, engine, { source: streamOf(tarOf({ a: "a" })), name: image, changes: [] });
    const { digest } = await push(ctx, engine, { image, registry: registryOptions });
    const request = { subject: image, local: false, registry: registryOptions };
    const sbom = make([fixture.file("sbom.json", "{}")], {
      type: "application/spdx+json",
      annotations: { by: "ann" },
    });
    const first = await attach(ctx, engine, { ...sbom, ...request });
    expect(first.reference).toBe(`${registry.host}/team/app@${first.digest}`);
    // A note without files, and one on the first.
    const note = make([], { type: "t/note" });
    const second = await attach(ctx, engine, { ...note, ...request });
    const third = await attach(ctx, engine, { ...note, ...request, subject: first.reference });
    const ask = { reference: image, local: false, depth: Infinity, registry: registryOptions };
    const tree = await referrersOf(ctx, engine, ask);
    expect(tree.descriptor.digest).toBe(digest);
    expect(tree.referrers).toMatchObject([
      {
        descriptor: {
          digest: first.digest,
          artifactType: "application/spdx+json",
          annotations: { by: "ann" },
        },
        referrers: [{ descriptor: { digest: third.digest } }],
      },
      { descriptor: { digest: second.digest, artifactType: "t/note" }, referrers: [] },
    ]);
    expect((await referrersOf(ctx, engine, { ...ask, depth: 1 })).referrers[0]?.referrers).toEqual([]);
    expect((await referrersOf(ctx, engine, { ...ask, type: "t/note" })).referrers).toHaveLength(1);

    const local = await attach(ctx, engine, {
      ...note,
      ...request,
      subject: image,
      local: true,
      type: "t/local",
    });
    const sent = await pushArtifact(ctx, engine, {
      artifact: local.digest,
      destination: `${registry.host}/team/app`,
      registry: registryOptions,
    });
    expect(sent.reference).toBe(`${registry.host}/team/app@${local.digest}`);
    expect((await referrersOf(ctx, engine, ask)).referrers).toHaveLength(3);
    const pulled = await pullArtifact(ctx, engine, { reference: sent.reference, registry: registryOptions });
    expect(pulled.digest).toBe(local.digest);
  });

  test("attached in the store before the image is pushed, and still there afterwards", async () => {
    const { engine } = fixture;
    const image = `${registry.host}/team/made-here:1`;
    await importRootfs(ctx, engine, { source: streamOf(tarOf({ a: "a" })), name: image, changes: [] });
    const note = { ...make([], { type: "t/note" }), subject: image, local: true, registry: registryOptions };
    const attached = await attach(ctx, engine, note);
    const { digest } = await push(ctx, engine, { image, registry: registryOptions });
    collectGarbage(engine.store);
    expect(attachedTo(engine, digest)).toMatchObject([{ record: { digest: attached.digest } }]);
    const destination = `${registry.host}/team/made-here`;
    await pushArtifact(ctx, engine, { artifact: attached.digest, destination, registry: registryOptions });
    const ask = { reference: image, local: false, depth: 1, registry: registryOptions };
    expect((await referrersOf(ctx, engine, ask)).referrers).toHaveLength(1);
  });

  test("what cannot be pushed", async () => {
    const { engine } = fixture;
    const file = fixture.file("a", "a");
    const { digest } = await addArtifact(ctx, engine, make([file]));
    const to = { registry: registryOptions };
    expect(await failure(pushArtifact(ctx, engine, { artifact: "nosuch", ...to }))).toMatchObject({
      kind: "not-found",
    });
    const pinned = `${registry.host}/x@sha256:${"1".repeat(64)}`;
    expect(
      await failure(pushArtifact(ctx, engine, { artifact: digest, destination: pinned, ...to })),
    ).toMatchObject({ reason: "push-to-digest" });
    const subject = `${registry.host}/nosuch:1`;
    expect(
      await failure(attach(ctx, engine, { ...make([file]), subject, local: false, ...to })),
    ).toMatchObject({ kind: "not-found" });
    const gone = make([file, "/nosuch"]);
    expect(
      await failure(pushFiles(ctx, engine, { ...gone, destination: `${registry.host}/x:1`, ...to })),
    ).toMatchObject({ reason: "path-missing" });
  });
});
