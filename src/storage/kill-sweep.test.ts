/**
 * A process that makes layers, images and a root file system and removes them again is killed at its n-th state-changing
 * system call, for every n. The next command must find everything either done or undone, and be able to take all of it away.
 * BERTH_SWEEP=all sweeps over all kinds of calls (two minutes); without it, over renames.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { archiveOf } from "../../test/fixtures/tar.ts";
import { createCtx } from "../core/ctx.ts";
import { check } from "./check.ts";
import { destroy, storeAt, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import { collectGarbage } from "./gc.ts";
import { recover } from "./recover.ts";
import type { Store } from "./store.ts";

const GROUPS =
  process.env["BERTH_SWEEP"] === "all"
    ? [
        "rename,renameat,renameat2",
        "unlink,unlinkat,rmdir",
        "mkdir,mkdirat",
        "fsync,fdatasync,syncfs",
        "flock",
        "umount2,move_mount,fsmount",
        "write,pwrite64",
        "ftruncate,chmod,fchmod,lsetxattr,fsetxattr,chown,fchownat",
      ]
    : ["rename,renameat,renameat2"];
const MOST = 500;

const shared = temporaryDir("sweep-input");
afterAll(() => rmSync(shared, { recursive: true, force: true }));

const victim = (base: string): string => `
  import { storeAt, streamOf, imageOf } from "${import.meta.dir}/fixture.ts";
  import { createCtx } from "${import.meta.dir}/../core/ctx.ts";
  import { readFileSync, writeFileSync } from "node:fs";
  const ctx = createCtx();
  const store = storeAt("${base}");
  const unused = { force: false, inUse: () => [] };
  const layer = await store.layers.apply(ctx, { source: streamOf(readFileSync("${shared}/tar")) });
  store.images.put({ ...imageOf(store, [layer.chainId]), names: ["x"] });
  // Unpacked twice: it counts on what is below.
  await store.layers.apply(ctx, { source: streamOf(readFileSync("${shared}/above")), parent: layer.chainId });
  store.rootfs.create({ id: "c1", chainId: layer.chainId });
  writeFileSync(store.rootfs.mount({ id: "c1", chainId: layer.chainId }) + "/new", "x");
  const top = await store.layers.fromUpper(ctx, { parent: layer.chainId, upper: store.rootfs.upper("c1") });
  store.images.put({ ...imageOf(store, [layer.chainId, top.chainId]), names: ["y"] });
  store.rootfs.remove("c1");
  store.images.remove("y", unused);
  store.leases.endSession();
  store.images.remove("x", unused);
  console.log("done");`;

/** What the next command finds, does and leaves. */
async function aftermath(store: Store): Promise<unknown[]> {
  recover(store);
  for (const id of namesIn(store.paths.containers)) store.rootfs.remove(id);
  const options = { repair: false, quick: false, containers: () => new Set<string>() };
  const findings = await check(createCtx(), store, options);
  for (const image of store.images.list()) {
    if (image.manifest.layers.length === 0)
      findings.push({ kind: "empty", object: "", detail: "", repaired: false });
    store.images.remove(image.id, { force: true, inUse: () => [] });
  }
  collectGarbage(store);
  const { ingest, trash, layers, locks, blobs, containers } = store.paths;
  const files = [ingest, trash, layers, locks, `${blobs}/sha256`, containers].flatMap((dir) =>
    namesIn(dir).map((name) => `${dir}/${name}`),
  );
  const tables = ["blobs", "blob_refs", "layers", "images", "image_names", "leases", "lease_refs"];
  return [...findings, ...files, ...tables.flatMap((table) => store.db.all(`SELECT * FROM ${table}`))];
}

async function killAt(calls: string, n: number): Promise<{ finished: boolean; left: unknown[] }> {
  const base = temporaryDir("sweep");
  const store = storeAt(base);
  try {
    const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:signal=KILL:when=${n}`];
    const argv = ["strace", "-f", "-qq", "-o", "/dev/null", ...inject, process.execPath, "-e", victim(base)];
    const child = Bun.spawn(argv, { stderr: "ignore" });
    const finished = (await new Response(child.stdout).text()).includes("done");
    await child.exited;
    return { finished, left: await aftermath(store) };
  } finally {
    destroy(store, base);
  }
}

for (const calls of GROUPS) {
  test(`killed at every one of ${calls}`, async () => {
    if (Bun.which("strace") === null) return console.warn("skip: strace is not installed");
    rmSync(`${shared}/tree`, { recursive: true, force: true });
    mkdirSync(`${shared}/tree/a`, { recursive: true });
    writeFileSync(`${shared}/tree/a/file`, "content");
    symlinkSync("a", `${shared}/tree/link`);
    Bun.spawnSync(["tar", "-C", `${shared}/tree`, "-cf", `${shared}/tar`, "."]);
    const above = archiveOf(
      { name: "link/new", content: "x" },
      { name: "hard", linkName: "a/file", type: "hardlink" },
    );
    writeFileSync(`${shared}/above`, above);
    let n = 1;
    for (let finished = false; !finished; n++) {
      const outcome = await killAt(calls, n);
      expect({ n, left: outcome.left }).toEqual({ n, left: [] });
      finished = outcome.finished;
      expect(n).toBeLessThan(MOST);
    }
    // Had nothing been killed, nothing would be proven.
    expect(n).toBeGreaterThan(3);
  }, 120_000);
}
