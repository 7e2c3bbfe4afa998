import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { isKind } from "../core/error.ts";
import { recordSys } from "../../test/fake/sys.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_PATH } from "./const.ts";
import { linux } from "./linux.ts";
import { removeTree } from "./remove-tree.ts";

test("files, links and directories go; what links lead to stays", () => {
  using tmp = tempDir("sys-remove");
  mkdirSync(`${tmp.path}/t/a/b`, { recursive: true });
  mkdirSync(`${tmp.path}/keep`);
  writeFileSync(`${tmp.path}/keep/file`, "");
  symlinkSync(`${tmp.path}/keep`, `${tmp.path}/t/link`);
  symlinkSync("../../keep", `${tmp.path}/t/a/b/link`);
  writeFileSync(`${tmp.path}/t/a/file`, "");
  removeTree(linux, AT_FDCWD, `${tmp.path}/t`);
  expect(readdirSync(tmp.path)).toEqual(["keep"]);
  expect(readdirSync(`${tmp.path}/keep`)).toEqual(["file"]);
  removeTree(linux, AT_FDCWD, `${tmp.path}/t`);
  symlinkSync("keep", `${tmp.path}/top`);
  removeTree(linux, AT_FDCWD, `${tmp.path}/top`);
  expect(readdirSync(`${tmp.path}/keep`)).toEqual(["file"]);
});

test("a tree deeper than a path can say, with few descriptors", () => {
  using tmp = tempDir("sys-remove-deep");
  const name = "d".repeat(100);
  let fd = linux.open(tmp.path, O_PATH);
  for (let depth = 0; depth < 2000; depth++) {
    linux.mkdir(fd, name, 0o755);
    const next = linux.openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    linux.close(fd);
    fd = next;
  }
  linux.close(fd);
  let open = 0;
  let most = 0;
  const counting = {
    openat: (...args: Parameters<typeof linux.openat>) => {
      most = Math.max(most, ++open);
      return linux.openat(...args);
    },
    close: (closed: number) => {
      open--;
      linux.close(closed);
    },
  };
  const { sys } = recordSys({ base: counting });
  removeTree(sys, AT_FDCWD, `${tmp.path}/${name}`);
  expect(readdirSync(tmp.path)).toEqual([]);
  expect(most).toBeLessThan(60);
  expect(open).toBe(0);
});

test("a mount point is refused and what is mounted there stays", () => {
  using tmp = tempDir("sys-remove-mount");
  mkdirSync(`${tmp.path}/t/volume`, { recursive: true });
  linux.mount("x", `${tmp.path}/t/volume`, "tmpfs", 0, "size=64k");
  writeFileSync(`${tmp.path}/t/volume/data`, "precious");
  let error: unknown;
  try {
    removeTree(linux, AT_FDCWD, `${tmp.path}/t`);
  } catch (thrown) {
    error = thrown;
  }
  expect(isKind(error, "in-use")).toBe(true);
  expect(existsSync(`${tmp.path}/t/volume/data`)).toBe(true);
  linux.umount(`${tmp.path}/t/volume`);
  removeTree(linux, AT_FDCWD, `${tmp.path}/t`);
  expect(existsSync(`${tmp.path}/t`)).toBe(false);
});

test("works where the file system gives no entry types", () => {
  using tmp = tempDir("sys-remove-types");
  mkdirSync(`${tmp.path}/t/a/b`, { recursive: true });
  writeFileSync(`${tmp.path}/t/a/f`, "");
  const untyped = { readdir: (fd: number) => linux.readdir(fd).map(({ name }) => ({ name, type: 0 })) };
  removeTree(recordSys({ base: untyped }).sys, AT_FDCWD, `${tmp.path}/t`);
  expect(readdirSync(tmp.path)).toEqual([]);
});
