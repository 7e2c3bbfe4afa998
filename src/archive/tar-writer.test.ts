import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import fc from "fast-check";
import { collect } from "../../test/fixtures/collect.ts";
import { archiveOf, type Entry } from "../../test/fixtures/tar.ts";
import { TarWriter } from "./tar-writer.ts";

const name = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((bytes) => bytes.map((byte) => (byte === 0 ? 1 : byte)))
  .filter((bytes) => bytes.at(-1) !== 0x2f);
const ns = fc.bigInt({ min: -2_000_000_000n * 1_000_000_000n, max: 15_000_000_000n * 1_000_000_000n });
const common = {
  name,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  mtimeNs: ns,
  uname: fc.string({ maxLength: 40, unit: "grapheme" }).filter((text) => !text.includes("\0")),
  xattrs: fc.dictionary(fc.stringMatching(/^user\.[a-z.]{1,20}$/), fc.uint8Array({ maxLength: 200 })),
};
const entry = fc.oneof(
  fc.record({ ...common, type: fc.constant("file" as const), content: fc.uint8Array({ maxLength: 2000 }) }),
  fc.record({ ...common, type: fc.constantFrom("symlink" as const, "hardlink" as const), linkName: name }),
  fc.record({ ...common, type: fc.constantFrom("directory" as const, "fifo" as const) }),
  fc.record({
    ...common,
    type: fc.constantFrom("char" as const, "block" as const),
    device: fc.record({
      major: fc.integer({ min: 0, max: 4095 }),
      minor: fc.integer({ min: 0, max: 0xfffff }),
    }),
  }),
);

test("what is written is read back, in chunks of any size", () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 6 }), fc.integer({ min: 1, max: 1500 }), (entries, chunk) => {
      const given = entries.map((one) => ({ ...one, xattrs: new Map(Object.entries(one.xattrs)) }) as Entry);
      const back = collect(archiveOf(...given), {}, chunk);
      expect(back.length).toBe(given.length);
      back.forEach((actual, i) => {
        const wanted = entries[i] as (typeof entries)[number];
        const slash = wanted.type === "directory" ? "/" : "";
        expect(Buffer.from(actual.name)).toEqual(Buffer.concat([wanted.name, Buffer.from(slash)]));
        expect(actual).toMatchObject({
          type: wanted.type,
          mode: wanted.mode,
          uid: wanted.uid,
          gid: wanted.gid,
          mtimeNs: wanted.mtimeNs,
          uname: wanted.uname,
        });
        expect(actual.xattrs).toEqual(new Map(Object.entries(wanted.xattrs)));
        if ("content" in wanted) expect(actual.content).toEqual(wanted.content);
        if ("linkName" in wanted) expect(actual.linkName).toEqual(wanted.linkName);
        if ("device" in wanted) expect(actual.device).toEqual(wanted.device);
      });
    }),
    { numRuns: 150 },
  );
});

test("plain entries need no extended header", () => {
  const writer = new TarWriter();
  const plain = writer.header({
    name: Buffer.from(`${"d/".repeat(60)}${"n".repeat(100)}`),
    type: "file",
    mode: 0o644,
    uid: 2_097_151,
    size: 8 ** 11 - 1,
    mtimeNs: 1_600_000_000_999_999_999n,
  });
  expect(plain.length).toBe(512);
  expect(writer.header({ name: Buffer.from("é"), type: "file" }).length).toBe(1536);
  expect(writer.header({ name: Buffer.from("a"), type: "file", uid: 2_097_152 }).length).toBe(1536);
  expect(writer.header({ name: Buffer.from("a"), type: "file", size: 8 ** 11 }).length).toBe(1536);
  expect(writer.header({ name: Buffer.from("a".repeat(101)), type: "file" }).length).toBe(1536);
});

test("the same entries give the same bytes whatever the order of attributes", () => {
  const one = new Map([
    ["user.a", Uint8Array.of(1)],
    ["user.b", Uint8Array.of(2)],
  ]);
  const other = new Map([...one].toReversed());
  expect(archiveOf({ name: "x", xattrs: one })).toEqual(archiveOf({ name: "x", xattrs: other }));
});

test("GNU tar unpacks it", () => {
  const dir = mkdtempSync("/tmp/berth-tar-");
  try {
    const deep = `${"deep/".repeat(30)}${"é".repeat(60)}`;
    const archive = archiveOf(
      { name: "d/", mode: 0o1777, mtimeNs: 1_000_000_000n },
      { name: "d/file", content: "text", mode: 0o640, mtimeNs: 1_400_000_000_500_000_000n },
      { name: "d/hard", linkName: "d/file", type: "hardlink" },
      { name: "link", linkName: "x".repeat(200) },
      { name: deep, content: "deep" },
    );
    const run = spawnSync("tar", ["-x", "-C", dir], { input: archive });
    expect([run.status, run.stderr.toString()]).toEqual([0, ""]);
    expect(readFileSync(`${dir}/d/hard`, "utf8")).toBe("text");
    const stat = lstatSync(`${dir}/d/file`);
    expect([stat.nlink, stat.mode & 0o7777, stat.mtimeMs]).toEqual([2, 0o640, 1_400_000_000_500]);
    expect(lstatSync(`${dir}/d`).mode & 0o7777).toBe(0o1777);
    expect(readlinkSync(`${dir}/link`)).toBe("x".repeat(200));
    expect(readFileSync(`${dir}/${deep}`, "utf8")).toBe("deep");
    expect(readdirSync(dir).toSorted()).toEqual(["d", "deep", "link"]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
