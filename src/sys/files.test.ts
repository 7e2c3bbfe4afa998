import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, linkSync, lstatSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { type TempDir, tempDir } from "../../test/fake/temp-dir.ts";
import * as k from "./const.ts";
import { hasCode, SysError } from "./errno.ts";
import { linux } from "./linux.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: exact times need a tmpfs, and that root");

let tmp: TempDir;
let dir: number;
beforeAll(() => {
  tmp = tempDir("sys-files");
  dir = linux.open(tmp.path, k.O_RDONLY | k.O_DIRECTORY);
});
afterAll(() => {
  linux.close(dir);
  tmp[Symbol.dispose]();
});

function caught(body: () => unknown): SysError {
  try {
    body();
  } catch (error) {
    if (error instanceof SysError) return error;
    throw error;
  }
  throw new Error("it did not throw");
}

describe("errors", () => {
  test("carry the call, the path and the errno", () => {
    const error = caught(() => linux.openat(dir, "absent", k.O_RDONLY));
    expect(error).toMatchObject({
      call: "openat",
      path: "absent",
      errno: 2,
      code: "ENOENT",
      kind: "not-found",
    });
    expect(error.message).toBe('openat "absent": ENOENT');
    expect(hasCode(error, "EEXIST", "ENOENT")).toBe(true);
  });

  test("a NUL in a name never reaches the kernel", () => {
    expect(caught(() => linux.mkdir(dir, "a\0b", 0o755)).code).toBe("EINVAL");
    expect(caught(() => linux.mkdir(dir, Uint8Array.of(97, 0, 98), 0o755)).code).toBe("EINVAL");
  });
});

describe("reading and writing", () => {
  test("contents, offsets, positions and truncation", () => {
    const fd = linux.openat(dir, "data", k.O_RDWR | k.O_CREAT | k.O_EXCL, 0o640);
    linux.write(fd, Buffer.from("hello world"));
    linux.write(fd, Buffer.from("J"), 0);
    const into = new Uint8Array(5);
    expect(linux.read(fd, into)).toBe(0);
    expect(linux.read(fd, into, 0)).toBe(5);
    expect(Buffer.from(into).toString()).toBe("Jello");
    linux.truncate(fd, 3);
    linux.fsync(fd);
    linux.syncfs(fd);
    linux.close(fd);
    expect(readFileSync(`${tmp.path}/data`, "utf8")).toBe("Jel");
  });

  test("a write larger than a pipe is complete, and the pipe has the size asked for", () => {
    const pipe = linux.pipe(1 << 20);
    const bytes = new Uint8Array(1 << 20).fill(7);
    linux.write(pipe.write, bytes);
    linux.close(pipe.write);
    const into = new Uint8Array(1 << 20);
    let got = 0;
    for (let more = -1; more !== 0; got += more) more = linux.read(pipe.read, into.subarray(got));
    linux.close(pipe.read);
    expect(got).toBe(1 << 20);
    expect(into).toEqual(bytes);
  });

  test("descriptors are close-on-exec, duplicates too", () => {
    const first = linux.memfd("x");
    const second = linux.dup(first);
    for (const fd of [first, second, dir]) {
      expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toMatch(/flags:\s+0?2\d{6}/);
    }
    linux.close(first);
    linux.close(second);
  });

  test("copyRange copies in the kernel until the end", () => {
    const from = linux.openat(dir, "from", k.O_RDWR | k.O_CREAT, 0o600);
    const to = linux.openat(dir, "to", k.O_RDWR | k.O_CREAT, 0o600);
    linux.write(from, Buffer.from("x".repeat(100_000)));
    linux.write(from, Buffer.from("y"), 0);
    const again = linux.openat(dir, "from", k.O_RDONLY);
    expect(linux.copyRange(again, to, 1 << 20)).toBe(100_000);
    expect(linux.copyRange(again, to, 1 << 20)).toBe(0);
    for (const fd of [from, to, again]) linux.close(fd);
    expect(readFileSync(`${tmp.path}/to`, "utf8")).toBe(`y${"x".repeat(99_999)}`);
  });
});

describe.skipIf(!isRoot)("utimes", () => {
  test("is exact to the nanosecond for any time a file system keeps", () => {
    // tmpfs keeps all 64 bits of seconds; ext4 would clamp.
    linux.mkdir(dir, "times", 0o700);
    linux.mount("tmpfs", `${tmp.path}/times`, "tmpfs", 0, "size=1m");
    const fd = linux.open(`${tmp.path}/times`, k.O_RDONLY | k.O_DIRECTORY);
    const second = 1_000_000_000n;
    const edges = [
      0n,
      2n ** 31n,
      2n ** 32n,
      2n ** 33n,
      10_000_000_001n,
      2n ** 34n - 2n,
      2n ** 34n - 6n,
      10n ** 12n,
      10n ** 17n,
    ].flatMap((seconds) => [-1n, 0n, 1n, second / 2n].map((ns) => seconds * second + ns));
    const words = [2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 10n ** 20n].flatMap((ns) => [
      ns - 1n,
      ns,
      ns + 1n,
    ]);
    const random = Array.from({ length: 2000 }, (_, i) => BigInt(i) * 7_516_192_768_123_457n);
    try {
      for (const ns of [...edges, ...words, ...random].flatMap((value) => [value, -value])) {
        linux.utimes(fd, "", ns, -ns);
        const { atimeNs, mtimeNs } = linux.stat(fd, "", 0);
        expect([atimeNs, mtimeNs]).toEqual([ns, -ns]);
        linux.utimes(fd, "", ns, ns);
        expect(linux.stat(fd, "", 0).mtimeNs).toBe(ns);
      }
    } finally {
      linux.close(fd);
      linux.umount(`${tmp.path}/times`);
    }
  });
});

describe("stat", () => {
  test("agrees with node for files, links and devices", () => {
    writeFileSync(`${tmp.path}/st`, "12345");
    linkSync(`${tmp.path}/st`, `${tmp.path}/st2`);
    symlinkSync("st", `${tmp.path}/lnk`);
    linux.utimes(dir, "st", -1n, 1_700_000_000_123_456_789n);
    linux.chown(dir, "st", 12, 34);
    const ours = linux.stat(dir, "st", 0);
    const theirs = lstatSync(`${tmp.path}/st`, { bigint: true });
    expect(ours).toMatchObject({
      mode: Number(theirs.mode),
      uid: 12,
      gid: 34,
      size: 5,
      nlink: 2,
      ino: theirs.ino,
      mtimeNs: 1_700_000_000_123_456_789n,
      atimeNs: -1n,
      ctimeNs: theirs.ctimeNs,
      blocks: Number(theirs.blocks),
      mountRoot: false,
    });
    expect(linux.stat(dir, "lnk", 0).ino).toBe(theirs.ino);
    expect(linux.stat(dir, "lnk", k.AT_SYMLINK_NOFOLLOW).mode & k.S_IFMT).toBe(k.S_IFLNK);
    expect(linux.stat(dir, "", 0).ino).toBe(lstatSync(tmp.path, { bigint: true }).ino);
    expect(linux.stat(k.AT_FDCWD, "/proc", 0).mountRoot).toBe(true);
    expect(linux.stat(k.AT_FDCWD, "/dev/null", 0).rdev).toEqual({ major: 1, minor: 3 });
  });

  test("statfs names the file system", () => {
    expect(linux.statfs("/proc").type).toBe(0x9fa0);
    const tmpfs = linux.statfs("/dev/shm");
    expect(tmpfs.type).toBe(0x01021994);
    expect(tmpfs.maxName).toBe(255);
    expect(tmpfs.total).toBeGreaterThan(tmpfs.available - 1);
  });
});

describe("directory entries", () => {
  test("all names come back as bytes with their types, over many getdents calls", () => {
    linux.mkdir(dir, "many", 0o755);
    const many = linux.openat(dir, "many", k.O_RDONLY | k.O_DIRECTORY);
    const odd = Uint8Array.of(0xff, 0xfe, 10, 32, 0x80);
    linux.close(linux.openat(many, odd, k.O_WRONLY | k.O_CREAT, 0o600));
    linux.mknod(many, "...", k.S_IFIFO | 0o600, { major: 0, minor: 0 });
    for (let i = 0; i < 2000; i++) linux.symlink("nowhere", many, `link-${i}-${"n".repeat(100)}`);
    const entries = linux.readdir(many);
    expect(entries.length).toBe(2002);
    expect(entries.filter((entry) => entry.type === k.DT_LNK).length).toBe(2000);
    expect(entries.find((entry) => entry.type === k.DT_REG)?.name).toEqual(odd);
    expect(entries.find((entry) => entry.type === k.DT_FIFO)?.name).toEqual(
      new Uint8Array(Buffer.from("...")),
    );
    linux.close(many);
  });

  test("links, of any length, and through a descriptor of the link itself", () => {
    const long = `/${"t".repeat(3000)}`;
    linux.symlink(long, dir, "long");
    expect(Buffer.from(linux.readlink(dir, "long")).toString()).toBe(long);
    const fd = linux.openat(dir, "long", k.O_PATH | k.O_NOFOLLOW);
    expect(linux.readlink(fd, "").length).toBe(3001);
    linux.close(fd);
    linux.link(dir, "long", dir, "long2");
    expect(linux.stat(dir, "long2", k.AT_SYMLINK_NOFOLLOW).nlink).toBe(2);
  });

  test("rename with flags, unlink, rmdir", () => {
    linux.mkdir(dir, "d", 0o755);
    linux.mkdir(dir, "e", 0o755);
    expect(caught(() => linux.rename(dir, "d", dir, "e", k.RENAME_NOREPLACE)).code).toBe("EEXIST");
    expect(caught(() => linux.unlink(dir, "d")).code).toBe("EISDIR");
    linux.rename(dir, "d", dir, "e");
    linux.unlink(dir, "e", k.AT_REMOVEDIR);
    expect(caught(() => linux.stat(dir, "e", 0)).code).toBe("ENOENT");
  });

  test("device numbers over their whole range, and none beyond it", () => {
    for (const device of [
      { major: 0, minor: 0 },
      { major: 1, minor: 255 },
      { major: 4095, minor: 256 },
      { major: 4095, minor: 0xfffff },
    ]) {
      linux.mknod(dir, "dev", k.S_IFCHR | 0o600, device);
      expect(linux.stat(dir, "dev", 0).rdev).toEqual(device);
      linux.unlink(dir, "dev");
    }
    for (const device of [
      { major: 4096, minor: 0 },
      { major: 0, minor: 0x100000 },
      { major: 2 ** 40, minor: 0 },
      { major: -1, minor: 0 },
      { major: 1.5, minor: 0 },
    ]) {
      expect(caught(() => linux.mknod(dir, "dev", k.S_IFCHR, device)).code).toBe("EINVAL");
    }
  });
});

test("owner, mode and times through an O_PATH descriptor, and never through a link", () => {
  writeFileSync(`${tmp.path}/victim`, "", { mode: 0o600 });
  chmodSync(`${tmp.path}/victim`, 0o600);
  symlinkSync("victim", `${tmp.path}/to-victim`);
  linux.chown(dir, "to-victim", 5, 6);
  linux.utimes(dir, "to-victim", 1n, 2n);
  expect(linux.stat(dir, "victim", 0)).toMatchObject({ uid: 0, gid: 0 });
  expect(linux.stat(dir, "to-victim", k.AT_SYMLINK_NOFOLLOW)).toMatchObject({ uid: 5, gid: 6, mtimeNs: 2n });
  const fd = linux.openat(dir, "victim", k.O_PATH);
  linux.fchmod(fd, 0o4755);
  linux.chown(fd, "", 7, 8);
  linux.fchmod(fd, 0o4755);
  linux.utimes(fd, "", 3n, 4n);
  linux.close(fd);
  expect(linux.stat(dir, "victim", 0)).toMatchObject({
    mode: k.S_IFREG | 0o4755,
    uid: 7,
    gid: 8,
    mtimeNs: 4n,
  });
});

describe("extended attributes", () => {
  test("by path, by descriptor and by O_PATH descriptor; binary and large", () => {
    writeFileSync(`${tmp.path}/x`, "");
    const path = `${tmp.path}/x`;
    const value = Uint8Array.from({ length: 3000 }, (_, i) => i & 0xff);
    linux.setxattr(path, "user.big", value);
    linux.setxattr(path, "user.empty", new Uint8Array());
    const fd = linux.open(path, k.O_RDONLY);
    const pathFd = linux.open(path, k.O_PATH);
    for (const target of [path, fd, pathFd]) {
      expect(linux.getxattr(target, "user.big")).toEqual(value);
      expect(linux.getxattr(target, "user.empty")?.length).toBe(0);
      expect(linux.getxattr(target, "user.absent")).toBeUndefined();
      expect(linux.listxattr(target).toSorted()).toEqual(["user.big", "user.empty"]);
    }
    linux.setxattr(pathFd, "user.big", Uint8Array.of(1));
    linux.removexattr(fd, "user.empty");
    linux.removexattr(fd, "user.empty");
    expect(linux.getxattr(path, "user.big")).toEqual(Uint8Array.of(1));
    linux.close(fd);
    linux.close(pathFd);
  });

  test("of a link itself, and what is not allowed is an error", () => {
    symlinkSync("x", `${tmp.path}/xlink`);
    linux.setxattr(`${tmp.path}/xlink`, "trusted.mine", Uint8Array.of(1));
    expect(linux.listxattr(`${tmp.path}/x`)).not.toContain("trusted.mine");
    expect(caught(() => linux.setxattr(`${tmp.path}/xlink`, "user.no", Uint8Array.of(1))).code).toBe("EPERM");
    expect(caught(() => linux.getxattr(`${tmp.path}/absent`, "user.x")).code).toBe("ENOENT");
  });
});

test("flock: shared with shared, nothing with exclusive, by open file", () => {
  const open = (): number => linux.openat(dir, "lock", k.O_RDWR | k.O_CREAT, 0o600);
  const [a, b] = [open(), open()];
  expect(linux.flock(a, "shared", false)).toBe(true);
  expect(linux.flock(b, "shared", true)).toBe(true);
  expect(linux.flock(b, "exclusive", false)).toBe(false);
  linux.flock(a, "unlock", true);
  expect(linux.flock(b, "exclusive", false)).toBe(true);
  expect(linux.flock(a, "shared", false)).toBe(false);
  linux.close(b);
  expect(linux.flock(a, "exclusive", false)).toBe(true);
  linux.close(a);
});

test("openat2 keeps to the root it is given", () => {
  symlinkSync("/etc", `${tmp.path}/abs`);
  const how = { flags: k.O_RDONLY, resolve: k.RESOLVE_IN_ROOT };
  expect(caught(() => linux.openat2(dir, "abs/passwd", how)).code).toBe("ENOENT");
  expect(caught(() => linux.openat2(dir, "abs", { ...how, resolve: k.RESOLVE_BENEATH })).code).toBe("EXDEV");
  const fd = linux.openat2(dir, "../../new", {
    flags: k.O_WRONLY | k.O_CREAT,
    mode: 0o600,
    resolve: k.RESOLVE_IN_ROOT,
  });
  linux.close(fd);
  expect(linux.stat(dir, "new", 0).mode & 0o777).toBe(0o600);
});
