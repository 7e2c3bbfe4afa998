/**
 * What a layer means on top of others, with real overlay mounts. The expected trees are what the images give when each
 * layer is unpacked over the ones before it into one directory (podman with the vfs driver; test/e2e/stack.test.ts compares).
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { archiveOf, type Entry } from "../../test/fixtures/tar.ts";
import { Canary } from "../../test/fixtures/unpack.ts";
import { createCtx } from "../core/ctx.ts";
import { digestOf } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { AT_FDCWD } from "../sys/const.ts";
import { linux } from "../sys/linux.ts";
import { removeTree } from "../sys/remove-tree.ts";
import { listChanges } from "./changes.ts";
import { check } from "./check.ts";
import { destroy, failureOf, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { namesIn } from "./files.ts";
import type { Store } from "./store.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: layers need root");

let base: string;
let store: Store;
const ctx = createCtx();

beforeEach(() => {
  base = temporaryDir("join");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

/** Stores layers one on the other, each given as its entries; returns the top. */
async function stack(...layers: Entry[][]): Promise<Digest> {
  const tars = layers.map((entries) => archiveOf(...entries));
  const requests = tars.map((tar) => ({ diffId: digestOf(tar), source: streamOf(tar) }));
  const records = await store.layers.applyAll(ctx, requests);
  const sound = { repair: false, quick: false, containers: () => new Set(namesIn(store.paths.containers)) };
  expect(await check(ctx, store, sound)).toEqual([]);
  return records.at(-1)?.chainId as Digest;
}

function mount(chainId: Digest): string {
  const request = { id: `c${namesIn(store.paths.containers).length}`, chainId };
  store.rootfs.create(request);
  return store.rootfs.mount(request);
}

async function rootOf(...layers: Entry[][]): Promise<string> {
  return mount(await stack(...layers));
}

/** Every path below, with where a link leads. */
function tree(root: string): string[] {
  const run = spawnSync("find", [".", "-mindepth", "1", "-printf", "%P%y%l\\n"], {
    cwd: root,
    encoding: "utf8",
  });
  return run.stdout.split("\n").filter(Boolean).toSorted();
}

const dir = (name: string, more: Partial<Entry> = {}): Entry => ({ name: `${name}/`, ...more });
const file = (name: string, content = name): Entry => ({ name, content });
const link = (name: string, linkName: string): Entry => ({ name, linkName });
const hard = (name: string, linkName: string): Entry => ({ name, linkName, type: "hardlink" });

const usrMerge: Entry[] = [
  dir("usr", { mode: 0o711, uid: 3 }),
  dir("usr/bin", { mode: 0o2755, gid: 4, mtimeNs: 5_000_000_000n }),
  file("usr/bin/sh", "shell"),
  link("bin", "usr/bin"),
];

describe.skipIf(!isRoot)("an opaque root", () => {
  const below = [file("old"), dir("usr", { mode: 0o700 }), file("usr/old")];
  const above = [file("a/x"), file(".wh..wh..opq", ""), file("usr/new")];

  test("hides all layers below, in mounts and in what is above", async () => {
    const root = await rootOf(below, above, [file("third")], [file("usr/fourth")]);
    expect(tree(root)).toEqual(["ad", "a/xf", "thirdf", "usrd", "usr/fourthf", "usr/newf"].toSorted());
    // Nothing of what is hidden is inherited either.
    expect(statSync(`${root}/usr`).mode & 0o7777).toBe(0o755);
  });

  test("keeps the root's own mode and owner unless the layer says another", async () => {
    const root = [dir(".", { mode: 0o750, uid: 7 })];
    expect(statSync(await rootOf(root, above))).toMatchObject({ uid: 7, mode: 0o040750 });
    expect(statSync(await rootOf(root, [dir(".", { mode: 0o701 }), ...above])).mode & 0o7777).toBe(0o701);
  });

  test("cuts the stack of lowers, not the stack", async () => {
    const top = await stack(below, above, [file("third")]);
    expect(store.layers.stack(top).length).toBe(3);
    const [third, second] = store.layers.stack(top);
    expect(store.layers.lowers(top)).toEqual(
      [third, second].map((layer) => store.layers.diffPath(layer?.chainId as Digest)),
    );
    expect(store.layers.lowers(second?.parent as Digest).length).toBe(1);
    // Of the layer itself: what it hides was deleted.
    const [own = ""] = store.layers.lowers(second?.chainId as Digest);
    const changes = listChanges(linux, own, store.layers.lowers(second?.parent as Digest));
    expect(changes.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      "A /a",
      "A /a/x",
      "D /old",
      "C /usr",
      "A /usr/new",
      "D /usr/old",
    ]);
  });

  test("survives being packed again", async () => {
    const top = await stack(below, above);
    const again = await store.layers.fromUpper(ctx, { parent: top, upper: store.layers.diffPath(top) });
    expect(store.layers.lowers(again.chainId)).toEqual([store.layers.diffPath(again.chainId)]);
    expect(tree(mount(again.chainId))).toEqual(tree(mount(top)));
  });

  test("a directory's own mark: it is inherited from below, what is in it is not", async () => {
    const root = await rootOf(
      [dir("d", { mode: 0o1777, uid: 5 }), dir("d/e", { mode: 0o700 }), file("d/old")],
      [file("d/.wh..wh..opq", ""), file("d/e/new")],
    );
    expect(tree(root)).toEqual(["dd", "d/ed", "d/e/newf"].toSorted());
    expect(statSync(`${root}/d`)).toMatchObject({ uid: 5, mode: 0o041777 });
    expect(statSync(`${root}/d/e`).mode & 0o7777).toBe(0o755);
  });
});

describe.skipIf(!isRoot)("names that lead through a link of a lower layer", () => {
  test("a file lands where the link leads, and nothing is hidden", async () => {
    const root = await rootOf(usrMerge, [file("bin/foo"), file("bin/sub/deep")]);
    expect(tree(root)).toEqual(
      [
        "binlusr/bin",
        "usrd",
        "usr/bind",
        "usr/bin/foof",
        "usr/bin/shf",
        "usr/bin/subd",
        "usr/bin/sub/deepf",
      ].toSorted(),
    );
    expect(statSync(`${root}/usr`)).toMatchObject({ uid: 3, mode: 0o040711 });
    expect(statSync(`${root}/usr/bin`)).toMatchObject({ gid: 4, mode: 0o042755, mtimeMs: 5000 });
  });

  test("layers above such a layer, and links of several layers", async () => {
    const root = await rootOf(
      usrMerge,
      [link("sbin", "/bin")],
      [file("sbin/one")],
      [file("other")],
      [file("sbin/two"), file("bin/three")],
    );
    expect(readdirSync(`${root}/usr/bin`).toSorted()).toEqual(["one", "sh", "three", "two"]);
    expect([readlinkSync(`${root}/bin`), readlinkSync(`${root}/sbin`)]).toEqual(["usr/bin", "/bin"]);
  });

  test("whiteouts and opaque marks go there too", async () => {
    expect(tree(await rootOf(usrMerge, [file("bin/.wh.sh", "")]))).toEqual([
      "binlusr/bin",
      "usr/bind",
      "usrd",
    ]);
    expect(tree(await rootOf(usrMerge, [file("bin/.wh..wh..opq", ""), file("bin/foo")]))).toEqual(
      ["binlusr/bin", "usr/bin/foof", "usr/bind", "usrd"].toSorted(),
    );
  });

  test("the later of two names for one place wins", async () => {
    const first = file("bin/foo", "1");
    const second = file("usr/bin/foo", "2");
    const read = async (...layer: Entry[]): Promise<string> =>
      readFileSync(`${await rootOf(usrMerge, layer)}/bin/foo`, "utf8");
    expect(await read(first, second)).toBe("2");
    expect(await read(second, first)).toBe("1");
  });

  test("a directory that is listed replaces the link, as does a file, and so does deleting it", async () => {
    expect(tree(await rootOf(usrMerge, [dir("bin"), file("bin/foo")]))).toEqual(
      ["bind", "bin/foof", "usrd", "usr/bind", "usr/bin/shf"].toSorted(),
    );
    for (const layer of [
      [file(".wh.bin", ""), file("bin/foo")],
      [file("bin/foo"), file(".wh.bin", "")],
    ]) {
      const root = await rootOf(usrMerge, layer);
      expect([lstatSync(`${root}/bin`).isDirectory(), readdirSync(`${root}/bin`)]).toEqual([true, ["foo"]]);
      expect(readdirSync(`${root}/usr/bin`)).toEqual(["sh"]);
    }
    expect(tree(await rootOf(usrMerge, [file(".wh.bin", "")], [file("bin/foo")]))).toContain("bind");
  });

  test("what a directory listed in the layer says holds, through the link and beside it", async () => {
    const lower = [...usrMerge, dir("usr/bin/d", { mode: 0o700 }), dir("usr/bin/e", { mode: 0o700 })];
    const root = await rootOf(lower, [
      dir("usr/bin", { mode: 0o1755 }),
      file("bin/d/x"),
      dir("bin/e", { mode: 0o711 }),
      file("bin/e/y"),
    ]);
    const mode = (path: string): number => statSync(`${root}/${path}`).mode & 0o7777;
    expect([mode("usr/bin"), mode("usr/bin/d"), mode("usr/bin/e")]).toEqual([0o1755, 0o700, 0o711]);
  });

  test("a link that leads to no directory is replaced, as before", async () => {
    const lower = [
      link("dangling", "nowhere/at/all"),
      link("a", "b"),
      link("b", "a"),
      file("plain"),
      link("tofile", "plain"),
      link("half", "plain/x"),
      link("deep", `${"x/../".repeat(3)}missing`),
    ];
    const names = ["dangling", "a", "tofile", "half", "deep", "plain"];
    const root = await rootOf(
      lower,
      names.map((name) => file(`${name}/f`)),
    );
    for (const name of names) expect([name, readdirSync(`${root}/${name}`)]).toEqual([name, ["f"]]);
    expect(readlinkSync(`${root}/b`)).toBe("a");
  });

  test("a link whose way is hidden by the layer itself leads nowhere", async () => {
    const root = await rootOf(usrMerge, [file("usr/.wh.bin", ""), file("bin/foo")]);
    expect(tree(root)).toEqual(["bind", "bin/foof", "usrd"].toSorted());
  });

  test("bytes that are no text", async () => {
    const odd = Buffer.from([0x61, 0xff, 0xfe]);
    const target = Buffer.from([0xc3, 0x28]);
    const root = await rootOf(
      [{ name: Buffer.concat([target, Buffer.from("/")]) }, { name: odd, linkName: target }],
      [{ name: Buffer.concat([odd, Buffer.from("/f")]), content: "f" }],
    );
    const path = Buffer.concat([Buffer.from(`${root}/`), target, Buffer.from("/f")]);
    expect(readFileSync(path, "utf8")).toBe("f");
    expect(readdirSync(root).length).toBe(2);
  });
});

describe.skipIf(!isRoot)("hard links to files of lower layers", () => {
  const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

  test("the file is copied up with all it has, and linked", async () => {
    const content = Buffer.concat([Buffer.alloc(3 << 20), Buffer.from("end")]);
    const lower: Entry[] = [
      dir("etc", { mode: 0o750, gid: 9 }),
      {
        name: "etc/f",
        content,
        mode: 0o4750,
        uid: 5,
        gid: 6,
        mtimeNs: 1_234_567_890_123_456_789n,
        xattrs: new Map([["security.capability", CAPABILITY]]),
      },
      file("etc/other"),
    ];
    const top = await stack(lower, [file("pad")], [hard("h", "etc/f"), hard("etc/g", "./h")]);
    const root = mount(top);
    const stat = lstatSync(`${root}/h`, { bigint: true });
    expect(stat).toMatchObject({
      mode: 0o104750n,
      uid: 5n,
      gid: 6n,
      nlink: 3n,
      mtimeNs: 1_234_567_890_123_456_789n,
    });
    expect(new Set(["h", "etc/f", "etc/g"].map((name) => lstatSync(`${root}/${name}`).ino)).size).toBe(1);
    expect(linux.getxattr(`${root}/h`, "security.capability")).toEqual(new Uint8Array(CAPABILITY));
    expect(Buffer.compare(readFileSync(`${root}/h`), content)).toBe(0);
    expect(statSync(`${root}/etc`)).toMatchObject({ gid: 9, mode: 0o040750 });
    expect(readdirSync(`${root}/etc`).toSorted()).toEqual(["f", "g", "other"]);
    expect(store.layers.get(top)?.size).toBe(content.length);
    // Zeros of the lower file are no blocks of the copy.
    expect(lstatSync(`${store.layers.diffPath(top)}/h`).blocks).toBeLessThan(100);
  });

  test("through links, to links, devices and fifos; two names of one file stay one", async () => {
    const root = await rootOf(
      [
        ...usrMerge,
        link("usr/bin/cat", "sh"),
        { name: "null", type: "char", mode: 0o666, device: { major: 1, minor: 3 }, uid: 8 },
        { name: "pipe", type: "fifo", mode: 0o622 },
        hard("usr/bin/sh2", "usr/bin/sh"),
      ],
      [
        hard("h", "bin/sh"),
        hard("h2", "/bin/../bin/sh2"),
        hard("l", "bin/cat"),
        hard("n", "null"),
        hard("p", "pipe"),
      ],
    );
    expect(readFileSync(`${root}/h`, "utf8")).toBe("shell");
    const inode = (name: string): number => lstatSync(`${root}/${name}`).ino;
    expect([inode("h"), inode("h2"), inode("usr/bin/sh2")]).toEqual(
      Array.from({ length: 3 }, () => inode("bin/sh")),
    );
    expect(readlinkSync(`${root}/l`)).toBe("sh");
    expect(inode("l")).toBe(inode("usr/bin/cat"));
    expect(lstatSync(`${root}/n`)).toMatchObject({ mode: 0o020666, uid: 8, rdev: 0x103 });
    expect(lstatSync(`${root}/p`).mode).toBe(0o010622);
    expect(readlinkSync(`${root}/bin`)).toBe("usr/bin");
  });

  test("to what the same layer puts there through a link", async () => {
    const root = await rootOf(usrMerge, [file("bin/new", "new"), hard("h", "usr/bin/new")]);
    expect(readFileSync(`${root}/h`, "utf8")).toBe("new");
    expect(lstatSync(`${root}/h`).ino).toBe(lstatSync(`${root}/usr/bin/new`).ino);
  });

  test("a target that is nowhere, deleted, or a directory is refused by name, and nothing stays", async () => {
    const lower = [...usrMerge, file("gone")];
    const cases: Entry[][] = [
      [hard("h", "nope")],
      [hard("h", "gone/x")],
      [hard("h", "usr")],
      [hard("h", "gone"), file(".wh.gone", "")],
      [file(".wh..wh..opq", ""), hard("h", "gone")],
      [hard("h", "nope"), file("bin/foo")],
    ];
    for (const layer of cases) {
      const error = await failureOf(stack(lower, layer));
      expect(error).toMatchObject({ kind: "invalid-argument", reason: "link-target-missing" });
      expect(String(error)).toContain('tar entry "h"');
      expect(namesIn(store.paths.ingest)).toEqual([]);
    }
    const [bottom] = [[hard("h", "nope")]];
    expect(await failureOf(stack(bottom as Entry[]))).toMatchObject({ reason: "link-target-missing" });
    expect(await failureOf(stack(lower, [file(".wh.gone", "")], [hard("h", "gone")]))).toMatchObject({
      reason: "link-target-missing",
    });
  });
});

describe.skipIf(!isRoot)("lower links that try to reach outside", () => {
  test("stay inside, for names and for hard links", async () => {
    const canary = new Canary();
    try {
      const up = `${"../".repeat(20)}${canary.path.slice(1)}`;
      const inside = canary.path.slice(1);
      const lowers: Entry[] = [
        dir("d"),
        link("abs", canary.path),
        link("d/up", up),
        link("d/here", "/.."),
        link("proc", "/proc/self/root"),
        link("victim", `${canary.path}/victim`),
      ];
      const upper = [
        file("abs/victim", "owned"),
        file("d/up/sub/victim", "owned"),
        file(`d/here${canary.path}/third`, "owned"),
        file(`proc${canary.path}/fourth`, "owned"),
        hard("h", "victim"),
        { ...file("h", "owned") },
      ];
      // With and without a directory of that name inside the image.
      for (const extra of [[], [dir("tmp"), dir(inside)]]) {
        const root = await rootOf([...extra, ...lowers], upper);
        canary.check();
        expect(existsSync(`${root}/${inside}/third`)).toBe(true);
        const landed = existsSync(`${root}/${inside}/victim`);
        expect(landed).toBe(extra.length > 0);
        for (const id of namesIn(store.paths.containers)) store.rootfs.remove(id);
      }
      for (const target of ["abs/victim", "d/up/victim", `d/here${canary.path}/victim`, "proc/1/environ"]) {
        const error = await failureOf(stack(lowers, [hard("h", target)]));
        expect([target, error]).toMatchObject([target, { reason: "link-target-missing" }]);
      }
      canary.check();
    } finally {
      removeTree(linux, AT_FDCWD, canary.path);
    }
  });

  test("a maze of links ends", async () => {
    const lower: Entry[] = [dir("x/y")];
    for (let i = 0; i < 60; i++) lower.push(link(`l${i}`, i === 0 ? "x" : `l${i - 1}`));
    for (let i = 0; i < 30; i++) lower.push(link(`w${i}`, i === 0 ? "x" : `w${i - 1}/../w${i - 1}`));
    const root = await rootOf(lower, [file("l30/f"), file("l59/f"), file("w29/f"), file("w3/g")]);
    // As far as the kernel goes (40 links), and what is further away is replaced.
    expect(readdirSync(`${root}/x`).toSorted()).toEqual(["f", "g", "y"]);
    expect([lstatSync(`${root}/l59`).isDirectory(), lstatSync(`${root}/w29`).isDirectory()]).toEqual([
      true,
      true,
    ]);
    mkdirSync(`${root}/after`);
  });
});
