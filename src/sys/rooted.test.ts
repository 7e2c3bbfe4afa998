import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { EngineError } from "../core/error.ts";
import { type TempDir, tempDir } from "../../test/fake/temp-dir.ts";
import * as k from "./const.ts";
import { linux } from "./linux.ts";
import { Rooted } from "./rooted.ts";

let tmp: TempDir;
let root: Rooted;
let inside: string;
let canary: string;

beforeEach(() => {
  tmp = tempDir("sys-rooted");
  inside = `${tmp.path}/root`;
  canary = `${tmp.path}/canary`;
  mkdirSync(inside);
  mkdirSync(canary);
  writeFileSync(`${canary}/secret`, "host");
  root = Rooted.open(linux, inside);
});

afterEach(() => {
  // Whatever a test tried, the directory beside the root is as it was.
  expect(readdirSync(canary)).toEqual(["secret"]);
  expect(readFileSync(`${canary}/secret`, "utf8")).toBe("host");
  expect(readdirSync(tmp.path).toSorted()).toEqual(["canary", "root"]);
  root[Symbol.dispose]();
  tmp[Symbol.dispose]();
});

function kindOrCode(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof EngineError) return error.reason;
    throw error;
  }
  return "no error";
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const read = (path: string): string => text(root.readFile(path, 1000));

describe("hostile trees", () => {
  test("links out of the root stay in it, absolute or with ..", () => {
    symlinkSync(canary, `${inside}/abs`);
    symlinkSync("../canary", `${inside}/rel`);
    symlinkSync("../../../../../../../../etc", `${inside}/up`);
    for (const path of [
      "abs/secret",
      "rel/secret",
      "up/passwd",
      "../canary/secret",
      "/../../canary/secret",
    ]) {
      expect([path, kindOrCode(() => root.readFile(path, 1000))]).toEqual([path, "ENOENT"]);
      expect(root.exists(path)).toBe(false);
      expect(kindOrCode(() => root.parent(path))).toBe("ENOENT");
    }
    // The same places exist once they are made, inside.
    mkdirSync(`${inside}/canary`);
    writeFileSync(`${inside}/canary/secret`, "guest");
    expect(read("rel/secret")).toBe("guest");
    expect(read("../canary/secret")).toBe("guest");
  });

  test("writing through a link lands inside", () => {
    symlinkSync(canary, `${inside}/a`);
    root.writeFile("a/x", Buffer.from("1"), { parents: true, mode: 0o4711, uid: 3, gid: 4 });
    expect(readFileSync(`${inside}${canary}/x`, "utf8")).toBe("1");
    expect(lstatSync(`${inside}${canary}/x`)).toMatchObject({ mode: k.S_IFREG | 0o4711, uid: 3, gid: 4 });
  });

  test("the last component is replaced, not followed", () => {
    symlinkSync(`${canary}/secret`, `${inside}/hosts`);
    root.writeFile("hosts", Buffer.from("new"));
    expect(lstatSync(`${inside}/hosts`).isFile()).toBe(true);
    expect(read("hosts")).toBe("new");
    expect(readdirSync(inside)).toEqual(["hosts"]);
  });

  test("magic links are refused", () => {
    linux.mount("proc", (mkdirSync(`${inside}/proc`), `${inside}/proc`), "proc", 0);
    for (const path of ["proc/self/cwd/x", "proc/self/root/etc/passwd", "proc/self/fd/0", "proc/self/exe"]) {
      expect([path, kindOrCode(() => root.openFile(path, k.O_PATH))]).toEqual([path, "ELOOP"]);
    }
    expect(text(root.readlink("proc/self/exe"))).toBe(readlinkSync("/proc/self/exe"));
    linux.umount(`${inside}/proc`);
  });

  test("link loops and long chains end", () => {
    symlinkSync("loop", `${inside}/loop`);
    symlinkSync("b", `${inside}/a`);
    symlinkSync("a", `${inside}/b`);
    for (const path of ["loop", "a/x"]) {
      expect(kindOrCode(() => root.stat(path))).toBe("ELOOP");
      expect(kindOrCode(() => root.mkdirAll(path, 0o755))).toBe("ELOOP");
      expect(root.exists(path)).toBe(false);
    }
    // Each link's target is missing, so every step of the way has to be made.
    for (let i = 0; i < 60; i++) symlinkSync(`chain-${i + 1}/d`, `${inside}/chain-${i}`);
    expect(kindOrCode(() => root.mkdirAll("chain-0", 0o755))).not.toBe("no error");
  });

  test("fifos, devices and directories are never opened as files", () => {
    linux.mknod(root.fd, "fifo", k.S_IFIFO | 0o600, { major: 0, minor: 0 });
    linux.mknod(root.fd, "zero", k.S_IFCHR | 0o600, { major: 1, minor: 5 });
    symlinkSync("zero", `${inside}/etc-passwd`);
    mkdirSync(`${inside}/dir`);
    for (const path of ["fifo", "zero", "etc-passwd", "dir", "/"]) {
      expect([path, kindOrCode(() => root.readFile(path, 1000))]).toEqual([path, "not-regular"]);
    }
  });

  test("a sparse giant costs no memory", () => {
    const fd = root.openFile("big", k.O_WRONLY | k.O_CREAT, 0o600);
    linux.truncate(fd, 2 ** 40);
    linux.close(fd);
    expect(kindOrCode(() => root.readFile("big", 10 << 20))).toBe("file-too-large");
  });

  test("a directory swapped for a link while it is used: writes stay inside, always", async () => {
    mkdirSync(`${inside}/d`);
    const worker = Bun.spawn(
      ["sh", "-c", `while :; do mv -T d e && ln -sT ${canary} d; rm -f d; mv -T e d; done 2>/dev/null`],
      { cwd: inside },
    );
    try {
      for (let i = 0; i < 400; i++) {
        const made = kindOrCode(() => root.writeFile("d/x", Buffer.from("1"), { parents: i % 2 === 0 }));
        expect(["no error", "ENOENT", "EEXIST", "ENOTDIR"]).toContain(made);
        kindOrCode(() => root.remove("d/x"));
        expect(readdirSync(canary)).toEqual(["secret"]);
      }
    } finally {
      worker.kill(9);
      await worker.exited;
    }
  });
});

describe("parent", () => {
  test("gives the directory and the name, whatever the name is", () => {
    mkdirSync(`${inside}/a/b`, { recursive: true });
    symlinkSync("/a/b", `${inside}/l`);
    symlinkSync("nowhere", `${inside}/a/b/dangling`);
    for (const path of ["l/dangling", "/l//./dangling/", "a/../l/dangling/."]) {
      const { dir, name, created } = root.parent(path);
      expect([text(name), created]).toEqual(["dangling", []]);
      expect(text(linux.readlink(dir, name))).toBe("nowhere");
      linux.close(dir);
    }
  });

  test("refuses what names no entry", () => {
    for (const path of ["", "/", ".", "./", "..", "a/..", "/..//."]) {
      expect([path, kindOrCode(() => root.parent(path, { create: true }))]).toEqual([
        path,
        "no-last-component",
      ]);
    }
    expect(readdirSync(inside)).toEqual([]);
  });

  test("makes what is missing, exactly as asked, and says so", () => {
    mkdirSync(`${inside}/a`);
    const umask = linux.umask(0o077);
    const { dir, name, created } = root.parent("a/b/c/file", {
      create: true,
      mode: 0o1777,
      owner: { uid: 1, gid: 2 },
    });
    linux.umask(umask);
    linux.close(dir);
    expect(text(name)).toBe("file");
    expect(created.map(text)).toEqual(["a/b", "a/b/c"]);
    for (const path of created) {
      expect(root.lstat(path)).toMatchObject({ mode: k.S_IFDIR | 0o1777, uid: 1, gid: 2 });
    }
    expect(root.lstat("a").mode & 0o7777).toBe(0o755);
  });

  test("a dangling link on the way gets its target, inside the root", () => {
    symlinkSync(`${canary}/deep`, `${inside}/w`);
    symlinkSync("w/more", `${inside}/v`);
    const { dir, created } = root.parent("v/x", { create: true });
    linux.close(dir);
    expect(created.map(text).at(-1)).toBe(`${canary.slice(1)}/deep/more`);
    expect(lstatSync(`${inside}${canary}/deep/more`).isDirectory()).toBe(true);
    // "..": after something that had to be made, too.
    expect(root.mkdirAll("new/../other/../../third", 0o700).map(text)).toEqual([
      "new",
      "new/../other",
      "new/../other/../../third",
    ]);
    expect(readdirSync(inside).toSorted()).toContain("third");
  });

  test("a file on the way is an error and nothing is made", () => {
    writeFileSync(`${inside}/file`, "");
    expect(kindOrCode(() => root.parent("file/x/y", { create: true }))).toBe("ENOTDIR");
    expect(kindOrCode(() => root.mkdirAll("file", 0o755))).toBe("ENOTDIR");
    expect(readdirSync(inside)).toEqual(["file"]);
  });
});

describe("the rest", () => {
  test("names are bytes", () => {
    const odd = Uint8Array.of(0xff, 0x2f, 0xfe, 0x0a);
    root.writeFile(odd, Buffer.from("x"), { parents: true });
    expect(text(root.readFile(odd, 10))).toBe("x");
    expect(root.realpath(odd)).toEqual(Buffer.concat([Buffer.from("/"), odd]));
    root.remove(Uint8Array.of(0xff));
    expect(readdirSync(inside)).toEqual([]);
  });

  test("stat follows, lstat does not", () => {
    symlinkSync("/d", `${inside}/l`);
    expect(kindOrCode(() => root.stat("l"))).toBe("ENOENT");
    mkdirSync(`${inside}/d`);
    expect(root.stat("l").mode & k.S_IFMT).toBe(k.S_IFDIR);
    expect(root.lstat("l").mode & k.S_IFMT).toBe(k.S_IFLNK);
    expect(root.stat("/").ino).toBe(lstatSync(inside, { bigint: true }).ino);
    expect(root.lstat("").ino).toBe(root.stat(".").ino);
  });

  test("readFile up to the limit and not a byte more", () => {
    writeFileSync(`${inside}/f`, "12345");
    expect(text(root.readFile("f", 5))).toBe("12345");
    expect(kindOrCode(() => root.readFile("f", 4))).toBe("file-too-large");
    writeFileSync(`${inside}/empty`, "");
    expect(root.readFile("empty", 0).length).toBe(0);
  });

  test("realpath is within the root", () => {
    mkdirSync(`${inside}/a/b`, { recursive: true });
    symlinkSync("../../../..", `${inside}/a/b/up`);
    symlinkSync("/a/b", `${inside}/l`);
    expect(text(root.realpath("l"))).toBe("/a/b");
    expect(text(root.realpath("l/up"))).toBe("/");
    expect(text(root.realpath("l/up/a"))).toBe("/a");
    using whole = Rooted.open(linux, "/");
    expect(text(whole.realpath("/proc/../dev/null"))).toBe("/dev/null");
  });

  test("a failed write leaves the old file and nothing beside it", () => {
    mkdirSync(`${inside}/d`);
    expect(kindOrCode(() => root.writeFile("d", Buffer.from("x")))).toBe("EISDIR");
    expect(kindOrCode(() => root.writeFile("no/such/f", Buffer.from("x")))).toBe("ENOENT");
    expect(readdirSync(inside)).toEqual(["d"]);
  });

  test("no operation leaks a descriptor", () => {
    const before = readdirSync("/proc/self/fd").length;
    root.mkdirAll("p/q/r", 0o755);
    root.writeFile("p/f", Buffer.from("x"));
    symlinkSync("missing", `${inside}/l`);
    for (const path of ["p/f", "l", "absent", "p/q", "l/x"]) {
      for (const body of [
        () => root.stat(path),
        () => root.lstat(path),
        () => root.exists(path),
        () => root.readFile(path, 1),
        () => root.readFile(path, 0),
        () => root.readlink(path),
        () => root.realpath(path),
        () => root.mkdirAll(`${path}/sub/dir`, 0o700),
        () => root.remove(path),
      ]) {
        kindOrCode(body);
      }
    }
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});
