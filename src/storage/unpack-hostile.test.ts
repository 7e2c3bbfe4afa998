import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { archiveOf, bombs, hostileLayers } from "../../test/fixtures/tar.ts";
import { Canary, unpack, unpackHere } from "../../test/fixtures/unpack.ts";
import { EngineError } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { removeTree } from "../sys/remove-tree.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: unpacking layers needs root");

let base: TempDir;
let canary: Canary;
beforeEach(() => {
  base = tempDir("hostile");
  canary = new Canary();
});
afterEach(() => {
  base[Symbol.dispose]();
  removeTree(linux, -100, canary.path);
});

function target(name = "target"): string {
  const path = `${base.path}/${name}`;
  mkdirSync(path);
  return path;
}

/** The kind of error that the last archive gave, or undefined. */
async function outcome(
  layers: Uint8Array[],
  run: (archive: Uint8Array) => unknown,
): Promise<string | undefined> {
  for (const layer of layers) {
    try {
      await run(layer);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      return error.kind;
    }
  }
  return undefined;
}

describe.skipIf(!isRoot)("archives that reach outside", () => {
  for (const name of Object.keys(hostileLayers("/x"))) {
    test(`${name}: by rooted resolution alone`, async () => {
      const { layers, expect: wanted } = hostileLayers(canary.path)[name] as ReturnType<
        typeof hostileLayers
      >[string];
      const dir = target();
      const kind = await outcome(layers, (archive) => unpackHere(archive, dir));
      canary.check();
      expect(kind).toBe(wanted === "refused" ? "invalid-argument" : undefined);
    });
  }

  test("all of them, by the child", async () => {
    const cases = Object.entries(hostileLayers(canary.path));
    cases.forEach((_, i) => mkdirSync(`${base.path}/${i}`));
    for (const [i, [name, { layers, expect: wanted }]] of cases.entries()) {
      const kind = await outcome(layers, (archive) => unpack(archive, `${base.path}/${i}`));
      canary.check();
      expect([name, kind]).toEqual([name, wanted === "refused" ? "invalid-argument" : undefined]);
    }
  }, 60_000);

  test("bombs, by the child", async () => {
    const dir = target();
    for (const [name, archive] of Object.entries(bombs())) {
      const kind = await outcome([archive], (bytes) => unpack(bytes, dir));
      expect([name, ["invalid-argument", "data-loss"].includes(kind ?? "none")]).toEqual([name, true]);
    }
  }, 60_000);
});

describe.skipIf(!isRoot)("attributes that steer overlayfs", () => {
  const value = Buffer.from("y");
  const xattrs = new Map([
    ["trusted.overlay.opaque", value],
    ["trusted.overlay.redirect", Buffer.from("/..")],
    ["trusted.overlay.metacopy", Buffer.alloc(0)],
    ["user.overlay.opaque", value],
    ["trusted.overlay.overlay.whiteout", value],
    ["security.selinux", Buffer.from("system_u:object_r:etc_t:s0")],
    ["trusted.kept", value],
  ]);

  test("are dropped in every mode and for every type", () => {
    const archive = archiveOf(
      { name: "./", xattrs },
      { name: "d/", xattrs },
      { name: "f", xattrs, content: "x" },
      { name: "l", linkName: "f", xattrs },
      { name: "p", type: "fifo", xattrs },
    );
    for (const mode of ["layer", "plain"] as const) {
      const dir = target(mode);
      unpackHere(archive, dir, mode);
      for (const name of ["", "d", "f", "l", "p"]) {
        expect([name, linux.listxattr(`${dir}/${name}`)]).toEqual([name, ["trusted.kept"]]);
      }
    }
  });
});

describe.skipIf(!isRoot)("links inside the root still lead where they should", () => {
  test("usr-merge: absolute and relative links to directories, made or not yet made", async () => {
    const dir = target();
    await unpack(
      archiveOf(
        { name: "usr/bin/" },
        { name: "bin", linkName: "usr/bin" },
        { name: "sbin", linkName: "/usr/sbin" },
        { name: "bin/sh", content: "sh" },
        { name: "sbin/init", content: "init" },
      ),
      dir,
    );
    expect(readlinkSync(`${dir}/bin`)).toBe("usr/bin");
    expect(readFileSync(`${dir}/usr/bin/sh`, "utf8")).toBe("sh");
    expect(readFileSync(`${dir}/usr/sbin/init`, "utf8")).toBe("init");
  });

  test("a link replaced by a directory, with the directory's descriptor in hand", () => {
    const dir = target();
    unpackHere(
      archiveOf(
        { name: "one/" },
        { name: "two/" },
        { name: "l", linkName: "one" },
        { name: "l/a", content: "a" },
        { name: "l", linkName: "two" },
        { name: "l/b", content: "b" },
        { name: "l/", mode: 0o700 },
        { name: "l/c", content: "c" },
      ),
      dir,
    );
    expect([readdirSync(`${dir}/one`), readdirSync(`${dir}/two`), readdirSync(`${dir}/l`)]).toEqual([
      ["a"],
      ["b"],
      ["c"],
    ]);
    expect(lstatSync(`${dir}/l`).isDirectory()).toBe(true);
  });
});
