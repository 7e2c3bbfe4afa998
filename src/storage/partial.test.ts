// What a broken copy of a blob leaves, who goes on with it, and who takes it away.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { tarOf } from "../../test/fake/engine.ts";
import { createCtx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { check } from "./check.ts";
import { destroy, failureOf, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import { FileLock } from "./lock.ts";
import { blobLock, dropPartials, partialName } from "./partial.ts";
import { recover } from "./recover.ts";
import type { ByteSource } from "./storage.ts";
import type { Store } from "./store.ts";
import { storeUsage } from "./usage.ts";

const ctx = createCtx();
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: unpacking layers needs root");

let base: string;
let store: Store;
beforeEach(() => {
  base = temporaryDir("partial");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

const bytes = crypto.getRandomValues(new Uint8Array(65_536 * 5));
const digest = digestOf(bytes);
const expected = { digest, size: bytes.length };
const CHUNK = 50_000;

interface Told {
  /** Offsets that were asked for. */
  asked: number[];
  given: number;
}

/** Gives `of` in chunks from the offset, and fails at `until` if that is given. */
function sourceOf(told: Told, of: Uint8Array, until = Infinity, error: unknown = broken()): ByteSource {
  return async function* (offset) {
    told.asked.push(offset);
    for (let at = offset; at < of.length; at += CHUNK) {
      if (at >= until) throw error;
      // A Buffer's slice would share memory, which the receiver frees.
      const chunk = Uint8Array.from(of.subarray(at, at + CHUNK));
      told.given += chunk.length;
      await Promise.resolve();
      yield chunk;
    }
  };
}

function broken(): Error {
  return fail("unavailable", "the connection broke");
}

function nothing(): Told {
  return { asked: [], given: 0 };
}

function path(of: Digest = digest): string {
  return `${store.paths.ingest}/${partialName(of)}`;
}

function rows(): unknown[] {
  return store.db.all("SELECT digest, size FROM partials");
}

async function breakOff(until = 200_000): Promise<void> {
  const told = nothing();
  const error = await failureOf(store.content.ingest(ctx, sourceOf(told, bytes, until), expected));
  expect(error).toMatchObject({ kind: "unavailable" });
  expect(statSync(path()).size).toBe(until);
}

function expectWhole(): void {
  expect(Buffer.from(store.content.read(digest)).equals(bytes)).toBe(true);
  expect(rows()).toEqual([]);
  expect(namesIn(store.paths.ingest)).toEqual([]);
}

test("a copy that broke off is gone on with, and only the rest is asked for", async () => {
  await breakOff();
  expect(rows()).toEqual([{ digest, size: bytes.length }]);
  expect(store.leases.dead()).toEqual([]);
  const told = nothing();
  expect(await store.content.ingest(ctx, sourceOf(told, bytes), expected)).toEqual(expected);
  expect(told).toEqual({ asked: [200_000], given: bytes.length - 200_000 });
  expectWhole();
});

test("it may break off again and again", async () => {
  for (const until of [100_000, 150_000, 300_000]) await breakOff(until);
  const told = nothing();
  await store.content.ingest(ctx, sourceOf(told, bytes), expected);
  expect(told.asked).toEqual([300_000]);
  expectWhole();
});

test("one that brings nothing new loses nothing", async () => {
  await breakOff();
  const told = nothing();
  await failureOf(store.content.ingest(ctx, sourceOf(told, bytes, 0), expected));
  expect(told).toEqual({ asked: [200_000], given: 0 });
  expect(statSync(path()).size).toBe(200_000);
});

test("all bytes but not the end of the stream", async () => {
  const source: ByteSource = async function* () {
    yield bytes.slice();
    await Promise.resolve();
    throw broken();
  };
  await failureOf(store.content.ingest(ctx, source, expected));
  const told = nothing();
  await store.content.ingest(ctx, sourceOf(told, bytes), expected);
  expect(told).toEqual({ asked: [bytes.length], given: 0 });
  expectWhole();
});

test("a copy that is given up is kept too", async () => {
  const stop = new AbortController();
  const source: ByteSource = async function* () {
    yield bytes.slice(0, 100_000);
    stop.abort();
    await Promise.resolve();
    yield bytes.slice(100_000, 150_000);
    throw broken();
  };
  const error = await failureOf(store.content.ingest(createCtx({ signal: stop.signal }), source, expected));
  expect(error).toMatchObject({ kind: "canceled" });
  expect(statSync(path()).size).toBeGreaterThanOrEqual(100_000);
});

describe("nothing is kept", () => {
  const cases: [string, () => [ByteSource, { digest: Digest; size?: number }]][] = [
    ["of a source that cannot begin in the middle", () => [cut(streamOf(bytes)), expected]],
    ["of a blob of unknown size", () => [sourceOf(nothing(), bytes, 200_000), { digest }]],
    ["of a few bytes", () => [sourceOf(nothing(), bytes, 50_000), expected]],
    [
      "of wrong bytes",
      () => [
        sourceOf(
          nothing(),
          bytes.map((byte) => byte ^ 1),
        ),
        expected,
      ],
    ],
    ["of too many bytes", () => [sourceOf(nothing(), Buffer.concat([bytes, bytes])), expected]],
    ["of too few bytes", () => [sourceOf(nothing(), bytes.subarray(0, 200_000)), expected]],
    [
      "where the source says that it has other bytes",
      () => [sourceOf(nothing(), bytes, 200_000, fail("data-loss", "other size")), expected],
    ],
  ];
  async function* cut(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    yield* source;
    throw broken();
  }
  test.each(cases)("%s", async (_, make) => {
    const [source, wanted] = make();
    await failureOf(store.content.ingest(ctx, source, wanted));
    expect(namesIn(store.paths.ingest)).toEqual([]);
    expect(rows()).toEqual([]);
    expect(store.db.all("SELECT * FROM leases WHERE kind <> 'session'")).toEqual([]);
  });
});

describe("what was kept and is not what it should be", () => {
  const damage: Record<string, () => void> = {
    "a wrong byte": () => {
      const kept = readFileSync(path());
      kept[12_345] = (kept[12_345] as number) ^ 1;
      writeFileSync(path(), kept);
    },
    "zeros after a power cut": () => writeFileSync(path(), new Uint8Array(200_000)),
    "more than the whole": () => truncateSync(path(), bytes.length + 1),
  };
  test.each(Object.keys(damage))("%s is found, and all is asked for again", async (what) => {
    await breakOff();
    damage[what]?.();
    const told = nothing();
    await store.content.ingest(ctx, sourceOf(told, bytes), expected);
    expect(told.asked.at(-1)).toBe(0);
    expectWhole();
  });

  test("under another size it is not used", async () => {
    await breakOff();
    const told = nothing();
    const wanted = { digest, size: bytes.length - 1 };
    await failureOf(store.content.ingest(ctx, sourceOf(told, bytes), wanted));
    expect(told.asked).toEqual([0]);
    expect(namesIn(store.paths.ingest)).toEqual([]);
  });
});

describe.skipIf(!isRoot)("a layer", () => {
  const noise = crypto.getRandomValues(new Uint8Array(60_000));
  const tar = tarOf(
    Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`dir/file-${i}`, noise.map((b) => b ^ i)])),
  );
  const layer = gzipSync(tar);
  const blob = {
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    digest: digestOf(layer),
    size: layer.length,
  };
  const request = (source: ByteSource) => ({ diffId: digestOf(tar), blob, source });

  test("is unpacked from both halves", async () => {
    await failureOf(store.layers.apply(ctx, request(sourceOf(nothing(), layer, 250_000))));
    expect(namesIn(store.paths.ingest)).toEqual([partialName(blob.digest)]);
    const told = nothing();
    const record = await store.layers.apply(ctx, request(sourceOf(told, layer)));
    expect(told.asked).toEqual([250_000]);
    const found = readFileSync(`${store.layers.diffPath(record.chainId)}/dir/file-7`);
    expect(found.equals(noise.map((b) => b ^ 7))).toBe(true);
    expect(namesIn(store.paths.ingest)).toEqual([]);
  });

  test("whose first half was spoilt is unpacked from a new one", async () => {
    await failureOf(store.layers.apply(ctx, request(sourceOf(nothing(), layer, 250_000))));
    writeFileSync(path(blob.digest), new Uint8Array(250_000));
    const told = nothing();
    const record = await store.layers.apply(ctx, request(sourceOf(told, layer)));
    expect(told.asked.at(-1)).toBe(0);
    expect(namesIn(`${store.layers.diffPath(record.chainId)}/dir`).length).toBe(8);
    expect(namesIn(store.paths.ingest)).toEqual([]);
    expect(await check(ctx, store, { repair: false, quick: false, containers: () => new Set() })).toEqual([]);
  });

  test("that is broken at its source leaves nothing, whatever was kept", async () => {
    const wrong = Buffer.from(layer);
    wrong[300_000] = (wrong[300_000] as number) ^ 1;
    await failureOf(store.layers.apply(ctx, request(sourceOf(nothing(), layer, 250_000))));
    const told = nothing();
    const error = await failureOf(store.layers.apply(ctx, request(sourceOf(told, wrong))));
    expect(error).toMatchObject({ kind: "data-loss" });
    // With what was kept, and once more without.
    expect(told.asked).toEqual([250_000, 0]);
    expect(namesIn(store.paths.ingest)).toEqual([]);
    expect(rows()).toEqual([]);
  });
});

describe("after a kill", () => {
  /** A process that writes the blob and dies at the failpoint. */
  async function die(failpoint: string): Promise<void> {
    const script = `
      const { storeAt } = await import("${import.meta.dir}/fixture.ts");
      const { createCtx } = await import("${import.meta.dir}/../core/ctx.ts");
      const bytes = await Bun.file(${JSON.stringify(`${base}/bytes`)}).bytes();
      async function* source(offset) {
        for (let at = offset; at < bytes.length; at += ${CHUNK}) yield bytes.slice(at, at + ${CHUNK});
      }
      await storeAt(${JSON.stringify(base)}).content.ingest(createCtx(), source, ${JSON.stringify(expected)});`;
    writeFileSync(`${base}/bytes`, bytes);
    const child = Bun.spawn([process.execPath, "-e", script], {
      env: { ...process.env, BERTH_FAILPOINTS: failpoint },
      stderr: "inherit",
    });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
  }

  test("recovery leaves it, and the next process goes on", async () => {
    await die("storage.blob.write=4*off->exit");
    const { size } = statSync(path());
    expect(size).toBe(4 * CHUNK);
    expect(recover(store).leftovers).toEqual([]);
    expect(store.leases.dead()).toEqual([]);
    expect(await check(ctx, store, { repair: false, quick: false, containers: () => new Set() })).toEqual([]);
    const told = nothing();
    await store.content.ingest(ctx, sourceOf(told, bytes), expected);
    expect(told.asked).toEqual([size]);
    expectWhole();
  });

  test("too little to go on with goes", async () => {
    await die("storage.blob.write=1*off->exit");
    recover(store);
    expect(namesIn(store.paths.ingest)).toEqual([]);
    expect(rows()).toEqual([]);
  });

  test.each(["synced", "renamed", "committed"])("at its end, at %s", async (point) => {
    await die(`storage.blob.${point}=exit`);
    recover(store);
    await store.content.ingest(ctx, sourceOf(nothing(), bytes), expected);
    expectWhole();
  });
});

describe("is taken away", () => {
  const findings = async (repair: boolean): Promise<string[]> =>
    (await check(ctx, store, { repair, quick: true, containers: () => new Set() })).map(({ kind }) => kind);

  test("by prune, unless somebody is writing it", async () => {
    await breakOff();
    expect(storeUsage(store).partials).toBeGreaterThanOrEqual(200_000);
    const lock = FileLock.try(blobLock(store, digest)) as FileLock;
    expect(dropPartials(store, "all").size).toBe(0);
    lock.release();
    expect([...dropPartials(store, "all")]).toEqual([[digest, 200_000]]);
    expect(namesIn(store.paths.ingest)).toEqual([]);
    expect(rows()).toEqual([]);
    expect(storeUsage(store).partials).toBe(0);
  });

  test("after a week, by recovery", async () => {
    await breakOff();
    const daysAgo = (days: number): string => new Date(Date.now() - days * 86_400_000).toISOString();
    store.db.run("UPDATE partials SET updated = ?", daysAgo(6.9));
    recover(store);
    expect(rows().length).toBe(1);
    expect(await findings(false)).toEqual([]);
    store.db.run("UPDATE partials SET updated = ?", daysAgo(7.1));
    expect(await findings(false)).toEqual(["partial"]);
    expect(await findings(true)).toEqual(["partial"]);
    expect(await findings(false)).toEqual([]);
    expect(namesIn(store.paths.ingest)).toEqual([]);
  });

  test("without a row, and a row without a file", async () => {
    writeFileSync(path(), bytes);
    expect(await findings(true)).toEqual(["leftover"]);
    store.db.run("INSERT INTO partials VALUES (?, 5, '2026-01-01T00:00:00Z')", digest);
    store.db.run("INSERT INTO partials VALUES ('sha256:../../x', 5, '2026-01-01T00:00:00Z')");
    expect(await findings(true)).toEqual(["partial", "partial"]);
    expect(await findings(false)).toEqual([]);
    expect(rows()).toEqual([]);
  });

  test("whatever stands in its place", async () => {
    store.db.run("INSERT INTO partials VALUES (?, ?, ?)", digest, bytes.length, new Date().toISOString());
    mkdirSync(`${path()}/sub`, { recursive: true });
    expect(await findings(true)).toEqual(["partial"]);
    expect(namesIn(store.paths.ingest)).toEqual([]);
    await store.content.ingest(ctx, sourceOf(nothing(), bytes), expected);
    expectWhole();
  });
});
