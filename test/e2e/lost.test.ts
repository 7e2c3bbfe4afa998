/**
 * What is killed under a container's feet: its monitor, its runtime, the command that follows it; and run directories of another boot,
 * or of none. Afterwards the name, the address and the port are free again and nothing is left.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { existsSync, readFileSync, rmSync, readdirSync, writeFileSync } from "node:fs";
import { Box } from "./box.ts";
import type { Census } from "./census.ts";
import { footprint, leftovers } from "./footprint.ts";

const IMAGE = "localhost/busybox";
const PORT = "127.0.0.1:28432:80";
/** Everything that can collide: name, address, port. */
const FIXED = ["--name", "v", "-p", PORT, "--ip", "10.87.0.77"];
let box: Box;
let clean: Census;
let fixed: string[];

beforeAll(async () => {
  box = new Box("lost");
  box.importBusybox();
  box.ok(["run", "--rm", "-p", PORT, IMAGE, "true"]);
  fixed = [...FIXED.slice(0, -1), addressIn(box)];
  await until("the end of all monitors", () => leftoverProcesses() === 0);
  clean = footprint(box);
});
afterAll(() => box.close());
afterEach(async () => {
  box.ok(["rm", "-f", "-t", "0", "-a"]);
  expect(await leftovers(box, clean)).toEqual([]);
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
});

/** The store's subnet depends on the machine. */
function addressIn(of: Box): string {
  of.ok(["run", "-d", "--name", "probe", IMAGE, "sleep", "100"]);
  const address = inspect("probe", "{{.NetworkSettings.IPAddress}}");
  of.ok(["rm", "-f", "probe"]);
  return address.replace(/\.\d+$/, ".77");
}

function inspect(name: string, format: string): string {
  return box.ok(["inspect", "--format", format, name]);
}

function pidOf(name: string): number {
  return Number(inspect(name, "{{.State.Pid}}"));
}

function monitorOf(name: string): number {
  return Number(readFileSync(inspect(name, "{{.ConmonPidFile}}"), "utf8"));
}

/** Zombies wait for the machine's init. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(what: string, holds: () => boolean, ms = 5000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await Bun.sleep(20);
  }
}

async function killed(pid: number): Promise<void> {
  process.kill(pid, "SIGKILL");
  await until(`the end of ${pid}`, () => !isAlive(pid));
}

function status(name: string): string {
  return box.ok(["ps", "-a", "--filter", `name=^${name}$`, "--format", "{{.State}}"]);
}

/** The same name, address and port at once, by the very next command. */
function takesTheSame(): void {
  box.ok(["run", "--rm", ...fixed, IMAGE, "true"]);
}

test("a container whose monitor is killed has ended with 255, and its processes are gone", async () => {
  box.ok(["run", "-d", ...fixed, IMAGE, "sh", "-c", "sleep 1000 & sleep 1000"]);
  const pid = pidOf("v");
  await killed(monitorOf("v"));
  expect(box.ok(["ps", "-a", "--format", "{{.Names}} {{.Status}}"])).toMatch(/^v Exited \(255\)/);
  expect(inspect("v", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}")).toBe(
    "exited 255 its monitor is gone",
  );
  await until("the end of its processes", () => !isAlive(pid));
  // Its address and port are free while it is still there.
  box.ok(["run", "--rm", "-p", PORT, "--ip", fixed.at(-1) as string, IMAGE, "true"]);
  box.ok(["start", "v"]);
  expect(status("v")).toBe("running");
  box.ok(["rm", "-f", "v"]);
  takesTheSame();
});

test("a lost container with --rm gives way to the next of its name, address and port", async () => {
  box.ok(["run", "-d", "--rm", ...fixed, IMAGE, "sleep", "1000"]);
  const pid = pidOf("v");
  await killed(monitorOf("v"));
  takesTheSame();
  expect(isAlive(pid)).toBe(false);
});

for (const args of [
  ["stop", "-t", "1"],
  ["rm", "-f"],
  ["start"],
  ["kill"],
  ["wait"],
  ["exec", "v", "true"],
]) {
  test(`${args[0]} of a container whose monitor is gone`, async () => {
    box.ok(["run", "-d", ...fixed, IMAGE, "sleep", "1000"]);
    const pid = pidOf("v");
    await killed(monitorOf("v"));
    const words = args.includes("v") ? args : [...args, "v"];
    const started = performance.now();
    const outcome = box.berth(words);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(outcome.stderr).not.toMatch(/TypeError|\bat \S+ \(/);
    await until("the end of its first life", () => !isAlive(pid));
    if (args[0] === "start") expect(status("v")).toBe("running");
    else if (args[0] !== "rm") expect(status("v")).toBe("exited");
    if (args[0] === "wait") expect(outcome.stdout).toBe("255\n");
  });
}

test("a foreground run whose monitor is killed ends with 255", async () => {
  const child = box.spawn(["run", ...fixed, IMAGE, "sleep", "1000"]);
  await until("the container", () => status("v") === "running");
  const pid = pidOf("v");
  await killed(monitorOf("v"));
  expect(await child.exited).toBe(255);
  expect(isAlive(pid)).toBe(false);
  expect(status("v")).toBe("exited");
});

test("a foreground run that is killed leaves its container running; its monitor cleans up", async () => {
  for (const rm of [[], ["--rm"]]) {
    const child = box.spawn([
      "run",
      ...rm,
      ...fixed,
      IMAGE,
      "sh",
      "-c",
      "while [ ! -e /go ]; do sleep 0.05; done; exit 3",
    ]);
    await until("the container", () => status("v") === "running");
    child.kill("SIGKILL");
    await child.exited;
    expect(status("v")).toBe("running");
    box.ok(["exec", "v", "touch", "/go"]);
    if (rm.length > 0) await until("its removal", () => status("v") === "");
    else {
      await until("its end", () => status("v") === "exited");
      expect(inspect("v", "{{.State.ExitCode}}")).toBe("3");
      await until("its cleanup", () => leftoverProcesses() === 0);
      box.ok(["rm", "v"]);
    }
    takesTheSame();
  }
});

function leftoverProcesses(): number {
  return (footprint(box)["processes"] ?? []).length;
}

test("Ctrl-C in the foreground reaches the container", async () => {
  const child = box.spawn([
    "run",
    "--rm",
    ...fixed,
    IMAGE,
    "sh",
    "-c",
    "trap 'exit 42' INT; echo up; while :; do sleep 0.05; done",
  ]);
  const reader = child.stdout.getReader();
  await reader.read();
  child.kill("SIGINT");
  expect(await child.exited).toBe(42);
  expect(status("v")).toBe("");
  takesTheSame();
});

test("a runtime that is killed while it creates the container", async () => {
  const wrapper = `${box.dir}/crun`;
  const runtime = Bun.which("crun") ?? Bun.which("runc") ?? "";
  writeFileSync(
    wrapper,
    `#!/bin/sh
for a; do
  if [ "$a" = create ] && [ -e ${box.dir}/die ]; then
    ${runtime} "$@" & sleep 0.0$(cat ${box.dir}/die); kill -9 $! 2>/dev/null; kill -9 $$
  fi
done
exec ${runtime} "$@"
`,
    { mode: 0o755 },
  );
  for (let round = 0; round < 10; round++) {
    writeFileSync(`${box.dir}/die`, String(10 + round * 3));
    const outcome = box.berth(["--runtime", wrapper, "run", "--rm", ...fixed, IMAGE, "true"], {
      timeout: 20_000,
    });
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toMatch(/^Error: /);
    expect(status("v")).toBe("");
    rmSync(`${box.dir}/die`);
    takesTheSame();
  }
});

test("an exit command that is killed: the next command does its work", async () => {
  box.ok(["run", "-d", "--rm", ...fixed, IMAGE, "sleep", "1000"]);
  const pid = pidOf("v");
  const monitor = monitorOf("v");
  // The lock keeps the exit command waiting until it is killed, and its monitor with it.
  process.kill(monitor, "SIGSTOP");
  process.kill(pid, "SIGKILL");
  await until("the end of it", () => !isAlive(pid));
  process.kill(monitor, "SIGKILL");
  takesTheSame();
});

/** As after a reboot of a machine that keeps /run. */
function pretendAnotherBoot(): void {
  const other = "00000000-0000-4000-8000-000000000000";
  writeFileSync(`${box.run}/boot`, other);
  using db = new Database(`${box.root}/berth.db`);
  db.run("PRAGMA busy_timeout = 10000");
  db.run(
    "UPDATE containers SET state = json_set(state, '$.bootId', ?) WHERE json_extract(state, '$.bootId') IS NOT NULL",
    [other],
  );
}

test("a run directory of another boot", async () => {
  box.ok(["run", "-d", ...fixed, IMAGE, "sleep", "1000"]);
  box.ok(["run", "-d", "--rm", "--name", "w", IMAGE, "sleep", "1000"]);
  pretendAnotherBoot();
  expect(box.ok(["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}"])).toMatch(
    /^v exited Exited \(255\)[^\n]*$/,
  );
  expect(inspect("v", "{{.State.Error}}")).toBe("the host was restarted");
  // Nothing of it is trusted, and nothing is left of it.
  await until("the end of all processes", () => leftoverProcesses() === 0);
  box.ok(["start", "v"]);
  expect(status("v")).toBe("running");
  box.ok(["rm", "-f", "v"]);
  takesTheSame();
});

test("a stale pid and a stale lock of another boot harm nobody", async () => {
  box.ok(["run", "-d", ...fixed, IMAGE, "sleep", "1000"]);
  const bystander = Bun.spawn(["sleep", "1000"]);
  await killed(monitorOf("v"));
  box.ok(["stop", "-t", "0", "v"]);
  using db = new Database(`${box.root}/berth.db`);
  db.run("PRAGMA busy_timeout = 10000");
  db.run(
    "UPDATE containers SET status = 'running', state = json_set(state, '$.status', 'running', '$.pid', ?, '$.pidStart', 1, '$.monitorPid', ?, '$.monitorStart', 1, '$.bootId', ?) WHERE name = 'v'",
    [bystander.pid, bystander.pid, readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()],
  );
  writeFileSync(`${box.run}/locks/container-${inspect("v", "{{.Id}}")}`, "");
  expect(status("v")).toBe("exited");
  box.ok(["rm", "-f", "v"]);
  expect(isAlive(bystander.pid)).toBe(true);
  bystander.kill();
  await bystander.exited;
  takesTheSame();
});

test("a run directory that was emptied under running containers", async () => {
  box.ok(["run", "-d", ...fixed, IMAGE, "sleep", "1000"]);
  const pid = pidOf("v");
  for (const name of readdirSync(box.run)) {
    if (name !== "netns") rmSync(`${box.run}/${name}`, { recursive: true, force: true });
  }
  for (const pin of readdirSync(`${box.run}/netns`)) {
    Bun.spawnSync(["umount", "-l", `${box.run}/netns/${pin}`]);
  }
  rmSync(`${box.run}/netns`, { recursive: true });
  box.ok(["ps", "-a"]);
  box.ok(["stop", "-t", "0", "v"]);
  expect(isAlive(pid)).toBe(false);
  expect(status("v")).toBe("exited");
  box.ok(["start", "v"]);
  box.ok(["rm", "-f", "v"]);
  takesTheSame();
  expect(existsSync(`${box.run}/boot`)).toBe(true);
});

test("an emptied run directory, and the container removed by force", async () => {
  box.ok(["run", "-d", ...fixed, IMAGE, "sleep", "1000"]);
  const pid = pidOf("v");
  const bundle = inspect("v", "{{.ConmonPidFile}}").replace(/\/monitor.pid$/, "");
  rmSync(bundle, { recursive: true });
  rmSync(`${box.run}/runtimes`, { recursive: true });
  box.ok(["rm", "-f", "v"]);
  expect(isAlive(pid)).toBe(false);
  takesTheSame();
});

test("a clean store needs no recovery, and finding that out costs next to nothing", async () => {
  const { createCtx } = await import("../../src/core/ctx.ts");
  const { openEngine } = await import("../../src/engine/open.ts");
  const { needsRecovery } = await import("../../src/engine/needs-recovery.ts");
  using engine = openEngine(createCtx(), { root: box.root, run: box.run, globalArgv: [], programArgv: [] });
  expect(needsRecovery(engine)).toBe(false);
  const rounds = 1000;
  const started = performance.now();
  for (let i = 0; i < rounds; i++) needsRecovery(engine);
  const each = (performance.now() - started) / rounds;
  console.warn(`needsRecovery on a clean store: ${(each * 1000).toFixed(0)} µs`);
  expect(each).toBeLessThan(0.5);
});

test("an exit file that its monitor could not finish goes with the container", () => {
  const id = box.up("v");
  // conmon writes it beside and renames it; killed in between, this is what stays.
  writeFileSync(`${box.run}/exits/${id}.4H8HZ3`, "137");
  box.ok(["rm", "-f", "-t", "0", "v"]);
});
