import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import zlib from "node:zlib";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { rejection } from "../../test/fixtures/collect.ts";
import { archiveOf, type Entry } from "../../test/fixtures/tar.ts";
import { streamOf, unpack, unpackCommand, unpackHere } from "../../test/fixtures/unpack.ts";
import { digestOf } from "../archive/digest.ts";
import { createCtx } from "../core/ctx.ts";
import { EngineError } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { spawnUnpack } from "./unpack.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: unpacking layers needs root");

/** VFS_CAP_REVISION_2, cap_net_raw+ep. */
const CAPABILITY = Buffer.from("0100000200200000000000000000000000000000", "hex");

let base: TempDir;
beforeEach(() => {
  base = tempDir("unpack");
});
afterEach(() => base[Symbol.dispose]());

function target(name = "target"): string {
  const path = `${base.path}/${name}`;
  mkdirSync(path);
  return path;
}

async function failure(promise: Promise<unknown>): Promise<EngineError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

function xattr(path: string, key: string): string | undefined {
  const value = linux.getxattr(path, key);
  return value === undefined ? undefined : Buffer.from(value).toString();
}

function isWhiteout(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isCharacterDevice() && stat.rdev === 0;
}

/** Ids of the processes that unpack into this directory. */
function childrenAt(dir: string): string[] {
  const run = spawnSync("pgrep", ["-f", `__unpack ${dir}$`], { encoding: "utf8" });
  return run.stdout.split("\n").filter((line) => line !== "");
}

/** Path, type, mode, owner, size, link target, links and mtime of all below, as find sees it. */
function listing(dir: string): string {
  const run = spawnSync("find", [".", "-printf", "%p %y %#m %U:%G %s %l %n %T@\\n"], {
    cwd: dir,
    encoding: "latin1",
  });
  // Size and link count of directories are the file system's own matter.
  const lines = run.stdout.split("\n").map((line) => line.replace(/^(\S+ d \S+ \S+) \d+ +\d+/, "$1"));
  return lines.toSorted().join("\n");
}

describe.skipIf(!isRoot)("a layer", () => {
  test("keeps all metadata", async () => {
    const dir = target();
    const mtimeNs = 1_234_567_890_123_456_789n;
    const archive = archiveOf(
      { name: "./", mode: 0o711, mtimeNs },
      { name: "bin/", mode: 0o2755, gid: 7, mtimeNs },
      { name: "bin/su", mode: 0o4755, uid: 0, gid: 12, content: "su", mtimeNs },
      {
        name: "bin/ping",
        mode: 0o755,
        uid: 5,
        content: "p",
        xattrs: new Map([
          ["security.capability", CAPABILITY],
          ["user.x", Buffer.from([0, 255])],
        ]),
      },
      { name: "bin/ping2", linkName: "bin/ping", type: "hardlink" },
      { name: "tmp/", mode: 0o1777, mtimeNs: 5n },
      { name: "tmp/new", content: "" },
      {
        name: "sh",
        linkName: "bin/su",
        uid: 3,
        gid: 4,
        mtimeNs,
        xattrs: new Map([["trusted.l", Buffer.from("v")]]),
      },
      { name: "null", type: "char", mode: 0o666, device: { major: 1, minor: 3 }, uid: 9 },
      { name: "disk", type: "block", mode: 0o660, device: { major: 259, minor: 70_000 } },
      { name: "pipe", type: "fifo", mode: 0o622 },
    );
    const packed = zlib.gzipSync(archive);
    const result = await unpack(packed, dir);
    expect(result).toEqual({ diffId: digestOf(archive), size: 3, entries: 11, implied: [], missing: [] });
    const mode = (name: string): number => lstatSync(`${dir}/${name}`).mode & 0o7777;
    expect(["", "bin", "bin/su", "bin/ping", "tmp", "null", "disk", "pipe"].map(mode)).toEqual([
      0o711, 0o2755, 0o4755, 0o755, 0o1777, 0o666, 0o660, 0o622,
    ]);
    expect(linux.getxattr(`${dir}/bin/ping2`, "security.capability")).toEqual(new Uint8Array(CAPABILITY));
    expect(linux.getxattr(`${dir}/bin/ping`, "user.x")).toEqual(Uint8Array.of(0, 255));
    expect(xattr(`${dir}/sh`, "trusted.l")).toBe("v");
    const stat = (name: string): [number, number, number] => {
      const { uid, gid, nlink } = lstatSync(`${dir}/${name}`);
      return [uid, gid, nlink];
    };
    expect([stat("bin/su"), stat("bin/ping"), stat("sh"), stat("null")]).toEqual([
      [0, 12, 1],
      [5, 0, 2],
      [3, 4, 1],
      [9, 0, 1],
    ]);
    for (const name of ["", "bin", "bin/su", "sh"]) {
      expect(lstatSync(`${dir}/${name}`, { bigint: true }).mtimeNs).toBe(mtimeNs);
    }
    expect(lstatSync(`${dir}/tmp`, { bigint: true }).mtimeNs).toBe(5n);
    expect(linux.stat(-100, `${dir}/disk`, 0).rdev).toEqual({ major: 259, minor: 70_000 });
  });

  test("tells which directories it made up, byte for byte", async () => {
    const dir = target();
    const odd = Buffer.from([0x61, 0xff, 0x80]);
    const { implied } = await unpack(
      archiveOf(
        { name: Buffer.concat([odd, Buffer.from("/b/f")]), content: "x" },
        { name: "c/d/" },
        { name: "c/", mode: 0o700 },
      ),
      dir,
    );
    expect(implied.map((path) => Buffer.from(path).toString("latin1"))).toEqual([
      "",
      "a\xff\x80",
      "a\xff\x80/b",
    ]);
    expect(lstatSync(`${dir}/c`).mode & 0o7777).toBe(0o700);
  });

  test("whiteouts in all positions", () => {
    const dir = target();
    unpackHere(
      archiveOf(
        { name: "gone/.wh.file" },
        { name: "gone/.wh.dir", type: "hardlink", linkName: "whatever" },
        // A whiteout that a directory, a file, or something below it takes the place of.
        { name: ".wh.again" },
        { name: "again/", mode: 0o750 },
        { name: "again/f", content: "f" },
        { name: ".wh.refile" },
        { name: "refile", content: "new" },
        { name: ".wh.below" },
        { name: "below/deep/f", content: "f" },
        // Entries of the same layer stay, whichever comes first.
        { name: "late/", mode: 0o700 },
        { name: "late/mine", content: "m" },
        { name: ".wh.late" },
        { name: "mine", content: "m" },
        { name: ".wh.mine" },
        { name: "first/a", content: "a" },
        { name: "first/.wh..wh..opq" },
        { name: "second/.wh..wh..opq" },
        { name: "second/b", content: "b" },
        { name: ".wh..wh.plnk/1.2", content: "aufs" },
        { name: ".wh..wh.aufs", content: "aufs" },
      ),
      dir,
    );
    expect([isWhiteout(`${dir}/gone/file`), isWhiteout(`${dir}/gone/dir`)]).toEqual([true, true]);
    const opaque = ["again", "below", "late", "first", "second", "gone", "below/deep"].filter(
      (name) => xattr(`${dir}/${name}`, "trusted.overlay.opaque") === "y",
    );
    expect(opaque).toEqual(["again", "below", "late", "first", "second"]);
    expect(readFileSync(`${dir}/refile`, "utf8")).toBe("new");
    expect(readFileSync(`${dir}/mine`, "utf8")).toBe("m");
    expect(readFileSync(`${dir}/below/deep/f`, "utf8")).toBe("f");
    expect(readdirSync(`${dir}/first`)).toEqual(["a"]);
    expect(readdirSync(dir).filter((name) => name.startsWith(".wh."))).toEqual([]);
  });

  test("plain mode takes whiteout names as names, and goes below a directory if asked", async () => {
    const dir = target();
    mkdirSync(`${dir}/real`);
    symlinkSync("/real", `${dir}/into`);
    const archive = archiveOf(
      { name: "./", mode: 0o700 },
      { name: "d/.wh.x", content: "x" },
      { name: "d/h", linkName: "d/.wh.x", type: "hardlink" },
    );
    await unpack(archive, dir, { mode: "plain", inside: "/into" });
    expect(readdirSync(`${dir}/real/d`).toSorted()).toEqual([".wh.x", "h"]);
    expect(lstatSync(`${dir}/real`).mode & 0o777).toBe(0o700);
    expect(lstatSync(dir).mode & 0o777).toBe(0o755);
  });

  test("later entries win, directories merge", () => {
    const dir = target();
    const entries: Entry[] = [
      { name: "d/", mode: 0o700 },
      { name: "d/kept", content: "kept" },
      { name: "d/", mode: 0o711 },
      { name: "x", content: "a long first version" },
      { name: "x", content: "second", mode: 0o600 },
      { name: "t/sub/f", content: "f" },
      { name: "t", content: "a file now" },
      { name: "h", linkName: "x", type: "hardlink" },
      { name: "h", linkName: "x", type: "hardlink" },
      { name: "x", linkName: "x", type: "hardlink" },
    ];
    unpackHere(archiveOf(...entries), dir);
    expect(lstatSync(`${dir}/d`).mode & 0o777).toBe(0o711);
    expect(readFileSync(`${dir}/d/kept`, "utf8")).toBe("kept");
    expect(readFileSync(`${dir}/h`, "utf8")).toBe("second");
    expect(readFileSync(`${dir}/t`, "utf8")).toBe("a file now");
    expect(lstatSync(`${dir}/x`).nlink).toBe(2);
  });

  test("is the same as what GNU tar unpacks", async () => {
    const tree = target("tree");
    mkdirSync(`${tree}/a/b`, { recursive: true, mode: 0o750 });
    for (let i = 0; i < 300; i++)
      writeFileSync(`${tree}/a/f${i}`, "x".repeat(i * 37), { mode: 0o600 + (i % 64) });
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/a/b/`), Buffer.from([0xc3, 0x28, 0xff])]), "bytes");
    linkSync(`${tree}/a/f7`, `${tree}/a/b/hard`);
    symlinkSync("../f8", `${tree}/a/b/soft`);
    chownSync(`${tree}/a/f9`, 1234, 70_000);
    spawnSync("cp", ["--sparse=always", "/dev/stdin", `${tree}/holes`], {
      input: Buffer.concat([Buffer.alloc(1 << 20), Buffer.from("end"), Buffer.alloc(1 << 20)]),
    });
    for (const flags of [
      ["--format=gnu"],
      ["--format=pax", "--xattrs"],
      ["--format=pax", "--sparse"],
      ["--format=oldgnu", "--sparse"],
    ]) {
      const archive = spawnSync("tar", ["-c", ...flags, "-C", tree, "."], { maxBuffer: 1 << 28 }).stdout;
      const dir = target(flags.join(""));
      await unpack(zlib.zstdCompressSync(archive), dir);
      const reference = target(`${flags.join("")}.ref`);
      spawnSync("tar", ["-xp", "--numeric-owner", "-C", reference], { input: archive });
      expect(listing(dir)).toBe(listing(reference));
      expect(spawnSync("diff", ["-r", "--no-dereference", dir, reference]).stdout.toString()).toBe("");
      if (flags.includes("--sparse")) expect(lstatSync(`${dir}/holes`).blocks).toBeLessThan(100);
    }
  });
});

describe.skipIf(!isRoot)("failures", () => {
  const archive = archiveOf(
    { name: "a", content: Buffer.alloc(3_000_000, "a") },
    { name: "b", content: "b" },
  );

  test("truncated and corrupt streams, naming what is wrong", async () => {
    const dir = target();
    const packed = zlib.gzipSync(archive);
    expect((await failure(unpack(packed.subarray(0, packed.length - 9), dir))).reason).toBe("truncated");
    expect((await failure(unpack(archive.subarray(0, 9999), dir))).message).toContain(
      'truncated in tar entry "a"',
    );
    expect((await failure(unpack(Buffer.from("not a tar archive".repeat(100)), dir))).kind).toBe("data-loss");
  });

  test("no space left names the target", async () => {
    const dir = target();
    linux.mount("tmpfs", dir, "tmpfs", 0, "size=1m");
    const error = await failure(unpack(archive, dir));
    expect([error.kind, error.reason, error.data["target"]]).toEqual(["resource-exhausted", "ENOSPC", dir]);
    expect(error.message).toContain(dir);
  });

  test("a source that throws ends the child and comes through", async () => {
    const dir = target();
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, 1_000_000);
      throw new Error("connection reset");
    })();
    expect(await rejection(unpack(archive, dir, { source }))).toContain("connection reset");
  });

  test("a child that fails does not wait for a source that stalls", async () => {
    const dir = target();
    let isEnded = false;
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield Buffer.alloc(4096, "not a tar");
        await Bun.sleep(60_000);
      } finally {
        isEnded = true;
      }
    })();
    expect((await failure(unpack(archive, dir, { source }))).kind).toBe("data-loss");
    expect(isEnded).toBe(false);
  });

  test("cancellation kills the child", async () => {
    const dir = target();
    const controller = new AbortController();
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, 600_000);
      controller.abort();
      await Bun.sleep(30);
      yield archive.subarray(600_000);
    })();
    const ctx = createCtx({ signal: controller.signal });
    const error = await failure(
      spawnUnpack(ctx, {
        command: unpackCommand,
        target: dir,
        overlayXattr: "trusted",
        source,
        mode: "layer",
      }),
    );
    expect(error.kind).toBe("canceled");
  });

  test("a child that is killed is an error, and so is one that says nothing", async () => {
    const dir = target();
    const killed = unpack(archive, dir, { command: ["sh", "-c", "kill -9 $$"] });
    expect((await failure(killed)).message).toContain("SIGKILL");
    expect((await failure(unpack(archive, dir, { command: ["true"] }))).reason).toBe("unpack-died");
    expect((await failure(unpack(archive, `${base.path}/missing`))).kind).toBe("not-found");
  });

  test("the child dies with its parent", async () => {
    const dir = target();
    const script = `
      import { unpack } from "${import.meta.dir}/../../test/fixtures/unpack.ts";
      const source = (async function* () { yield new Uint8Array(512); await Bun.sleep(600000); })();
      await unpack(new Uint8Array(0), ${JSON.stringify(dir)}, { source });`;
    const parent = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "ignore", "ignore"] });
    const children = (): string[] => childrenAt(dir);
    while (children().length === 0) await Bun.sleep(20);
    // Only when it is in its sandbox is it tied to its parent.
    await Bun.sleep(300);
    parent.kill("SIGKILL");
    await parent.exited;
    for (let tries = 0; tries < 100 && children().length > 0; tries++) await Bun.sleep(20);
    expect(children()).toEqual([]);
  });

  test("the child sees one mount, and nothing in it; it holds no descriptor but its streams and what it works on", async () => {
    const dir = target();
    const held = openSync("/etc/passwd", "r");
    const ours = linux.dup(held);
    let seen: { fds: string[]; mounts: string[]; root: string } | undefined;
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, 1 << 20);
      await Bun.sleep(400);
      const [pid = ""] = childrenAt(dir);
      const fds = readdirSync(`/proc/${pid}/fd`).filter((fd) => Number(fd) > 2);
      seen = {
        fds: fds
          .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
          .filter((link) => !link.startsWith("anon_inode:")),
        mounts: readFileSync(`/proc/${pid}/mountinfo`, "utf8").trim().split("\n"),
        root: readdirSync(`/proc/${pid}/root`).join(),
      };
      yield archive.subarray(1 << 20);
    })();
    await unpack(archive, dir, { source });
    closeSync(held);
    closeSync(ours);
    // The directory, the file that is being written, and the pipe the archive comes through.
    expect(seen?.fds.map((link) => link.replace(/^pipe:.*/, "pipe")).toSorted()).toEqual(["/", "/a", "pipe"]);
    expect([seen?.mounts.length, seen?.root]).toEqual([1, ""]);
  });

  test("nothing is left open here", async () => {
    const dir = target();
    const probe = archiveOf({ name: "x", content: "x" });
    const count = (): number => readdirSync("/proc/self/fd").length;
    for (let i = 0; i < 2; i++) await unpack(probe, dir);
    const before = count();
    for (let i = 0; i < 4; i++) await unpack(probe, dir, { source: streamOf(probe, 100) });
    for (let i = 0; i < 2; i++) await failure(unpack(probe.subarray(0, 100), dir));
    // The run-time closes the ends of a child's pipes a moment after the child.
    for (let tries = 0; tries < 100 && count() > before; tries++) await Bun.sleep(20);
    expect(count()).toBeLessThanOrEqual(before);
  });
});
