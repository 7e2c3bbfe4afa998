/**
 * What is left after the power goes: a store on an ext4 of its own, whose journal is then stopped without
 * a flush (EXT4_IOC_SHUTDOWN), so that only what was synced survives.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import { MNT_DETACH } from "../sys/const.ts";
import { call } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";
import { check } from "./check.ts";
import { imageOf, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { recover } from "./recover.ts";
import type { Store } from "./store.ts";

const EXT4_IOC_SHUTDOWN = 0x8004587d;
const NO_LOG_FLUSH = 2;

const ctx = createCtx();
const base = temporaryDir("power");
const disk = `${base}/disk`;
const mounted = `${base}/mounted`;
let usable = false;

function run(...argv: string[]): boolean {
  return Bun.spawnSync(argv, { stderr: "ignore" }).exitCode === 0;
}

function flush(path: string): void {
  const fd = openSync(path, "r");
  linux.syncfs(fd);
  closeSync(fd);
}

function mount(): boolean {
  return run("mount", "-o", "loop", disk, mounted);
}

beforeAll(() => {
  mkdirSync(mounted);
  writeFileSync(disk, "");
  truncateSync(disk, 48 << 20);
  usable = run("mkfs.ext4", "-q", "-O", "^metadata_csum", disk) && mount();
});
afterAll(() => {
  if (usable) linux.umount(mounted, MNT_DETACH);
  rmSync(base, { recursive: true, force: true });
});

/** Does `work` in a store and pulls the plug; gives back the store as the next boot finds it. */
async function afterPowerLoss(work: (store: Store) => Promise<void> | void): Promise<Store> {
  const before = storeAt(mounted);
  await work(before);
  const fd = openSync(mounted, "r");
  call("ioctl", mounted, fd, EXT4_IOC_SHUTDOWN, Uint32Array.of(NO_LOG_FLUSH));
  closeSync(fd);
  try {
    before.db.close();
  } catch {
    // Its checkpoint finds no disk any more.
  }
  linux.umount(mounted);
  expect(mount()).toBe(true);
  const after = storeAt(mounted, () => ({ pid: process.pid, startTime: 1, bootId: "next boot" }));
  recover(after);
  expect(await check(ctx, after, { repair: false, quick: false, containers: () => new Set() })).toEqual([]);
  return after;
}

const cases: [string, (store: Store) => Promise<void> | void, (store: Store) => void][] = [
  [
    "a blob that was said to be stored is there",
    async (store) => void (await store.content.ingest(ctx, streamOf(Buffer.alloc(3_000_000, 1)))),
    (store) => expect(store.content.read(digestOf(Buffer.alloc(3_000_000, 1))).length).toBe(3_000_000),
  ],
  [
    "a blob on its way is gone without a trace",
    (store) => {
      store.leases.take("blob", "ingest/new-x");
      writeFileSync(`${store.paths.ingest}/new-x`, "half");
      flush(store.paths.ingest);
    },
    (store) => expect(store.db.all("SELECT * FROM leases")).toEqual([]),
  ],
  [
    "an image that was put is whole",
    (store) => void store.images.put({ ...imageOf(store, []), names: ["x"] }),
    (store) => expect(store.images.resolve("x").manifest.layers).toEqual([]),
  ],
  [
    "an image that was removed stays removed, or is whole",
    (store) => {
      store.images.put({ ...imageOf(store, [], "y"), names: ["y"] });
      store.images.remove("y", { force: false, inUse: () => [] });
    },
    (store) => expect(store.images.find("y")).toBeUndefined(),
  ],
];

for (const [name, work, verify] of cases) {
  test(name, async () => {
    if (!usable) return console.warn("skip: no mkfs.ext4 or no loop device");
    const after = await afterPowerLoss(work);
    verify(after);
    after.db.close();
  });
}
