import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_WRONLY } from "../../src/sys/const.ts";
import { hasCode } from "../../src/sys/errno.ts";
import { linux } from "../../src/sys/linux.ts";
import { Rooted } from "../../src/sys/rooted.ts";
import type { Sys } from "../../src/sys/sys.ts";
import { recordSys } from "./sys.ts";
import { tempDir } from "./temp-dir.ts";

function work(sys: Sys, path: string): void {
  const dir = sys.open(path, O_RDONLY | O_DIRECTORY);
  try {
    sys.mkdir(dir, "a", 0o755);
    sys.close(sys.openat(dir, "f", O_WRONLY | O_CREAT, 0o600));
    sys.stat(dir, "f", 0);
    sys.unlink(dir, "f");
  } finally {
    sys.close(dir);
  }
}

describe("the recording system", () => {
  test("does the real thing and writes it down", () => {
    using tmp = tempDir("fake");
    const recorder = recordSys();
    work(recorder.sys, tmp.path);
    expect(readdirSync(tmp.path)).toEqual(["a"]);
    expect(recorder.calls.map(([name]) => name)).toEqual([
      "open",
      "mkdir",
      "openat",
      "close",
      "stat",
      "unlink",
      "close",
    ]);
    expect(recorder.calls[1]?.slice(2)).toEqual(["a", 0o755]);
    expect(recorder.changes).toBe(3);
    expect(recorder.failed).toBe(false);
  });

  test("fails the n-th change and nothing else", () => {
    for (const [n, left] of [
      [1, []],
      [2, ["a"]],
      [3, ["a", "f"]],
    ] as const) {
      using tmp = tempDir("fake");
      const recorder = recordSys({ failAt: { n, errno: 28 } });
      let error: unknown;
      try {
        work(recorder.sys, tmp.path);
      } catch (thrown) {
        error = thrown;
      }
      expect(hasCode(error, "ENOSPC")).toBe(true);
      expect(recorder.failed).toBe(true);
      expect(readdirSync(tmp.path).toSorted()).toEqual([...left]);
    }
  });

  test("fails a call by name, and lets parts be replaced", () => {
    const recorder = recordSys({ failAt: { call: "stat", n: 2, errno: 5 }, base: { startTime: () => 42 } });
    expect(recorder.sys.startTime(1)).toBe(42);
    recorder.sys.stat(-100, "/", 0);
    expect(() => recorder.sys.stat(-100, "/", 0)).toThrow("EIO");
    recorder.sys.stat(-100, "/", 0);
  });

  test("has every call of the real one", () => {
    expect(Object.keys(recordSys().sys).toSorted()).toEqual(Object.keys(linux).toSorted());
  });
});

test("an atomic write that fails at any step leaves the old state and no descriptor", () => {
  const bytes = Buffer.from("new");
  const attempt = (recorder: ReturnType<typeof recordSys>, path: string): void => {
    using root = Rooted.open(recorder.sys, path);
    root.writeFile("file", bytes, { mode: 0o600 });
  };
  using first = tempDir("fake");
  const probe = recordSys();
  attempt(probe, first.path);
  const before = readdirSync("/proc/self/fd").length;
  for (let n = 1; n <= probe.changes; n++) {
    using tmp = tempDir("fake");
    expect(() => attempt(recordSys({ failAt: { n, errno: 28 } }), tmp.path)).toThrow("ENOSPC");
    expect(readdirSync(tmp.path)).toEqual([]);
  }
  expect(probe.changes).toBeGreaterThanOrEqual(5);
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});
