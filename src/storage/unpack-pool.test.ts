// Few unpackers for many archives: used again, never after a failure, and gone when nothing is left to do.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { failure } from "../../test/fake/failure.ts";
import { tempDir, type TempDir } from "../../test/fake/temp-dir.ts";
import { archiveOf } from "../../test/fixtures/tar.ts";
import { streamOf, unpackCommand } from "../../test/fixtures/unpack.ts";
import { createCtx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { UnpackPool } from "./unpack-pool.ts";
import { spawnUnpack, type Unpacked } from "./unpack.ts";

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: unpacking layers needs root");

let base: TempDir;
let pool: UnpackPool;
beforeEach(() => {
  base = tempDir("pool");
  pool = new UnpackPool(unpackCommand, base.path, 50);
});
afterEach(() => base[Symbol.dispose]());

/** Their number is the limit of what works at once. */
function children(): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").endsWith(`__unpack\0${base.path}\0`);
    } catch {
      return false;
    }
  });
}

async function untilNone(): Promise<void> {
  for (let tries = 0; tries < 200 && children().length > 0; tries++) await Bun.sleep(20);
  expect(children()).toEqual([]);
}

interface Given {
  archive?: Uint8Array;
  source?: AsyncIterable<Uint8Array>;
  signal?: AbortSignal;
}

function unpack(name: string, given: Given = {}): Promise<Unpacked> {
  const target = `${base.path}/${name}`;
  mkdirSync(target);
  const archive = given.archive ?? archiveOf({ name: `own-${name}`, content: name });
  const source = given.source ?? streamOf(archive, 100);
  const ctx = createCtx(given.signal === undefined ? {} : { signal: given.signal });
  return spawnUnpack(
    ctx,
    { command: unpackCommand, target, overlayXattr: "trusted", source, mode: "layer" },
    pool,
  );
}

describe.skipIf(!isRoot)("a pool", () => {
  test("does twenty archives with a few processes, each into its own directory", async () => {
    const seen = new Set<string>();
    const names = Array.from({ length: 20 }, (_, i) => `t${i}`);
    await Promise.all(
      names.map(async (name) => {
        await unpack(name);
        for (const pid of children()) seen.add(pid);
      }),
    );
    for (const name of names) expect(readdirSync(`${base.path}/${name}`)).toEqual([`own-${name}`]);
    expect(seen.size).toBeLessThanOrEqual(4);
    await untilNone();
    // And again after all had ended.
    await unpack("late");
    await untilNone();
  });

  test("an archive that fails takes nobody along", async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, i) =>
        unpack(`t${i}`, i % 3 === 0 ? { archive: Buffer.alloc(5000, "no tar") } : {}),
      ),
    );
    expect(outcomes.map(({ status }) => status === "rejected")).toEqual(outcomes.map((_, i) => i % 3 === 0));
    for (let i = 1; i < 12; i += 3) expect(readdirSync(`${base.path}/t${i}`)).toEqual([`own-t${i}`]);
    await untilNone();
  });

  test("what waits for its turn can be given up, and so can what is at work", async () => {
    const stop = new AbortController();
    const stuck = (async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(512);
      await new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
      throw fail("unavailable", "told to stop");
    })();
    const hold = Array.from({ length: 4 }, (_, i) =>
      failure(unpack(`hold${i}`, { source: i === 0 ? stuck : silent(stop.signal), signal: stop.signal })),
    );
    await Bun.sleep(200);
    const waiting = failure(unpack("waiting", { signal: stop.signal }));
    await Bun.sleep(20);
    stop.abort();
    const errors = await Promise.all([...hold, waiting]);
    expect(errors.length).toBe(5);
    await unpack("after");
    expect(readdirSync(`${base.path}/after`)).toEqual(["own-after"]);
    await untilNone();
  });

  test("an unpacker that is used again is in no directory of a job before", async () => {
    const xattrs = new Map([["user.note", Buffer.from("x")]]);
    await unpack("first", {
      archive: archiveOf({ name: "link", type: "symlink", linkName: "x", xattrs } as never),
    });
    await unpack("second");
    for (const pid of children()) expect(readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    await untilNone();
  });
});

async function* silent(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(512);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
}
