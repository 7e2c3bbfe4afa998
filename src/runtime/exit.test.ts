import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { kindOf } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { LOST_STATUS, readExit, waitExit } from "./exit.ts";

const made: string[] = [];
const children: Bun.Subprocess[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    await child.exited;
  }
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

function directory(): string {
  const path = mkdtempSync("/tmp/berth-runtime-exit-");
  made.push(path);
  return path;
}

function sleeper(): number {
  const child = Bun.spawn(["sleep", "100"]);
  children.push(child);
  return child.pid;
}

/** As the monitor does it. */
function record(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text);
  renameSync(`${file}.tmp`, file);
}

describe("readExit", () => {
  test("a number, nothing yet, and what is not a number", () => {
    const file = `${directory()}/id`;
    expect(readExit(file)).toBeUndefined();
    writeFileSync(file, "");
    expect(readExit(file)).toBeUndefined();
    writeFileSync(file, "137\n");
    expect(readExit(file)?.exitCode).toBe(137);
    expect(readExit(file)?.finishedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    writeFileSync(file, "-1");
    expect(readExit(file)?.exitCode).toBe(255);
  });
});

describe.each([true, false])("waitExit (blocking: %p)", (blocking) => {
  const ctx = createCtx();

  test("returns as soon as the file is there", async () => {
    const file = `${directory()}/id`;
    const script = `sleep 0.05; echo 7 > ${file}.tmp; mv ${file}.tmp ${file}`;
    children.push(Bun.spawn(["sh", "-c", script]));
    const status = await waitExit(ctx, { exitFile: file, monitorPid: sleeper(), blocking });
    expect(status.exitCode).toBe(7);
    expect(Date.now() - Date.parse(status.finishedAt)).toBeLessThan(1000);
  });

  test("a file that is there already", async () => {
    const file = `${directory()}/id`;
    record(file, "3");
    expect((await waitExit(ctx, { exitFile: file, blocking })).exitCode).toBe(3);
  });

  test("waits for the process when the monitor dies without a word, and says that the status is lost", async () => {
    const file = `${directory()}/id`;
    const [monitorPid, pid] = [sleeper(), sleeper()];
    const waiting = waitExit(ctx, { exitFile: file, monitorPid, pid, blocking });
    let over = false;
    void waiting.then(() => (over = true));
    linux.kill(monitorPid, 9);
    await Bun.sleep(60);
    expect(over).toBe(false);
    linux.kill(pid, 9);
    expect(await waiting).toMatchObject({ exitCode: LOST_STATUS, reason: "monitor-lost" });
  });

  test("does not take a reused pid for the monitor", async () => {
    const file = `${directory()}/id`;
    const request = { exitFile: file, monitorPid: sleeper(), monitorStart: 1, blocking };
    expect(await waitExit(ctx, request)).toMatchObject({ reason: "monitor-lost" });
  });

  test("an abort ends the wait", async () => {
    const file = `${directory()}/id`;
    const aborted = createCtx({ signal: AbortSignal.timeout(20) });
    const failure = waitExit(aborted, { exitFile: file, monitorPid: sleeper(), blocking });
    expect(await failure.catch(kindOf)).toBe("canceled");
  });
});
