import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { linux } from "../sys/linux.ts";
import { destroy, failureOf, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import type { Store } from "./store.ts";

let base: string;
let store: Store;
const ctx = createCtx();

beforeEach(() => {
  base = temporaryDir("content");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

function nothingLeft(): void {
  expect(namesIn(store.paths.ingest)).toEqual([]);
  expect(namesIn(store.paths.locks)).toEqual([]);
  expect(store.db.all("SELECT * FROM leases WHERE kind <> 'session'")).toEqual([]);
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("a blob goes in and comes out, in private files", async () => {
  const bytes = Buffer.alloc(3_000_000, "berth");
  const digest = digestOf(bytes);
  const stored = await store.content.ingest(ctx, streamOf(bytes.subarray(0, 1), bytes.subarray(1)), {
    digest,
    size: bytes.length,
  });
  expect(stored).toEqual({ digest, size: bytes.length });
  expect(store.content.has(digest)).toBe(true);
  expect(store.content.size(digest)).toBe(bytes.length);
  expect(bytes.equals(store.content.read(digest))).toBe(true);
  expect(bytes.equals(await collect(store.content.stream(digest)))).toBe(true);
  expect(statSync(store.content.path(digest)).mode & 0o777).toBe(0o600);
  expect(statSync(store.paths.blobs).mode & 0o777).toBe(0o700);
  nothingLeft();
});

test("without a digest it is computed; sha512 is kept apart", async () => {
  const plain = await store.content.ingest(ctx, streamOf("x"));
  expect(plain).toEqual({ digest: digestOf("x"), size: 1 });
  const long = digestOf("x", "sha512");
  await store.content.ingest(ctx, streamOf("x"), { digest: long });
  expect(store.content.path(long)).toEndWith(`/sha512/${long.slice(7)}`);
  nothingLeft();
});

test("an empty blob is a blob", async () => {
  const { digest } = await store.content.ingest(ctx, streamOf());
  expect(store.content.read(digest).length).toBe(0);
  expect((await collect(store.content.stream(digest))).length).toBe(0);
});

test("what is there is not read again", async () => {
  const digest = digestOf("x");
  await store.content.ingest(ctx, streamOf("x"), { digest });
  const source = (async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.reject(new Error("was read"));
  })();
  expect(await store.content.ingest(ctx, source, { digest, size: 1 })).toEqual({ digest, size: 1 });
  expect(await failureOf(store.content.ingest(ctx, source, { digest, size: 2 }))).toMatchObject({
    reason: "size-mismatch",
  });
});

test("wrong bytes get no name: digest, size, a broken source, a canceled caller", async () => {
  const digest = digestOf("right");
  const attempt = (source: AsyncIterable<Uint8Array>, size?: number) =>
    store.content.ingest(ctx, source, size === undefined ? { digest } : { digest, size });
  expect(await failureOf(attempt(streamOf("wrong")))).toMatchObject({
    kind: "data-loss",
    reason: "digest-mismatch",
  });
  expect(await failureOf(attempt(streamOf("righ"), 5))).toMatchObject({ reason: "size-mismatch" });
  let read = 0;
  const endless = (async function* () {
    for (;;) {
      read++;
      yield await Promise.resolve(Buffer.from("right"));
    }
  })();
  expect(await failureOf(attempt(endless, 5))).toMatchObject({ reason: "size-mismatch" });
  expect(read).toBe(2);
  const broken = (async function* () {
    yield Buffer.from("ri");
    yield await Promise.reject(new Error("connection lost"));
  })();
  expect(await failureOf(attempt(broken))).toMatchObject({ message: "connection lost" });
  const gone = createCtx({ signal: AbortSignal.abort() });
  expect(await failureOf(store.content.ingest(gone, streamOf("right"), { digest }))).toMatchObject({
    kind: "canceled",
  });
  expect(store.content.has(digest)).toBe(false);
  expect(readdirSync(`${store.paths.blobs}/sha256`)).toEqual([]);
  nothingLeft();
});

test("a damaged or missing file is told from an unknown blob", async () => {
  const { digest } = await store.content.ingest(ctx, streamOf("hello"));
  writeFileSync(store.paths.blob(digest), "hellO");
  expect(() => store.content.read(digest)).toThrow(expect.objectContaining({ reason: "blob-damaged" }));
  expect(() => store.content.read(digest, 2)).toThrow(expect.objectContaining({ reason: "blob-too-large" }));
  linux.unlink(-100, store.paths.blob(digest));
  expect(() => store.content.read(digest)).toThrow(expect.objectContaining({ reason: "blob-missing" }));
  // What is lost is fetched again rather than believed in.
  await store.content.ingest(ctx, streamOf("hello"), { digest });
  expect(Buffer.from(store.content.read(digest)).toString()).toBe("hello");
  const unknown = digestOf("unknown");
  for (const use of [store.content.path, store.content.size, store.content.read, store.content.stream]) {
    expect(() => use(unknown)).toThrow(expect.objectContaining({ kind: "not-found" }));
  }
});

test("several ingests of one digest at once read one stream", async () => {
  const bytes = Buffer.alloc(200_000, 7);
  const digest = digestOf(bytes);
  let reads = 0;
  const slow = async function* (): AsyncGenerator<Uint8Array> {
    reads++;
    for (let at = 0; at < bytes.length; at += 50_000) {
      await Bun.sleep(3);
      yield bytes.subarray(at, at + 50_000);
    }
  };
  await Promise.all(Array.from({ length: 5 }, () => store.content.ingest(ctx, slow(), { digest })));
  expect(reads).toBe(1);
  nothingLeft();
});

test("several processes ingest one digest: one writes, all succeed", async () => {
  const digest = digestOf(Buffer.alloc(400_000, 9));
  const script = `
    import { storeAt } from "${import.meta.dir}/fixture.ts";
    import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
    const store = storeAt("${base}");
    let read = false;
    async function* source() {
      read = true;
      for (let i = 0; i < 8; i++) { await Bun.sleep(5); yield Buffer.alloc(50_000, 9); }
    }
    await store.content.ingest(createCtx(), source(), { digest: "${digest}", size: 400_000 });
    console.log(read ? "wrote" : "found");`;
  const children = Array.from({ length: 4 }, () =>
    Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" }),
  );
  const said = await Promise.all(children.map((child) => new Response(child.stdout).text()));
  expect(said.map((text) => text.trim()).toSorted()).toEqual(["found", "found", "found", "wrote"]);
  expect(store.content.read(digest).length).toBe(400_000);
  expect(namesIn(store.paths.ingest)).toEqual([]);
});

test("a full disk leaves nothing but an error that says so", async () => {
  const small = temporaryDir("full");
  linux.mount("tmpfs", small, "tmpfs", 0, "size=3m");
  let full: Store | undefined;
  try {
    full = storeAt(small);
    const source = (async function* () {
      for (let i = 0; i < 8; i++) yield await Promise.resolve(Buffer.alloc(1 << 20, i));
    })();
    expect(await failureOf(full.content.ingest(ctx, source))).toMatchObject({
      kind: "resource-exhausted",
      reason: "ENOSPC",
    });
    expect(namesIn(full.paths.ingest)).toEqual([]);
    expect(full.db.all("SELECT * FROM blobs")).toEqual([]);
    expect((await full.content.ingest(ctx, streamOf("fits"))).size).toBe(4);
  } finally {
    full?.db.close();
    linux.umount(small);
    linux.unlink(-100, small, 0x200);
  }
});
