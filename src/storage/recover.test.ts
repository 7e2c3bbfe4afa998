import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { destroy, plantLayer, storeAt, streamOf, temporaryDir, thisProcess } from "./fixture.ts";
import { namesIn } from "./files.ts";
import { collectGarbage } from "./gc.ts";
import { createLeases } from "./lease.ts";
import { orphanContainers, recover } from "./recover.ts";
import type { Store } from "./store.ts";

let base: string;
let store: Store;
const digest = digestOf("hello");

beforeEach(() => {
  base = temporaryDir("recover");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

/** Runs `body` in another process that dies at the failpoint as if by kill -9; `store` is in its scope. */
async function die(failpoint: string, body: string): Promise<void> {
  const script = `
    import { storeAt, streamOf, imageOf, plantLayer } from "${import.meta.dir}/fixture.ts";
    import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
    import { digestOf } from "${import.meta.dir}/../image/digest.ts";
    const store = storeAt("${base}");
    const ctx = createCtx();
    ${body}`;
  const child = Bun.spawn([process.execPath, "-e", script], {
    env: { ...process.env, BERTH_FAILPOINTS: `${failpoint}=exit` },
    stderr: "inherit",
  });
  await child.exited;
  expect([failpoint, child.signalCode]).toEqual([failpoint, "SIGKILL"]);
}

/** Everything on the disk has a row and every row has its file; nothing temporary is left. */
function expectConsistent(): void {
  for (const dir of [store.paths.ingest, store.paths.trash, store.paths.locks])
    expect(namesIn(dir)).toEqual([]);
  const column = (sql: string) => store.db.all<{ x: string }>(sql).map((row) => row.x);
  expect(namesIn(`${store.paths.blobs}/sha256`).toSorted()).toEqual(
    column("SELECT substr(digest, 8) AS x FROM blobs ORDER BY 1"),
  );
  expect(namesIn(store.paths.layers).toSorted()).toEqual(
    column("SELECT substr(chain_id, 8) AS x FROM layers ORDER BY 1"),
  );
  expect(column("SELECT kind AS x FROM leases WHERE kind <> 'session'")).toEqual([]);
  expect(column("SELECT lease AS x FROM lease_refs WHERE lease NOT IN (SELECT id FROM leases)")).toEqual([]);
}

for (const point of ["write", "synced", "renamed", "committed"]) {
  test(`killed while storing a blob, at "${point}"`, async () => {
    await die(
      `storage.blob.${point}`,
      `await store.content.ingest(ctx, streamOf("hello"), { digest: "${digest}" });`,
    );
    expect(recover(store).leases.length).toBeGreaterThan(0);
    expectConsistent();
    expect(store.content.has(digest)).toBe(point === "committed");
    await store.content.ingest(createCtx(), streamOf("hello"), { digest });
    expect(Buffer.from(store.content.read(digest)).toString()).toBe("hello");
    store.leases.endSession();
    collectGarbage(store);
    expectConsistent();
    expect(namesIn(`${store.paths.blobs}/sha256`)).toEqual([]);
  });
}

for (const point of ["blobs", "put"]) {
  test(`killed while storing an image, at "${point}"`, async () => {
    await die(`storage.image.${point}`, `store.images.put({ ...imageOf(store, []), names: ["x"] });`);
    recover(store);
    expectConsistent();
    const found = store.images.find("x");
    expect(found !== undefined).toBe(point === "put");
    if (found !== undefined) expect(found.manifest.layers).toEqual([]);
  });
}

for (const point of ["image.forgotten", "gc.trashed"]) {
  test(`killed while removing an image, at "${point}"`, async () => {
    await die(
      `storage.${point}`,
      `const layer = plantLayer(store, digestOf("layer"));
       store.images.put({ ...imageOf(store, [layer]), names: ["x"] });
       store.images.remove("x", { force: false, inUse: () => [] });`,
    );
    recover(store);
    expectConsistent();
    expect(store.images.find("x")).toBeUndefined();
    expect(namesIn(store.paths.layers)).toEqual([]);
  });
}

for (const point of ["dirs", "mounted", "unmounted"]) {
  test(`killed while making or removing a root file system, at "${point}"`, async () => {
    await die(
      `storage.rootfs.${point}`,
      `store.leases.take("rootfs", "containers/c1");
       store.rootfs.create({ id: "c1" }); store.rootfs.mount({ id: "c1" }); store.rootfs.remove("c1");`,
    );
    expect(existsSync(store.paths.container("c1"))).toBe(true);
    recover(store);
    expectConsistent();
    expect(namesIn(store.paths.containers)).toEqual([]);
  });
}

test("what the living do is left alone", async () => {
  const lease = store.leases.take("layer", "ingest/layer-mine");
  mkdirSync(`${store.paths.ingest}/layer-mine`);
  // Without a lease (a power cut took its row), yet another process is at it.
  writeFileSync(`${store.paths.ingest}/sha256-abc`, "");
  const { FileLock } = await import("./lock.ts");
  const lock = FileLock.sync({ sys: store.sys, dir: store.paths.locks, name: "blob-sha256-abc" });
  expect(recover(store)).toEqual({ leases: [], leftovers: [] });
  expect(namesIn(store.paths.ingest).toSorted()).toEqual(["layer-mine", "sha256-abc"]);
  lock.release();
  lease.release();
  expect(recover(store).leftovers.toSorted()).toEqual(["ingest/layer-mine", "ingest/sha256-abc"]);
});

test("the dead are told from the living by pid, start time and boot", () => {
  const me = thisProcess();
  const other = (change: Partial<typeof me>) =>
    createLeases({ ...store, owner: () => ({ ...me, ...change }) }).take("session");
  const parent = { pid: process.ppid, startTime: store.sys.startTime(process.ppid) as number };
  const living = [other({}), other(parent)].map((lease) => lease.id);
  const dead = [
    other({ bootId: "another boot" }),
    other({ startTime: me.startTime + 1 }),
    other({ ...parent, startTime: parent.startTime - 1 }),
    other({ pid: 4_194_303, startTime: 1 }),
  ].map((lease) => lease.id);
  expect(
    store.leases
      .dead()
      .map((row) => row.id)
      .toSorted(),
  ).toEqual(dead.toSorted());
  recover(store);
  expect(
    store.db
      .all<{ id: string }>("SELECT id FROM leases")
      .map((row) => row.id)
      .toSorted(),
  ).toEqual(living.toSorted());
});

test("a damaged lease deletes nothing it should not", () => {
  writeFileSync(`${base}/precious`, "");
  const dead = createLeases({ ...store, owner: () => ({ ...thisProcess(), bootId: "old" }) });
  for (const path of [
    "../precious",
    "ingest/../../precious",
    "ingest/..",
    "",
    "/",
    "berth.db",
    "containers/..",
  ]) {
    dead.take("layer", path);
    dead.take("rootfs", path);
  }
  recover(store);
  expect(existsSync(`${base}/precious`)).toBe(true);
  expect(existsSync(store.paths.db)).toBe(true);
  expect(store.db.all("SELECT * FROM leases")).toEqual([]);
});

test("containers without a record are found unless somebody is making them", () => {
  for (const id of ["known", "leased", "orphan"]) store.rootfs.create({ id });
  store.leases.take("rootfs", "containers/leased");
  expect(orphanContainers(store, () => new Set(["known"]))).toEqual(["orphan"]);
});

test("ten processes recover one heap of leftovers at once", async () => {
  for (let i = 0; i < 5; i++) {
    plantLayer(store, digestOf(String(i)));
    for (let k = 0; k < 200; k++) mkdirSync(`${store.paths.trash}/t${i}/d${k}/e`, { recursive: true });
  }
  store.db.run("DELETE FROM layers");
  createLeases({ ...store, owner: () => ({ ...thisProcess(), bootId: "old" }) }).take("gc");
  const script = `
    import { storeAt } from "${import.meta.dir}/fixture.ts";
    import { recover } from "${import.meta.dir}/recover.ts";
    recover(storeAt("${base}"));`;
  const children = Array.from({ length: 10 }, () =>
    Bun.spawn([process.execPath, "-e", script], { stderr: "inherit" }),
  );
  expect(await Promise.all(children.map((child) => child.exited))).toEqual(Array(10).fill(0));
  expectConsistent();
}, 20_000);

test("a store without leftovers is recovered at once", () => {
  expect(recover(store)).toEqual({ leases: [], leftovers: [] });
});
