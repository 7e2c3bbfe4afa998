import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failure } from "../../../test/fake/failure.ts";
import { recordSys } from "../../../test/fake/sys.ts";
import { tempDir, type TempDir } from "../../../test/fake/temp-dir.ts";
import { linux } from "../../sys/linux.ts";
import { Rooted } from "../../sys/rooted.ts";
import type { Sys } from "../../sys/sys.ts";
import { StagedFile } from "./staged-file.ts";

const EOPNOTSUPP = 95;
let directory: TempDir;
beforeEach(() => {
  directory = tempDir("staged");
});
afterEach(() => directory[Symbol.dispose]());

const names = (): string[] => readdirSync(directory.path);
/** A file system that has no unnamed files. */
const without = (): Sys => recordSys({ failAt: { call: "openat2", n: 1, errno: EOPNOTSUPP } }).sys;

test.each([
  ["unnamed", () => linux, 0],
  ["where there are no unnamed files", without, 1],
] as const)(
  "%s: nothing of that name before it is published, nothing left when it is not",
  async (_name, sys, aside) => {
    for (const replace of [false, true]) {
      const real = sys();
      using root = Rooted.open(real, directory.path);
      {
        using file = StagedFile.open(real, root, "");
        file.write(Buffer.from("unfinished"));
        expect(names()).toHaveLength(aside);
      }
      expect(names()).toEqual([]);
      const again = sys();
      using other = Rooted.open(again, directory.path);
      using file = StagedFile.open(again, other, "");
      file.write(Buffer.from("content"));
      if (replace) writeFileSync(join(directory.path, "name"), "old");
      await file.publish("name", { replace, mode: 0o640 });
      expect(names()).toEqual(["name"]);
      expect(readFileSync(join(directory.path, "name"), "utf8")).toBe("content");
      expect(statSync(join(directory.path, "name")).mode & 0o777).toBe(0o640);
      other.remove("name");
    }
  },
);

test.each([
  ["unnamed", () => linux],
  ["where there are no unnamed files", without],
] as const)("%s: what is there is not overwritten unasked", async (_name, sys) => {
  writeFileSync(join(directory.path, "name"), "mine");
  {
    const real = sys();
    using root = Rooted.open(real, directory.path);
    using file = StagedFile.open(real, root, "");
    file.write(Buffer.from("other"));
    const error = await failure(file.publish("name", { replace: false, mode: 0o644 }));
    expect(error).toMatchObject({ kind: "already-exists", reason: "EEXIST" });
  }
  expect(names()).toEqual(["name"]);
  expect(readFileSync(join(directory.path, "name"), "utf8")).toBe("mine");
});
