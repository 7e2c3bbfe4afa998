import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { AT_FDCWD } from "../sys/const.ts";
import { linux } from "../sys/linux.ts";
import { removeTree } from "../sys/remove-tree.ts";
import { temporaryDir } from "./fixture.ts";
import { inheritMetadata } from "./inherit.ts";

let base: string;
beforeEach(() => {
  base = temporaryDir("inherit");
  for (const name of ["own", "top", "bottom"]) mkdirSync(`${base}/${name}`);
});
afterEach(() => removeTree(linux, AT_FDCWD, base));

/** Makes directories in a layer, given as "layer/path"; the last gets mode and owner, and the mark if it is opaque. */
function make(where: string, mode?: number, owner = 0, opaque = false): void {
  const full = `${base}/${where}`;
  mkdirSync(full, { recursive: true });
  if (mode !== undefined) chmodSync(full, mode);
  if (owner !== 0) chownSync(full, owner, owner);
  if (opaque) linux.setxattr(full, "trusted.overlay.opaque", Buffer.from("y"));
}

function inherit(...implied: (string | Uint8Array)[]): void {
  inheritMetadata(linux, `${base}/own`, [`${base}/top`, `${base}/bottom`], implied);
}

function look(path: string): [number, number] {
  const { mode, uid } = statSync(`${base}/own/${path}`);
  return [mode & 0o7777, uid];
}

test("the topmost lower directory decides, all of it", () => {
  make("bottom/tmp", 0o1777);
  make("bottom/a/b", 0o700, 5);
  make("top/a", 0o2750, 7);
  make("top/a/b", 0o711, 6);
  utimesSync(`${base}/bottom/tmp`, 1000, 2000);
  linux.setxattr(`${base}/bottom/tmp`, "user.key", Buffer.from("v"));
  make("own/tmp");
  make("own/a/b/new");
  inherit("a/b/new", "tmp/", "a", "./a/b");
  expect(look("tmp")).toEqual([0o1777, 0]);
  expect(statSync(`${base}/own/tmp`).mtimeMs).toBe(2_000_000);
  expect(Buffer.from(linux.getxattr(`${base}/own/tmp`, "user.key") ?? []).toString()).toBe("v");
  expect(look("a")).toEqual([0o2750, 7]);
  expect(look("a/b")).toEqual([0o711, 6]);
  expect(look("a/b/new")).toEqual([0o755, 0]);
});

test("the root itself", () => {
  chmodSync(`${base}/top`, 0o701);
  inherit("");
  expect(look("")).toEqual([0o701, 0]);
});

test("what cannot be seen from above is not copied", () => {
  make("bottom/opaque/in", 0o700);
  make("top/opaque", 0o711, 0, true);
  make("own/opaque/in");
  make("bottom/white/in", 0o700);
  linux.mknod(AT_FDCWD, `${base}/top/white`, 0o020000, { major: 0, minor: 0 });
  make("own/white/in");
  make("bottom/mine/in", 0o700);
  make("own/mine", 0o755, 0, true);
  make("own/mine/in");
  make("bottom/file", 0o700);
  writeFileSync(`${base}/top/file`, "");
  make("own/file");
  inherit("opaque", "opaque/in", "white", "white/in", "mine/in", "file");
  expect(look("opaque")).toEqual([0o711, 0]);
  expect(linux.getxattr(`${base}/own/opaque`, "trusted.overlay.opaque")).toBeUndefined();
  for (const path of ["opaque/in", "white", "white/in", "mine/in", "file"]) {
    expect([path, ...look(path)]).toEqual([path, 0o755, 0]);
  }
});

test("links are never followed, in no layer", () => {
  mkdirSync(`${base}/canary/in`, { recursive: true });
  chmodSync(`${base}/canary/in`, 0o700);
  symlinkSync(`${base}/canary`, `${base}/top/l`);
  make("own/l/in");
  symlinkSync(`${base}/canary`, `${base}/own/k`);
  make("bottom/k/in", 0o712);
  inherit("l", "l/in", "k", "k/in");
  expect(look("l/in")).toEqual([0o755, 0]);
  expect(statSync(`${base}/canary/in`).mode & 0o7777).toBe(0o700);
});

test("names are bytes", () => {
  const name = Buffer.from([0x61, 0xff, 0xfe]);
  for (const layer of ["own", "top"]) {
    linux.mkdir(AT_FDCWD, Buffer.concat([Buffer.from(`${base}/${layer}/`), name]), 0o755);
  }
  linux.chown(AT_FDCWD, Buffer.concat([Buffer.from(`${base}/top/`), name]), 9, 9);
  inherit(name);
  const stat = linux.stat(AT_FDCWD, Buffer.concat([Buffer.from(`${base}/own/`), name]), 0);
  expect(stat.uid).toBe(9);
});
