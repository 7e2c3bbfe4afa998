// Indexes with what they list, and pushes that fail half way.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { engineFixture, type EngineFixture, streamOf, tarOf } from "../../test/fake/engine.ts";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry, problem } from "../../test/fake/registry.ts";
import { storeIndex } from "../../test/fake/stored-index.ts";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { collectGarbage } from "../storage/gc.ts";
import { importRootfs } from "./import.ts";
import { pull } from "./pull.ts";
import { push, type PushRequest } from "./push.ts";

const ctx = createCtx();
const retry = { retries: 1, baseMs: 5, stallMs: 5000 };
const first = tarOf({ "etc/one": "1" });

let fixture: EngineFixture;
beforeEach(() => {
  fixture = engineFixture("push-documents");
});
afterEach(() => fixture[Symbol.dispose]());

const NAME = "local/multi:1";

describe("indexes", () => {
  const pushIndex = (target: { host: string }, more: Partial<PushRequest> = {}) =>
    push(ctx, fixture.engine, {
      image: NAME,
      destination: `${target.host}/m:1`,
      registry: { retry },
      ...more,
    });

  test("go with all that they list, byte for byte, what is listed first", async () => {
    using target = new FakeRegistry();
    const { digest, bytes, images, statement } = await storeIndex(fixture.engine, NAME);
    expect((await pushIndex(target)).digest).toBe(digest);
    expect(Buffer.from(target.manifests.get("1")?.bytes ?? []).equals(bytes)).toBe(true);
    for (const image of [...images, statement]) {
      expect(target.manifests.has(image.manifestDigest)).toBe(true);
      for (const [blob, content] of image.blobs)
        if (blob !== image.manifestDigest) expect(target.blobs.get(blob)).toEqual(new Uint8Array(content));
    }
    expect(target.seen.filter((s) => s.method === "PUT").at(-1)?.path).toEndWith("/manifests/1");
    expect(fixture.engine.manifests.resolve(NAME).repoDigests).toEqual([`${target.host}/m@${digest}`]);
  });

  test("sparse ones need what is missing at the registry", async () => {
    using target = new FakeRegistry();
    const { digest, images, statement } = await storeIndex(fixture.engine, NAME, { sparse: true });
    expect(await failure(pushIndex(target))).toMatchObject({ kind: "not-found", reason: "sparse-index" });
    expect(target.manifests.has("1")).toBe(false);
    for (const image of [...images, statement])
      target.addManifest(image.manifestDigest, Buffer.from(image.manifest).toString());
    expect((await pushIndex(target)).digest).toBe(digest);
    expect((await pushIndex(target, { children: "none" })).digest).toBe(digest);
  });

  test("one platform of it", async () => {
    using target = new FakeRegistry();
    const { images } = await storeIndex(fixture.engine, NAME);
    const { digest } = await pushIndex(target, { platform: "linux/s390x" });
    expect(digest).toBe(images[1]?.manifestDigest as string);
    expect(await failure(pushIndex(target, { platform: "linux/riscv64" }))).toMatchObject({
      kind: "not-found",
    });
  });

  test("in another format and compression, with every platform converted", async () => {
    using target = new FakeRegistry();
    const { images } = await storeIndex(fixture.engine, NAME, { family: "docker" });
    const compression = { format: "zstd", force: true } as const;
    const { digest } = await pushIndex(target, { compression });
    const index = JSON.parse(Buffer.from(target.manifests.get("1")?.bytes ?? []).toString()) as {
      mediaType: string;
      manifests: { digest: string; mediaType: string; size: number; platform: object }[];
    };
    expect(index.mediaType).toBe("application/vnd.oci.image.index.v1+json");
    expect(index.manifests.map((entry) => entry.mediaType)).toEqual(
      Array(2).fill("application/vnd.oci.image.manifest.v1+json"),
    );
    expect(index.manifests.map((entry) => target.manifests.get(entry.digest)?.bytes.length)).toEqual(
      index.manifests.map((entry) => entry.size),
    );
    expect(digest).toBe(digestOf(target.manifests.get("1")?.bytes ?? ""));
    using other = engineFixture("push-index");
    const record = await pull(ctx, other.engine, {
      reference: `${target.host}/m:1`,
      platform: "linux/s390x",
      policy: "always",
      registry: { retry },
    });
    expect(record.id).toBe(images[1]?.configDigest as string);
  });
});

describe("a push that fails", () => {
  test.each([
    ["an upload that is refused", "uploads", "PUT", () => problem(403, "DENIED")],
    ["a manifest that is refused", "manifests", "PUT", () => problem(400, "MANIFEST_INVALID")],
    ["a manifest too large for it", "manifests", "PUT", () => problem(413, "SIZE_INVALID")],
    [
      "a manifest under another digest",
      "manifests",
      "PUT",
      () =>
        new Response(null, { status: 201, headers: { "Docker-Content-Digest": `sha256:${"0".repeat(64)}` } }),
    ],
    ["a registry that is broken", "blobs", "HEAD", () => problem(500, "UNKNOWN")],
  ])("%s: the store is as before, nothing is left over there", async (_, part, method, answer) => {
    using target = new FakeRegistry();
    target.fault = (seen) => (seen.method === method && seen.path.includes(part) ? answer() : undefined);
    const { engine } = fixture;
    await importRootfs(ctx, engine, { source: streamOf(first), name: "local/x:1", changes: [] });
    const { manifestDigest, repoDigests } = engine.images.resolve("local/x:1");
    const blobs = () => engine.db.all("SELECT digest FROM blobs ORDER BY digest");
    const before = blobs();
    const destination = `${target.host}/y:1`;
    await failure(push(ctx, engine, { image: "local/x:1", destination, registry: { retry } }));
    expect(engine.images.resolve("local/x:1")).toMatchObject({ manifestDigest, repoDigests });
    expect([target.openUploads, target.manifests.size]).toEqual([0, 0]);
    // What was compressed meanwhile is nobody's.
    collectGarbage(engine.store);
    expect(blobs()).toEqual(before);
  });
});
