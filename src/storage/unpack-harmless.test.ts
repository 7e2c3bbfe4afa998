// Archives of strangers among a person's files: what is refused, what is taken off.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readFileSync, readlinkSync } from "node:fs";
import { failure } from "../../test/fake/failure.ts";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { archiveOf, type Entry } from "../../test/fixtures/tar.ts";
import { unpack } from "../../test/fixtures/unpack.ts";
import { linux } from "../sys/linux.ts";
import { leadsOut } from "./unpack-harmless.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: unpacking with owners and devices needs root");

let base: TempDir;
let target: string;
beforeEach(() => {
  base = tempDir("harmless");
  target = `${base.path}/target`;
  mkdirSync(target);
});
afterEach(() => base[Symbol.dispose]());

const put = (...entries: Entry[]) =>
  unpack(archiveOf(...entries), target, { mode: "plain", harmless: true, owner: { uid: 0, gid: 0 } });

describe.skipIf(!isRoot)("an archive of strangers", () => {
  test("loses set-id bits, extended attributes and owners", async () => {
    const capability = new Uint8Array([1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    await put(
      { name: "d/", mode: 0o3777, uid: 7, gid: 8 },
      {
        name: "d/su",
        mode: 0o6755,
        uid: 5,
        gid: 6,
        content: "#!",
        xattrs: new Map([
          ["security.capability", capability],
          ["user.note", Buffer.from("x")],
        ]),
      },
      { name: "d/.wh.kept", content: "a name like any other" },
    );
    const file = lstatSync(`${target}/d/su`);
    expect([file.mode & 0o7777, file.uid, file.gid]).toEqual([0o755, 0, 0]);
    expect(linux.listxattr(`${target}/d/su`)).toEqual([]);
    expect(lstatSync(`${target}/d`).mode & 0o7777).toBe(0o777);
    expect(readFileSync(`${target}/d/.wh.kept`, "utf8")).toBe("a name like any other");
  });

  test.each([["char"], ["block"], ["fifo"]] as const)("with a %s is refused", async (type) => {
    const error = await failure(put({ name: "x", type, device: { major: 1, minor: 3 } }));
    expect(error).toMatchObject({ kind: "invalid-argument", reason: "unpack-harmful" });
  });

  test("keeps links that stay inside", async () => {
    await put(
      { name: "a/b/file", content: "x" },
      { name: "a/up", linkName: "../a/b/file" },
      { name: "here", linkName: "a/b" },
      { name: "a/hard", type: "hardlink", linkName: "a/b/file" },
      { name: "dangling", linkName: "nowhere" },
      { name: "a/top", linkName: ".." },
    );
    expect(readFileSync(`${target}/a/up`, "utf8")).toBe("x");
    expect(readlinkSync(`${target}/here`)).toBe("a/b");
    expect(lstatSync(`${target}/a/hard`).nlink).toBe(2);
  });

  test.each<[string, Entry[]]>([
    ["an absolute one", [{ name: "l", linkName: "/etc/passwd" }]],
    ["one above the top", [{ name: "a/l", linkName: "../../x" }]],
    [
      "one through another",
      [
        { name: "a/up", linkName: ".." },
        { name: "a/l", linkName: "up/../x" },
      ],
    ],
    [
      "one that a name through a link puts higher",
      [
        { name: "a/up", linkName: ".." },
        { name: "a/up/l", linkName: "../x" },
      ],
    ],
    [
      "one that a hard link puts higher",
      [
        { name: "a/l", linkName: "../x" },
        { name: "l", type: "hardlink", linkName: "a/l" },
      ],
    ],
    ["one deep down", [{ name: `${"d/".repeat(50)}l`, linkName: `${"../".repeat(51)}x` }]],
  ])("with a link that leads out is refused: %s", async (_what, entries) => {
    expect(await failure(put(...entries))).toMatchObject({
      kind: "invalid-argument",
      reason: "unpack-harmful",
    });
  });
});

test.each([
  ["a", 0, false],
  ["..", 0, true],
  ["..", 1, false],
  ["../..", 1, true],
  ["./../x", 1, false],
  ["a/..", 5, true],
  ["/", 9, true],
  ["", 0, false],
] as const)("a link to %j at depth %d", (link, depth, out) => {
  expect(leadsOut(Buffer.from(link), depth)).toBe(out);
});
