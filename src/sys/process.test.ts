import { describe, expect, test } from "bun:test";
import { appendFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tempDir } from "../../test/fake/temp-dir.ts";
import * as k from "./const.ts";
import { call } from "./libc.ts";
import { linux } from "./linux.ts";

test("JavaScript runs on the process' main thread", () => {
  expect(call("gettid", "")).toBe(process.pid);
});

describe("pidfd", () => {
  test("becomes readable at exit; signals reach exactly that process", async () => {
    const child = Bun.spawn(["sleep", "60"]);
    const fd = linux.pidfdOpen(child.pid);
    expect(linux.poll([{ fd, events: k.POLLIN }], 0)).toEqual([0]);
    linux.pidfdSignal(fd, k.SIGTERM);
    expect(linux.poll([{ fd, events: k.POLLIN }], 5000)[0]).toBe(k.POLLIN);
    await child.exited;
    expect(child.signalCode).toBe("SIGTERM");
    expect(() => linux.pidfdSignal(fd, 0)).toThrow("ESRCH");
    expect(() => linux.kill(child.pid, 0)).toThrow("ESRCH");
    linux.close(fd);
  });

  test("of no process is an error", () => {
    expect(() => linux.pidfdOpen(2 ** 22 + 1)).toThrow("ESRCH");
  });
});

test("start times tell processes apart, also with parentheses in the name", async () => {
  using tmp = tempDir("sys-proc");
  const odd = `${tmp.path}/a ) R 1 (b`;
  writeFileSync(odd, "#!/bin/sh\nread x\n", { mode: 0o755 });
  const child = Bun.spawn([odd], { stdin: "pipe" });
  const own = linux.startTime(process.pid);
  const its = linux.startTime(child.pid);
  expect(own).toBe(Number(readFileSync("/proc/self/stat", "utf8").split(" ")[21]));
  expect(its).toBeGreaterThanOrEqual(own as number);
  await child.stdin.end();
  await child.exited;
  expect(linux.startTime(child.pid)).toBeUndefined();
});

describe("poll", () => {
  test("reports each descriptor in order, and hang-up", () => {
    const [a, b] = [linux.pipe(), linux.pipe()];
    linux.write(b.write, Uint8Array.of(1));
    const entries = [a.read, a.write, b.read].map((fd) => ({ fd, events: k.POLLIN | k.POLLOUT }));
    expect(linux.poll(entries, -1)).toEqual([0, k.POLLOUT, k.POLLIN]);
    linux.close(a.write);
    expect(linux.poll([{ fd: a.read, events: k.POLLIN }], -1)).toEqual([k.POLLHUP]);
    for (const fd of [a.read, b.read, b.write]) linux.close(fd);
  });

  test("keeps the time-out, to the millisecond's fraction", () => {
    const pipe = linux.pipe();
    const start = performance.now();
    expect(linux.poll([{ fd: pipe.read, events: k.POLLIN }], 30.5)).toEqual([0]);
    expect(performance.now() - start).toBeGreaterThanOrEqual(30);
    linux.close(pipe.read);
    linux.close(pipe.write);
  });
});

test("an orphan below a subreaper is reaped with its status", async () => {
  // In a process of its own: the flag cannot be taken back, and would make this one a parent of strangers.
  const program = `
    import { linux } from "${import.meta.dir}/linux.ts";
    linux.becomeSubreaper();
    const sh = Bun.spawn(["sh", "-c", "(sleep 0.05; exit 7) & echo $!"], { stdout: "pipe" });
    const orphan = Number(await new Response(sh.stdout).text());
    await sh.exited;
    let gone;
    for (let i = 0; i < 200 && gone === undefined; i++) { gone = linux.reap(orphan); Bun.sleepSync(5); }
    console.log(JSON.stringify([gone?.pid === orphan, gone?.status, linux.reap(orphan) ?? null]));`;
  const child = Bun.spawn(["bun", "-e", program], { stdout: "pipe" });
  expect(JSON.parse(await new Response(child.stdout).text())).toEqual([true, 7, null]);
});

test("limits: lowering works, raising above the hard one does not", () => {
  const RLIMIT_NOFILE = 7;
  const before = linux.getLimit(RLIMIT_NOFILE);
  linux.setLimit(RLIMIT_NOFILE, { soft: before.soft - 1, hard: before.hard });
  expect(linux.getLimit(RLIMIT_NOFILE)).toEqual({ soft: before.soft - 1, hard: before.hard });
  linux.setLimit(RLIMIT_NOFILE, before);
  const RLIMIT_CPU = 0;
  expect(linux.getLimit(RLIMIT_CPU)).toEqual({ soft: Infinity, hard: Infinity });
  expect(() => linux.setLimit(RLIMIT_NOFILE, { soft: 2, hard: 1 })).toThrow("EINVAL");
});

test("inotify tells of growth and of files that appear by rename, with names as bytes", () => {
  using tmp = tempDir("sys-inotify");
  writeFileSync(`${tmp.path}/log`, "");
  const fd = linux.inotify();
  const log = linux.watch(fd, `${tmp.path}/log`, k.IN_MODIFY);
  const dir = linux.watch(fd, tmp.path, k.IN_MOVED_TO | k.IN_CREATE);
  expect(linux.readEvents(fd)).toEqual([]);
  appendFileSync(`${tmp.path}/log`, "line\n");
  writeFileSync(`${tmp.path}/exit.tmp`, "0");
  renameSync(`${tmp.path}/exit.tmp`, `${tmp.path}/exit`);
  expect(linux.poll([{ fd, events: k.POLLIN }], 1000)).toEqual([k.POLLIN]);
  const seen = linux
    .readEvents(fd)
    .map(({ watch, mask, name }) => [watch, mask, Buffer.from(name).toString()]);
  expect(seen).toEqual([
    [log, k.IN_MODIFY, ""],
    [dir, k.IN_CREATE, "exit.tmp"],
    [dir, k.IN_MOVED_TO, "exit"],
  ]);
  linux.close(fd);
});

test("umask gives back the one before", () => {
  const before = linux.umask(0o077);
  expect(linux.umask(before)).toBe(0o077);
});

test("startTime: a zombie has none", async () => {
  const parent = Bun.spawn(["sh", "-c", "sleep 0 & echo $!; exec sleep 5"], { stdout: "pipe" });
  try {
    const { value } = await parent.stdout.getReader().read();
    const pid = Number(Buffer.from(value as Uint8Array).toString());
    for (let i = 0; i < 100 && linux.startTime(pid) !== undefined; i++) await Bun.sleep(10);
    expect(await Bun.file(`/proc/${pid}/stat`).text()).toContain(") Z ");
    expect(linux.startTime(pid)).toBeUndefined();
  } finally {
    parent.kill();
  }
});
