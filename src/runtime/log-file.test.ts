import { afterEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import fc from "fast-check";
import { createCtx } from "../core/ctx.ts";
import { kindOf } from "../core/error.ts";
import { followLogFile, readLogFile } from "./log-file.ts";
import { LineJoiner, type LogLine, parseRecord } from "./log-line.ts";

const made: string[] = [];

afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

function logFile(content = ""): { path: string; exitDir: string } {
  const directory = mkdtempSync("/tmp/berth-runtime-log-");
  made.push(directory);
  mkdirSync(`${directory}/exits`);
  const path = `${directory}/ctr.log`;
  writeFileSync(path, content);
  return { path, exitDir: `${directory}/exits` };
}

const BASE = Date.parse("2026-03-01T12:00:00Z");

function time(seconds: number): string {
  return new Date(BASE + seconds * 1000).toISOString().replace("Z", "123456+00:00");
}

function record(n: number, text: string, tag = "F", stream = "stdout"): string {
  return `${time(n)} ${stream} ${tag} ${text}\n`;
}

function texts(lines: Iterable<LogLine>): string[] {
  return [...lines].map((line) => Buffer.from(line.text).toString() + (line.partial ? "~" : ""));
}

describe("parseRecord", () => {
  test("splits at the first three spaces only, and keeps bytes as they are", () => {
    const text = Uint8Array.of(0, 255, 32, 13, 195);
    const line = parseRecord(Buffer.concat([Buffer.from(`${time(1)} stderr P `), text]));
    expect(line).toEqual({ time: time(1), stream: "stderr", text: Buffer.from(text), partial: true });
  });

  test("an empty line", () => {
    expect(parseRecord(Buffer.from(`${time(1)} stdout F `))?.text.length).toBe(0);
  });

  test.each(["", "x", "a b c d", `${"x".repeat(30)} stdout`, `${"x".repeat(30)} nostream F text`])(
    "%j is none",
    (text) => {
      expect(parseRecord(Buffer.from(text))).toBeUndefined();
    },
  );
});

describe("LineJoiner", () => {
  test("joins the pieces of each stream apart", () => {
    const joiner = new LineJoiner();
    const push = (text: string, partial: boolean, stream: LogLine["stream"]): LogLine | undefined =>
      joiner.push({ time: text, stream, text: Buffer.from(text), partial });
    expect(push("a", true, "stdout")).toBeUndefined();
    expect(push("1", true, "stderr")).toBeUndefined();
    expect(push("b", false, "stdout")).toEqual({
      time: "a",
      stream: "stdout",
      text: Buffer.from("ab"),
      partial: false,
    });
    expect(joiner.flush()).toEqual([{ time: "1", stream: "stderr", text: Buffer.from("1"), partial: true }]);
    expect(joiner.flush()).toEqual([]);
  });

  test("a line without an end does not grow without bound", () => {
    const joiner = new LineJoiner();
    let largest = 0;
    for (let i = 0; i < 200; i++) {
      const line = joiner.push({ time: "t", stream: "stdout", text: Buffer.alloc(8192), partial: true });
      largest = Math.max(largest, line?.text.length ?? 0);
    }
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThanOrEqual(300 * 1024);
  });
});

describe("readLogFile", () => {
  test("a file that is not there, an empty one, and one with damage in it", () => {
    expect([...readLogFile({ path: "/nosuch/log" })]).toEqual([]);
    expect([...readLogFile(logFile())]).toEqual([]);
    expect([...readLogFile({ ...logFile(), tail: 3 })]).toEqual([]);
    const { path } = logFile(`${record(1, "a")}damage\n${record(2, "b")}${time(3)} stdout F unfinished`);
    expect(texts(readLogFile({ path }))).toEqual(["a", "b"]);
  });

  test("since and until take whole lines, both ends included", () => {
    const { path } = logFile([1, 2, 3, 4].map((n) => record(n, String(n))).join(""));
    const at = (seconds: number): number => BASE + seconds * 1000;
    expect(texts(readLogFile({ path, sinceMs: at(2) }))).toEqual(["2", "3", "4"]);
    expect(texts(readLogFile({ path, untilMs: at(3) }))).toEqual(["1", "2", "3"]);
    expect(texts(readLogFile({ path, sinceMs: at(2), untilMs: at(2) }))).toEqual(["2"]);
    expect(texts(readLogFile({ path, tail: 3, untilMs: at(3) }))).toEqual(["2", "3"]);
  });

  test("tail counts lines, not records, and takes what has no end for one", () => {
    const content =
      record(1, "one") + record(2, "tw", "P") + record(2, "o") + record(3, "three") + record(4, "fo", "P");
    const { path } = logFile(content);
    expect(texts(readLogFile({ path, tail: 0 }))).toEqual([]);
    expect(texts(readLogFile({ path, tail: 1 }))).toEqual(["fo~"]);
    expect(texts(readLogFile({ path, tail: 2 }))).toEqual(["three", "fo~"]);
    expect(texts(readLogFile({ path, tail: 3 }))).toEqual(["two", "three", "fo~"]);
    expect(texts(readLogFile({ path, tail: 9 }))).toEqual(["one", "two", "three", "fo~"]);
  });

  test("tail is the end of everything, for any lines and any count", () => {
    const line = fc.record({
      length: fc.integer({ min: 0, max: 40_000 }),
      pieces: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(line, { maxLength: 40 }), fc.integer({ min: 0, max: 45 }), (lines, tail) => {
        const content = lines
          .map(({ length, pieces }, n) => {
            const piece = record(n, "x".repeat(length), "P");
            return piece.repeat(pieces - 1) + record(n, String(n));
          })
          .join("");
        const { path } = logFile(content);
        const all = texts(readLogFile({ path }));
        expect(texts(readLogFile({ path, tail }))).toEqual(tail === 0 ? [] : all.slice(-tail));
        rmSync(made.pop() as string, { recursive: true });
      }),
      { numRuns: 60 },
    );
  });
});

describe.each([true, false])("followLogFile (blocking: %p)", (blocking) => {
  const ctx = createCtx();

  /** Collects lines while `script` runs beside; ends when `script` has. */
  async function followed(
    log: { path: string; exitDir: string },
    script: () => Promise<void>,
    tail?: number,
  ): Promise<string[]> {
    let ended = false;
    const seen: string[] = [];
    const reading = (async () => {
      const query = { ...log, ended: () => ended, blocking, ...(tail !== undefined && { tail }) };
      for await (const line of followLogFile(ctx, query)) seen.push(...texts([line]));
    })();
    await script();
    await Bun.sleep(30);
    ended = true;
    writeFileSync(`${log.exitDir}/id`, "0");
    await reading;
    return seen;
  }

  test("what is there, what comes, and the end", async () => {
    const log = logFile(record(1, "old") + record(1, "before"));
    const seen = await followed(
      log,
      async () => {
        for (const text of ["a", "b"]) {
          await Bun.sleep(10);
          appendFileSync(log.path, record(2, text));
        }
      },
      1,
    );
    expect(seen).toEqual(["before", "a", "b"]);
  });

  test("an unfinished line is shown when nothing more comes, and its rest when it does", async () => {
    const log = logFile();
    const seen = await followed(log, async () => {
      appendFileSync(log.path, record(1, "prompt> ", "P"));
      await Bun.sleep(60);
      appendFileSync(log.path, record(2, "answer"));
    });
    expect(seen).toEqual(["prompt> ~", "answer"]);
  });

  test("goes on in the new file after a rotation, without losing the end of the old one", async () => {
    const log = logFile(record(1, "first"));
    const seen = await followed(log, async () => {
      await Bun.sleep(20);
      appendFileSync(log.path, record(2, "last of old"));
      writeFileSync(`${log.path}.tmp`, record(3, "first of new"));
      renameSync(`${log.path}.tmp`, log.path);
      await Bun.sleep(20);
      appendFileSync(log.path, record(4, "second of new"));
    });
    expect(seen).toEqual(["first", "last of old", "first of new", "second of new"]);
  });

  test("begins again in a file that was cut short, and waits for one that is not there yet", async () => {
    const log = logFile(record(1, "gone with a long text"));
    const seen = await followed(log, async () => {
      await Bun.sleep(20);
      truncateSync(log.path, 0);
      appendFileSync(log.path, record(2, "new"));
    });
    expect(seen).toEqual(["gone with a long text", "new"]);
    const late = logFile();
    rmSync(late.path);
    expect(await followed(late, async () => writeFileSync(late.path, record(1, "late")))).toEqual(["late"]);
  });

  test("of a log whose directory is gone: no lines", async () => {
    const log = logFile();
    rmSync(dirname(log.path), { recursive: true });
    expect(await Array.fromAsync(followLogFile(ctx, { ...log, ended: () => true, blocking }))).toEqual([]);
  });

  test("an end of which nothing is written ends it: the directory is moved away, or the monitor was killed", async () => {
    for (const end of ["moved", "killed"]) {
      const log = logFile(record(1, "x"));
      let ended = false;
      const lines = Array.fromAsync(followLogFile(ctx, { ...log, ended: () => ended, blocking: false }));
      await Bun.sleep(50);
      ended = true;
      if (end === "moved") renameSync(dirname(log.path), `${dirname(log.path)}-gone`);
      made.push(`${dirname(log.path)}-gone`);
      const started = performance.now();
      expect(texts(await lines)).toEqual(["x"]);
      expect(performance.now() - started).toBeLessThan(end === "moved" ? 800 : 10_000);
    }
  });

  test("until and an abort end it", async () => {
    const log = logFile(record(1, "x"));
    const query = { ...log, ended: () => false, blocking };
    const seen = await Array.fromAsync(followLogFile(ctx, { ...query, untilMs: Date.now() + 30 }));
    expect(texts(seen)).toEqual(["x"]);
    const aborted = createCtx({ signal: AbortSignal.timeout(30) });
    expect(await Array.fromAsync(followLogFile(aborted, query)).catch(kindOf)).toBe("canceled");
  });
});
