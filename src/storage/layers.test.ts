import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { gzipSync } from "node:zlib";
import { createCtx } from "../core/ctx.ts";
import { chainIds } from "../image/chain.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { AT_FDCWD } from "../sys/const.ts";
import { linux } from "../sys/linux.ts";
import { check } from "./check.ts";
import { destroy, failureOf, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import { collectGarbage } from "./gc.ts";
import { recover } from "./recover.ts";
import type { ApplyRequest } from "./storage.ts";
import type { Store } from "./store.ts";

let base: string;
let store: Store;
const ctx = createCtx();
const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";

beforeEach(() => {
  base = temporaryDir("layers");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

interface MadeLayer {
  tar: Uint8Array;
  bytes: Uint8Array;
  diffId: Digest;
  blob: Descriptor;
}

/** A layer of what `fill` makes, packed by the host's tar; `extra` are further arguments of it. */
function makeLayer(fill: (dir: string) => void, ...extra: string[]): MadeLayer {
  const dir = `${base}/make`;
  mkdirSync(dir);
  fill(dir);
  const tar = Bun.spawnSync(["tar", "-C", dir, "-c", ...(extra.length > 0 ? extra : ["."])]).stdout;
  rmSync(dir, { recursive: true });
  const bytes = gzipSync(tar);
  return {
    tar,
    bytes,
    diffId: digestOf(tar),
    blob: { mediaType: GZIP, digest: digestOf(bytes), size: bytes.length },
  };
}

function files(contents: Record<string, string>): (dir: string) => void {
  return (dir) => {
    for (const [path, text] of Object.entries(contents)) {
      mkdirSync(dirname(`${dir}/${path}`), { recursive: true });
      writeFileSync(`${dir}/${path}`, text);
    }
  };
}

function requestOf(layer: MadeLayer, change: Partial<ApplyRequest> = {}): ApplyRequest & { diffId: Digest } {
  return {
    diffId: layer.diffId,
    blob: layer.blob,
    source: streamOf(layer.bytes),
    ...change,
  } as ApplyRequest & {
    diffId: Digest;
  };
}

const unread: AsyncIterable<Uint8Array> = {
  [Symbol.asyncIterator]: () => {
    throw new Error("was read");
  },
};

function expectNothing(): void {
  for (const dir of [store.paths.ingest, store.paths.trash, store.paths.locks, store.paths.layers]) {
    expect([dir, namesIn(dir)]).toEqual([dir, []]);
  }
  expect(store.db.all("SELECT * FROM layers")).toEqual([]);
  expect(store.db.all("SELECT * FROM leases WHERE kind <> 'session'")).toEqual([]);
}

async function tarOf(chainId: Digest): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.layers.tar(ctx, chainId)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test("a layer is unpacked and kept, once", async () => {
  const layer = makeLayer(files({ "a/b": "hello" }));
  let consumed = 0;
  const record = await store.layers.apply(ctx, requestOf(layer, { onBytes: (n) => void (consumed = n) }));
  expect(record).toMatchObject({ chainId: layer.diffId, diffId: layer.diffId, blob: layer.blob, size: 5 });
  expect(consumed).toBe(layer.bytes.length);
  expect(readFileSync(`${store.layers.diffPath(record.chainId)}/a/b`, "utf8")).toBe("hello");
  expect(store.content.has(layer.blob.digest)).toBe(true);
  expect(await store.layers.apply(ctx, requestOf(layer, { source: unread }))).toEqual(record);
  expect(Buffer.compare(await tarOf(record.chainId), layer.tar)).toBe(0);
  expect(store.layers.list()).toEqual([record]);
  expect(namesIn(store.paths.ingest)).toEqual([]);
  expect(namesIn(store.paths.locks)).toEqual([]);
  expect(await check(ctx, store, { repair: false, quick: false, containers: () => new Set() })).toEqual([]);
});

test("an image's layers at once, whatever the order they come in", async () => {
  const layers = [
    makeLayer((dir) => {
      files({ "tmp/x": "1", "etc/gone": "1", "etc/kept": "1", "opaque/old": "1" })(dir);
      chmodSync(`${dir}/tmp`, 0o1777);
      chmodSync(dir, 0o711);
    }),
    makeLayer(
      files({ "tmp/y": "2", "etc/.wh.gone": "", "opaque/.wh..wh..opq": "", "opaque/new": "2" }),
      "tmp/y",
      "etc/.wh.gone",
      "opaque",
    ),
    makeLayer(files({ "tmp/y": "3" }), "tmp/y"),
  ];
  const delays = [60, 30, 0];
  const requests = layers.map((layer, i) =>
    requestOf(layer, {
      source: (async function* () {
        await Bun.sleep(delays[i] as number);
        yield layer.bytes;
      })(),
    }),
  );
  const records = await store.layers.applyAll(ctx, requests, 3);
  expect(records.map((record) => record.chainId)).toEqual(chainIds(layers.map((layer) => layer.diffId)));
  const chainId = records[2]?.chainId as Digest;
  expect(store.layers.stack(chainId).map((record) => record.diffId)).toEqual(
    layers.map((layer) => layer.diffId).toReversed(),
  );
  store.rootfs.create({ id: "c1", chainId });
  const root = store.rootfs.mount({ id: "c1", chainId });
  expect(readFileSync(`${root}/tmp/y`, "utf8")).toBe("3");
  expect(readdirSync(`${root}/tmp`).toSorted()).toEqual(["x", "y"]);
  expect(readdirSync(`${root}/etc`)).toEqual(["kept"]);
  expect(readdirSync(`${root}/opaque`)).toEqual(["new"]);
  // Neither upper layer lists /tmp or the root itself: both must look as the bottom one says.
  expect(statSync(`${root}/tmp`).mode & 0o7777).toBe(0o1777);
  expect(statSync(root).mode & 0o7777).toBe(0o711);
});

test("a child waits for its parent and fails with it", async () => {
  const parent = makeLayer(files({ a: "1" }));
  const child = makeLayer(files({ b: "2" }));
  const broken = (async function* () {
    await Bun.sleep(50);
    yield await Promise.reject(new Error("connection lost"));
  })();
  const attempts = [
    failureOf(store.layers.apply(ctx, requestOf(parent, { source: broken }))),
    failureOf(store.layers.apply(ctx, requestOf(child, { parent: parent.diffId }))),
  ];
  for (const error of await Promise.all(attempts))
    expect(error).toMatchObject({ message: "connection lost" });
  const orphan = store.layers.apply(ctx, requestOf(child, { parent: digestOf("nobody") }));
  expect(await failureOf(orphan)).toMatchObject({ kind: "not-found" });
  expectNothing();
});

test("the first failure of several stops the others", async () => {
  const layers = Array.from({ length: 4 }, (_, i) => makeLayer(files({ [`f${i}`]: "x" })));
  let stopped = 0;
  const requests = layers.map((layer, i) =>
    requestOf(layer, {
      source: (async function* () {
        try {
          yield layer.bytes.subarray(0, 10);
          await Bun.sleep(i === 1 ? 1 : 100);
          if (i === 1) throw new Error("connection lost");
          yield layer.bytes.subarray(10);
        } finally {
          stopped++;
        }
      })(),
    }),
  );
  expect(await failureOf(store.layers.applyAll(ctx, requests, 2))).toMatchObject({
    message: "connection lost",
  });
  // One that sleeps is not waited for; it hears of it when it wakes.
  for (let i = 0; i < 100 && stopped < 2; i++) await Bun.sleep(5);
  expect(stopped).toBe(2);
  expectNothing();
});

test("wrong, short, long and mangled layers leave nothing", async () => {
  const layer = makeLayer(files({ a: "x".repeat(10_000) }));
  const other = makeLayer(files({ b: "y" }));
  const { bytes, blob } = layer;
  const cases: [string, Partial<ApplyRequest>, Record<string, unknown>][] = [
    ["other bytes", { source: streamOf(other.bytes) }, { kind: "data-loss" }],
    ["other diffId", { diffId: other.diffId }, { kind: "data-loss", reason: "diff-id-mismatch" }],
    ["truncated", { source: streamOf(bytes.subarray(0, 60)) }, { kind: "data-loss" }],
    ["too long", { source: streamOf(bytes, bytes) }, { kind: "data-loss", reason: "size-mismatch" }],
    [
      "other digest",
      { blob: { ...blob, digest: other.blob.digest } },
      { kind: "data-loss", reason: "digest-mismatch" },
    ],
    ["empty", { source: streamOf() }, { kind: "data-loss" }],
    ["canceled", {}, { kind: "canceled" }],
  ];
  for (const [what, change, wanted] of cases) {
    const asked = what === "canceled" ? createCtx({ signal: AbortSignal.abort() }) : ctx;
    expect([what, await failureOf(store.layers.apply(asked, requestOf(layer, change)))]).toMatchObject([
      what,
      wanted,
    ]);
    expectNothing();
  }
  expect(store.db.all("SELECT * FROM blobs")).toEqual([]);
  await store.layers.apply(ctx, requestOf(layer));
});

test("without a descriptor the bytes are kept all the same", async () => {
  const layer = makeLayer(files({ a: "1" }));
  const plain = await store.layers.apply(ctx, { source: streamOf(layer.tar) });
  expect(plain).toMatchObject({
    diffId: layer.diffId,
    blob: {
      digest: layer.diffId,
      size: layer.tar.length,
      mediaType: "application/vnd.oci.image.layer.v1.tar",
    },
  });
  const again = await store.layers.apply(ctx, { source: streamOf(layer.bytes) });
  expect(again).toEqual(plain);
  const child = await store.layers.apply(ctx, { source: streamOf(layer.bytes), parent: plain.chainId });
  expect(child.blob).toEqual({ digest: layer.blob.digest, size: layer.bytes.length, mediaType: GZIP });
  expect(child.chainId).toBe(chainIds([layer.diffId, layer.diffId])[1] as Digest);
});

test("a blob that is there is not fetched again", async () => {
  const layer = makeLayer(files({ a: "1" }));
  await store.content.ingest(ctx, streamOf(layer.bytes), layer.blob);
  const record = await store.layers.apply(ctx, requestOf(layer, { source: unread }));
  expect(record.blob).toEqual(layer.blob);
});

test("an upper directory becomes a layer that can be packed again, and is checked by that", async () => {
  const bottom = await store.layers.apply(
    ctx,
    requestOf(makeLayer(files({ "etc/a": "1", "etc/b": "1", "d/x": "1" }))),
  );
  store.rootfs.create({ id: "c1", chainId: bottom.chainId });
  const root = store.rootfs.mount({ id: "c1", chainId: bottom.chainId });
  rmSync(`${root}/etc/a`);
  writeFileSync(`${root}/etc/b`, "changed");
  rmSync(`${root}/d`, { recursive: true });
  mkdirSync(`${root}/d`);
  writeFileSync(`${root}/d/y`, "2");
  symlinkSync("etc/b", `${root}/link`);
  chmodSync(`${root}/link`, 0o4711);
  linux.setxattr(
    `${root}/etc/b`,
    "security.capability",
    Buffer.from("0100000200040000000000000000000000000000", "hex"),
  );
  const top = await store.layers.fromUpper(ctx, { parent: bottom.chainId, upper: store.rootfs.upper("c1") });
  expect(top.blob).toBeUndefined();
  expect((await tarOf(top.chainId)).length).toBe(top.tarSize as number);
  expect(
    await store.layers.fromUpper(ctx, { parent: bottom.chainId, upper: store.rootfs.upper("c1") }),
  ).toEqual(top);

  store.rootfs.create({ id: "c2", chainId: top.chainId });
  const copy = store.rootfs.mount({ id: "c2", chainId: top.chainId });
  expect(readdirSync(copy).toSorted()).toEqual(["d", "etc", "link"]);
  expect(readdirSync(`${copy}/etc`)).toEqual(["b"]);
  expect(readdirSync(`${copy}/d`)).toEqual(["y"]);
  expect(statSync(`${copy}/link`).mode & 0o7777).toBe(0o4711);
  expect(linux.getxattr(`${copy}/etc/b`, "security.capability")?.length).toBe(20);

  const sound = { repair: false, quick: false, containers: () => new Set(["c1", "c2"]) };
  expect(await check(ctx, store, sound)).toEqual([]);
  writeFileSync(`${store.paths.diff(top.chainId)}/d/y`, "3");
  expect(await check(ctx, store, sound)).toMatchObject([{ kind: "layer-damaged", object: top.chainId }]);
  const drain = async (): Promise<void> => void (await tarOf(top.chainId));
  expect(await failureOf(drain())).toMatchObject({ kind: "data-loss" });
});

test("two processes apply one image: each layer is fetched once", async () => {
  const layers = Array.from({ length: 3 }, (_, i) => makeLayer(files({ [`f${i}`]: "x".repeat(50_000) })));
  layers.forEach((layer, i) => writeFileSync(`${base}/layer${i}`, layer.bytes));
  const script = `
    import { storeAt } from "${import.meta.dir}/fixture.ts";
    import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
    import { readFileSync } from "node:fs";
    const store = storeAt("${base}");
    let fetched = 0;
    const layers = ${JSON.stringify(layers.map(({ diffId, blob }) => ({ diffId, blob })))};
    await store.layers.applyAll(createCtx(), layers.map((layer, i) => ({
      ...layer,
      source: (async function* () { fetched++; await Bun.sleep(10); yield readFileSync("${base}/layer" + i); })(),
    })), 2);
    console.log(fetched);`;
  const children = Array.from({ length: 3 }, () =>
    Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" }),
  );
  const said = await Promise.all(children.map((child) => new Response(child.stdout).text()));
  expect(said.reduce((sum, text) => sum + Number(text), 0)).toBe(3);
  expect(store.layers.list().length).toBe(3);
}, 20_000);

for (const point of ["start", "unpacked", "synced", "renamed", "committed"]) {
  test(`killed while making a layer, at "${point}"`, async () => {
    const layer = makeLayer(files({ a: "1" }));
    writeFileSync(`${base}/layer`, layer.bytes);
    const script = `
      import { storeAt, streamOf } from "${import.meta.dir}/fixture.ts";
      import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
      import { readFileSync } from "node:fs";
      await storeAt("${base}").layers.apply(createCtx(), {
        diffId: "${layer.diffId}", blob: ${JSON.stringify(layer.blob)}, source: streamOf(readFileSync("${base}/layer")) });`;
    const child = Bun.spawn([process.execPath, "-e", script], {
      env: { ...process.env, BERTH_FAILPOINTS: `storage.layer.${point}=exit` },
      stderr: "inherit",
    });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    expect(recover(store).leases.length).toBeGreaterThan(0);
    expect(store.layers.get(layer.diffId) !== undefined).toBe(point === "committed");
    if (point !== "committed") expectNothing();
    const record = await store.layers.apply(ctx, requestOf(layer));
    expect(readFileSync(`${store.layers.diffPath(record.chainId)}/a`, "utf8")).toBe("1");
    store.leases.endSession();
    collectGarbage(store);
    expectNothing();
    expect(namesIn(`${store.paths.blobs}/sha256`)).toEqual([]);
  });
}

test("a full disk in the middle of a layer", async () => {
  const layer = makeLayer(files({ a: "x".repeat(6_000_000) }));
  const small = temporaryDir("full-layer");
  linux.mount("tmpfs", small, "tmpfs", 0, "size=4m");
  let full: Store | undefined;
  try {
    full = storeAt(small);
    expect(await failureOf(full.layers.apply(ctx, requestOf(layer)))).toMatchObject({
      kind: "resource-exhausted",
    });
    for (const dir of [full.paths.ingest, full.paths.trash, full.paths.layers])
      expect(namesIn(dir)).toEqual([]);
    expect(existsSync(full.paths.blob(layer.blob.digest))).toBe(false);
  } finally {
    full?.db.close();
    linux.umount(small);
    linux.unlink(AT_FDCWD, small, 0x200);
  }
});
