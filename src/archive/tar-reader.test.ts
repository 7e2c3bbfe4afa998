import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { collect, textOf } from "../../test/fixtures/collect.ts";
import {
  archiveOf,
  base256,
  bombs,
  closed,
  entriesOf,
  paxHeader,
  padded,
  rawHeader,
} from "../../test/fixtures/tar.ts";
import { EngineError } from "../core/error.ts";

let base: string;
beforeAll(() => {
  base = mkdtempSync("/tmp/berth-tar-");
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

function thrown(body: () => unknown): EngineError {
  try {
    body();
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

/** What GNU tar writes of `paths` in `dir`. */
function gnuTar(dir: string, flags: string[], paths: string[]): Uint8Array {
  const run = spawnSync("tar", ["-c", ...flags, "-C", dir, ...paths], { maxBuffer: 1 << 28 });
  if (run.status !== 0) throw new Error(run.stderr.toString());
  return run.stdout;
}

describe("archives of GNU tar", () => {
  const long = `${"deep/".repeat(30)}${"n".repeat(90)}`;

  beforeAll(() => {
    const dir = `${base}/tree`;
    mkdirSync(`${dir}/sub`, { recursive: true });
    writeFileSync(`${dir}/small`, "hello");
    writeFileSync(`${dir}/block`, "b".repeat(512));
    writeFileSync(`${dir}/big`, Buffer.alloc(3_000_001, "x"));
    writeFileSync(`${dir}/empty`, "");
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0xfe, 0x2d, 0x80])]), "bytes");
    symlinkSync("small", `${dir}/link`);
    linkSync(`${dir}/small`, `${dir}/sub/hard`);
    utimesSync(`${dir}/empty`, 1_500_000_000.25, 1_500_000_000.25);
  });

  for (const format of ["v7", "oldgnu", "gnu", "ustar", "pax"]) {
    test(format, () => {
      const archive = gnuTar(`${base}/tree`, [`--format=${format}`, "--sort=name"], ["."]);
      for (const chunk of [archive.length, 700, 511]) {
        const entries = collect(archive, {}, chunk);
        const names = entries.map((entry) => Buffer.from(entry.name).toString("latin1"));
        expect(names).toEqual([
          "./",
          "./big",
          "./block",
          "./empty",
          "./link",
          "./small",
          "./sub/",
          "./sub/hard",
          "./\xff\xfe-\x80",
        ]);
        expect(entries.map((entry) => entry.type)).toEqual([
          "directory",
          "file",
          "file",
          "file",
          "symlink",
          "file",
          "directory",
          "hardlink",
          "file",
        ]);
        expect(entries[1]?.content.every((byte) => byte === 0x78)).toBe(true);
        expect(entries[1]?.size).toBe(3_000_001);
        expect(textOf(entries[5]?.content ?? ([] as never))).toBe("hello");
        expect(textOf(entries[7]?.linkName ?? ([] as never))).toBe("./small");
        const fraction = format === "pax" ? 250_000_000n : 0n;
        expect(entries[3]?.mtimeNs).toBe(1_500_000_000_000_000_000n + fraction);
      }
    });
  }

  for (const format of ["gnu", "pax"]) {
    test(`long names and link targets, ${format}`, () => {
      const dir = `${base}/long-${format}`;
      mkdirSync(`${dir}/${long.slice(0, long.lastIndexOf("/"))}`, { recursive: true });
      writeFileSync(`${dir}/${long}`, "x");
      symlinkSync(long, `${dir}/link`);
      const entries = collect(gnuTar(dir, [`--format=${format}`], ["link", long]));
      expect(textOf(entries[0]?.linkName as Uint8Array)).toBe(long);
      expect(textOf(entries[1]?.name as Uint8Array)).toBe(long);
    });
  }

  for (const flags of [
    ["--format=gnu"],
    ["--format=pax", "--sparse-version=0.0"],
    ["--format=pax", "--sparse-version=0.1"],
    ["--format=pax", "--sparse-version=1.0"],
  ]) {
    test(`sparse files, ${flags.join(" ")}`, () => {
      const dir = `${base}/sparse`;
      rmSync(dir, { recursive: true, force: true });
      mkdirSync(dir);
      const content = Buffer.alloc(4_000_000);
      // More extents than a GNU header and one extension block hold.
      for (let i = 0; i < 40; i++) content.write(`extent ${i}`, i * 90_000);
      spawnSync("cp", ["--sparse=always", "/dev/stdin", `${dir}/holes`], { input: content });
      writeFileSync(`${dir}/after`, "after");
      writeFileSync(`${dir}/hole`, "");
      truncateSync(`${dir}/hole`, 1_000_000);
      const archive = gnuTar(dir, ["--sparse", ...flags], ["holes", "hole", "after"]);
      expect(archive.length).toBeLessThan(1_000_000);
      for (const chunk of [archive.length, 1000]) {
        const [holes, hole, after] = collect(archive, {}, chunk);
        expect(textOf(holes?.name as Uint8Array)).toBe("holes");
        expect(Buffer.compare(holes?.content as Uint8Array, content)).toBe(0);
        expect(hole?.size).toBe(1_000_000);
        expect(textOf(after?.content as Uint8Array)).toBe("after");
      }
    });
  }
});

describe("headers", () => {
  test("pax overrides the header, its size too", () => {
    const content = Buffer.from("twelve bytes");
    const [entry, next] = collect(
      closed(
        paxHeader([
          ["path", "real name"],
          ["size", "12"],
          ["uid", "3000000"],
          ["gid", "4000000000"],
          ["mtime", "1234567890.987654321"],
          ["atime", "-1.5"],
          ["uname", "jürgen"],
          ["SCHILY.xattr.user.bin", Uint8Array.of(0, 255, 10, 61)],
          ["SCHILY.xattr.user.none", ""],
          ["LIBARCHIVE.xattr.user.b%3D", "AP8="],
        ]),
        // The header says two blocks: a reader that believes it takes "next" for content.
        rawHeader({ name: "short", size: "00000002000\0" }),
        padded(content),
        entriesOf({ name: "next" }),
      ),
    );
    expect(textOf(entry?.name as Uint8Array)).toBe("real name");
    expect(entry?.content).toEqual(new Uint8Array(content));
    expect([entry?.uid, entry?.gid, entry?.uname]).toEqual([3_000_000, 4_000_000_000, "jürgen"]);
    expect([entry?.mtimeNs, entry?.atimeNs]).toEqual([1_234_567_890_987_654_321n, -1_500_000_000n]);
    expect(entry?.xattrs).toEqual(
      new Map([
        ["user.bin", Uint8Array.of(0, 255, 10, 61)],
        ["user.none", new Uint8Array(0)],
        ["user.b=", Uint8Array.of(0, 255)],
      ]),
    );
    expect(textOf(next?.name as Uint8Array)).toBe("next");
  });

  test("base 256, signed checksums, prefix, unknown global header, links without content", () => {
    const signed = rawHeader({ name: Uint8Array.of(0xe9, 0x61) });
    let sum = 0;
    signed.fill(0x20, 148, 156);
    for (const byte of signed) sum += byte > 127 ? byte - 256 : byte;
    signed.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
    const entries = collect(
      closed(
        paxHeader([["path", "for all"]], { flag: "g" }),
        signed,
        rawHeader({
          name: "file",
          uid: base256(70_000n, 8),
          mtime: base256(-5n, 12),
          patch: [[345, "some/dir"]],
        }),
        rawHeader({ name: "hard", typeFlag: "1", linkName: "file", size: "00000001000\0" }),
        rawHeader({ name: "dir/", typeFlag: "\0", magic: "" }),
        rawHeader({ name: "far", mtime: base256(2n ** 70n, 12) }),
      ),
    );
    expect(entries.map((entry) => textOf(entry.name).slice(-13))).toEqual([
      "\ufffda",
      "some/dir/file",
      "hard",
      "dir/",
      "far",
    ]);
    expect([entries[1]?.uid, entries[1]?.mtimeNs]).toEqual([70_000, -5_000_000_000n]);
    expect([entries[2]?.type, entries[2]?.size, entries[3]?.type]).toEqual(["hardlink", 0, "directory"]);
    expect(entries[4]?.mtimeNs).toBe(0x37fffffffn * 1_000_000_000n);
  });

  test("an archive may end without zeros, and with any padding", () => {
    expect(collect(entriesOf({ name: "a" })).length).toBe(1);
    expect(collect(Buffer.concat([archiveOf({ name: "a" }), new Uint8Array(10_240)])).length).toBe(1);
    expect(collect(Buffer.concat([archiveOf({ name: "a" }), Buffer.from("anything")])).length).toBe(1);
    expect(collect(new Uint8Array(0))).toEqual([]);
  });

  test("a truncated archive is data loss wherever it is cut", () => {
    const whole = Buffer.concat([
      paxHeader([["comment", "x"]]),
      entriesOf({ name: "first", content: "x".repeat(700) }, { name: "é", content: "y" }),
    ]);
    const borders = new Set([0, 2560]);
    for (let cut = 0; cut < whole.length; cut += 128) {
      if (borders.has(cut)) continue;
      expect(thrown(() => collect(whole.subarray(0, cut), {}, 300)).kind).toBe("data-loss");
    }
    expect(thrown(() => collect(whole.subarray(0, 2000))).message).toContain('"first"');
  });
});

describe("bombs are refused before anything is allocated", () => {
  for (const [name, archive] of Object.entries(bombs())) {
    test(name, () => {
      const before = process.memoryUsage().rss;
      const error = thrown(() => collect(archive));
      expect(["invalid-argument", "data-loss"]).toContain(error.kind);
      expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20);
    });
  }

  test("entries and bytes in all", () => {
    const archive = archiveOf({ name: "a", content: "123" }, { name: "b", content: "456" });
    expect(thrown(() => collect(archive, { maxEntries: 1 })).reason).toBe("tar-limit");
    expect(thrown(() => collect(archive, { maxTotalBytes: 5 })).reason).toBe("tar-limit");
    expect(collect(archive, { maxEntries: 2, maxTotalBytes: 6 }).length).toBe(2);
  });
});
