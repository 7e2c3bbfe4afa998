import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { collect, rejection } from "../../test/fixtures/collect.ts";
import { archiveOf } from "../../test/fixtures/tar.ts";
import { unpackHere } from "../../test/fixtures/unpack.ts";
import { AT_FDCWD, S_IFIFO } from "../sys/const.ts";
import { linux } from "../sys/linux.ts";
import { layerTar, listChanges, tarTree } from "./changes.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: overlay mounts need root");

let base: TempDir;
beforeEach(() => {
  base = tempDir("changes");
});
afterEach(() => base[Symbol.dispose]());

/** A mounted overlay over these layers (topmost first), each given as an archive. */
class Overlay {
  readonly upper: string;
  readonly merged: string;
  readonly lowers: string[] = [];

  constructor(...layers: Uint8Array[]) {
    const make = (name: string): string => {
      mkdirSync(`${base.path}/${name}`);
      return `${base.path}/${name}`;
    };
    for (const [i, layer] of layers.entries()) {
      const lower = make(`lower${i}`);
      unpackHere(layer, lower);
      this.lowers.push(lower);
    }
    this.upper = make("upper");
    this.merged = make("merged");
    const work = make("work");
    linux.mountOverlay({
      lower: this.lowers,
      upper: this.upper,
      work,
      target: this.merged,
      options: ["redirect_dir=off", "metacopy=off"],
    });
  }

  changes(): string[] {
    return listChanges(linux, this.upper, this.lowers).map(({ kind, path }) => `${kind} ${path}`);
  }
}

async function bytesOf(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function names(archive: Uint8Array): string[] {
  return collect(archive).map((entry) => Buffer.from(entry.name).toString());
}

/** Path, type, mode, owner, size, target and content digest of everything below. */
function look(dir: string): string {
  const find = spawnSync("find", [".", "-mindepth", "1", "-printf", "%p %y %#m %U:%G %l\\n"], {
    cwd: dir,
    encoding: "latin1",
  });
  const sums = spawnSync("sh", ["-c", "find . -type f -exec sha256sum {} +"], {
    cwd: dir,
    encoding: "latin1",
  });
  return [find.stdout, sums.stdout].map((text) => text.split("\n").toSorted().join("\n")).join("\n");
}

const image = archiveOf(
  { name: "./", mode: 0o755 },
  { name: "etc/" },
  { name: "etc/passwd", content: "root" },
  { name: "etc/group", content: "root" },
  { name: "etc/ssl/" },
  { name: "etc/ssl/cert", content: "cert" },
  { name: "var/" },
  { name: "var/cache/" },
  { name: "var/cache/a", content: "a" },
  { name: "var/cache/b", content: "b" },
  { name: "usr/" },
  { name: "usr/bin/" },
  { name: "usr/bin/tool", content: "tool", mode: 0o755 },
  { name: "bin", linkName: "usr/bin" },
);
const second = archiveOf(
  { name: "etc/" },
  { name: "etc/.wh.group" },
  { name: "srv/" },
  { name: "srv/x", content: "x" },
);

function makeFifo(path: string): void {
  linux.mknod(AT_FDCWD, path, S_IFIFO | 0o644, { major: 0, minor: 0 });
}

/** What a container might do. */
function work(root: string): void {
  writeFileSync(`${root}/etc/passwd`, "root and more");
  rmSync(`${root}/etc/ssl`, { recursive: true });
  writeFileSync(`${root}/etc/new`, "new");
  rmSync(`${root}/var/cache`, { recursive: true });
  mkdirSync(`${root}/var/cache`);
  writeFileSync(`${root}/var/cache/b`, "other");
  chmodSync(`${root}/usr/bin/tool`, 0o700);
  mkdirSync(`${root}/opt/deep/er`, { recursive: true });
  writeFileSync(`${root}/opt/deep/er/f`, "f");
  linkSync(`${root}/opt/deep/er/f`, `${root}/opt/hard`);
  symlinkSync("/nowhere", `${root}/opt/soft`);
  rmSync(`${root}/srv/x`);
  writeFileSync(Buffer.concat([Buffer.from(`${root}/opt/`), Buffer.from([0xff, 0xc0])]), "bytes");
  makeFifo(`${root}/opt/pipe`);
}

describe.skipIf(!isRoot)("a container's upper directory", () => {
  test("becomes a layer that gives the same merged tree, and the same tar again", async () => {
    const overlay = new Overlay(second, image);
    work(overlay.merged);
    const server = createServer().listen(`${overlay.merged}/opt/socket`);
    await Bun.sleep(5);
    const layer = await bytesOf(layerTar(linux, overlay.upper));
    server.close();
    await Bun.sleep(5);
    rmSync(`${overlay.merged}/opt/socket`, { force: true });
    expect(names(layer)).toEqual([
      "etc/",
      "etc/.wh.ssl",
      "etc/new",
      "etc/passwd",
      "opt/",
      "opt/deep/",
      "opt/deep/er/",
      "opt/deep/er/f",
      "opt/hard",
      "opt/pipe",
      "opt/soft",
      "opt/\ufffd\ufffd",
      "srv/",
      "srv/.wh.x",
      "usr/",
      "usr/bin/",
      "usr/bin/tool",
      "var/",
      "var/cache/",
      "var/cache/.wh..wh..opq",
      "var/cache/b",
    ]);
    const unpacked = `${base.path}/unpacked`;
    mkdirSync(unpacked);
    unpackHere(layer, unpacked);
    expect(Buffer.compare(await bytesOf(layerTar(linux, unpacked)), layer)).toBe(0);

    const again = `${base.path}/again`;
    mkdirSync(again);
    linux.mountOverlay({ lower: [unpacked, ...overlay.lowers], target: again, readOnly: true });
    expect(look(again)).toBe(look(overlay.merged));
    expect(existsSync(`${again}/var/cache/a`)).toBe(false);
    expect(readFileSync(`${again}/bin/tool`, "utf8")).toBe("tool");
  });

  test("lists its changes as docker does", () => {
    const overlay = new Overlay(second, image);
    expect(overlay.changes()).toEqual([]);
    work(overlay.merged);
    expect(overlay.changes()).toEqual([
      "C /etc",
      "A /etc/new",
      "C /etc/passwd",
      "D /etc/ssl",
      "A /opt",
      "A /opt/deep",
      "A /opt/deep/er",
      "A /opt/deep/er/f",
      "A /opt/hard",
      "A /opt/pipe",
      "A /opt/soft",
      "A /opt/\ufffd\ufffd",
      "C /srv",
      "D /srv/x",
      "C /usr",
      "C /usr/bin",
      "C /usr/bin/tool",
      "C /var",
      "C /var/cache",
      "D /var/cache/a",
      "C /var/cache/b",
    ]);
  });

  test("a change undone, a copy-up without a change, and a file that was deleted below are no changes", () => {
    const overlay = new Overlay(second, image);
    writeFileSync(`${overlay.merged}/etc/tmp`, "x");
    rmSync(`${overlay.merged}/etc/tmp`);
    chmodSync(`${overlay.merged}/usr/bin/tool`, 0o700);
    chmodSync(`${overlay.merged}/usr/bin/tool`, 0o755);
    writeFileSync(`${overlay.merged}/etc/group`, "back");
    rmSync(`${overlay.merged}/etc/group`);
    expect(overlay.changes()).toEqual([]);
  });

  test("types that change", () => {
    const overlay = new Overlay(image);
    rmSync(`${overlay.merged}/var/cache`, { recursive: true });
    writeFileSync(`${overlay.merged}/var/cache`, "a file now");
    rmSync(`${overlay.merged}/bin`);
    mkdirSync(`${overlay.merged}/bin`);
    writeFileSync(`${overlay.merged}/bin/sh`, "sh");
    expect(overlay.changes()).toEqual([
      "C /bin",
      "A /bin/sh",
      "C /var",
      "C /var/cache",
      "D /var/cache/a",
      "D /var/cache/b",
    ]);
  });

  test("a name that a layer cannot hold is an error, and so is a mark that points elsewhere", async () => {
    const overlay = new Overlay(image);
    writeFileSync(`${overlay.merged}/etc/.wh.passwd`, "x");
    expect(await rejection(bytesOf(layerTar(linux, overlay.upper)))).toContain(
      'a layer cannot hold a file named "etc/.wh.passwd"',
    );
    rmSync(`${overlay.merged}/etc/.wh.passwd`);
    linux.setxattr(`${overlay.upper}/etc`, "trusted.overlay.redirect", Buffer.from("/usr"));
    expect(await rejection(bytesOf(layerTar(linux, overlay.upper)))).toContain("overlay redirect");
  });
});

describe("a plain archive of a tree", () => {
  function tree(): string {
    const root = `${base.path}/root`;
    mkdirSync(`${root}/dir/sub`, { recursive: true });
    writeFileSync(`${root}/dir/file`, "file");
    writeFileSync(`${root}/dir/sub/big`, Buffer.alloc(2_500_000, "b"));
    symlinkSync("/dir", `${root}/link`);
    symlinkSync("/etc/passwd", `${root}/dir/out`);
    return root;
  }

  test("of the whole, of a part, of one file, through links inside the root", async () => {
    const root = tree();
    expect(names(await bytesOf(tarTree(linux, { root })))).toEqual([
      "./",
      "dir/",
      "dir/file",
      "dir/out",
      "dir/sub/",
      "dir/sub/big",
      "link",
    ]);
    const part = ["./", "file", "out", "sub/", "sub/big"];
    expect(names(await bytesOf(tarTree(linux, { root, path: "/dir" })))).toEqual(part);
    expect(names(await bytesOf(tarTree(linux, { root, path: "link", follow: true })))).toEqual(part);
    expect(
      names(await bytesOf(tarTree(linux, { root, path: "../../link/.", follow: true, name: "copy" })))[4],
    ).toBe("copy/sub/big");
    expect(names(await bytesOf(tarTree(linux, { root, path: "link" })))).toEqual(["link"]);
    const file = collect(await bytesOf(tarTree(linux, { root, path: "link/file", name: "renamed" })));
    expect(
      file.map(({ name, content }) => [Buffer.from(name).toString(), Buffer.from(content).toString()]),
    ).toEqual([["renamed", "file"]]);
    expect(await rejection(bytesOf(tarTree(linux, { root, path: "dir/out", follow: true })))).toContain(
      "ENOENT",
    );
  });

  test("GNU tar reads it, and two runs are equal", async () => {
    const root = tree();
    const archive = await bytesOf(tarTree(linux, { root, subSecond: true }));
    expect(Buffer.compare(await bytesOf(tarTree(linux, { root, subSecond: true })), archive)).toBe(0);
    mkdirSync(`${base.path}/out`);
    const run = spawnSync("tar", ["-xp", "-C", `${base.path}/out`], { input: archive });
    expect([run.status, run.stderr.toString()]).toEqual([0, ""]);
    expect(look(`${base.path}/out`)).toBe(look(root));
  });

  test("the filter may rename and leave out", async () => {
    const root = tree();
    const filter = (header: { name: Uint8Array; uid?: number }): boolean => {
      header.uid = 4711;
      return !Buffer.from(header.name).toString().endsWith("big");
    };
    const entries = collect(await bytesOf(tarTree(linux, { root, path: "dir", filter })));
    expect(entries.map((entry) => [Buffer.from(entry.name).toString(), entry.uid])).toEqual([
      ["./", 4711],
      ["file", 4711],
      ["out", 4711],
      ["sub/", 4711],
    ]);
  });

  test("a tree that changes meanwhile still gives a whole archive", async () => {
    const root = tree();
    for (let i = 0; i < 40; i++) writeFileSync(`${root}/dir/z${i}`, Buffer.alloc(200_000, "z"));
    const chunks: Uint8Array[] = [];
    for await (const chunk of tarTree(linux, { root })) {
      chunks.push(chunk);
      if (chunks.length !== 3) continue;
      // After the first chunks: one file shrinks to nothing, one is gone, one is a link to the outside, one a fifo.
      const last = readdirSync(`${root}/dir`)
        .filter((name) => name.startsWith("z"))
        .toSorted();
      writeFileSync(`${root}/dir/${last.at(-1)}`, "");
      rmSync(`${root}/dir/${last.at(-2)}`);
      renameSync(`${root}/dir/out`, `${root}/dir/${last.at(-3)}`);
      rmSync(`${root}/dir/${last.at(-4)}`);
      makeFifo(`${root}/dir/${last.at(-4)}`);
    }
    const entries = collect(Buffer.concat(chunks));
    expect(entries.length).toBeGreaterThan(40);
    expect(entries.some((entry) => Buffer.from(entry.content).includes("root:"))).toBe(false);
  });
});
