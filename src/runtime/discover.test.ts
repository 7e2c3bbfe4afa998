import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { EngineError } from "../core/error.ts";
import { which } from "../sys/spawn.ts";
import { discoverRuntime, findMonitor, listRuntimes } from "./discover.ts";

const ctx = createCtx();
const made: string[] = [];

afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

function runDir(): string {
  const path = mkdtempSync("/tmp/berth-runtime-discover-");
  made.push(path);
  return path;
}

function failureOf(work: () => unknown): EngineError {
  try {
    work();
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** A program that stands in for a runtime and writes down how it was called. */
function fakeRuntime(name: string, script: string): { path: string; calls: () => string[] } {
  const directory = runDir();
  const path = `${directory}/${name}`;
  writeFileSync(path, `#!/bin/sh\necho "$*" >> ${directory}/calls\n${script}\n`);
  chmodSync(path, 0o755);
  const calls = (): string[] => {
    try {
      return readFileSync(`${directory}/calls`, "utf8").trim().split("\n");
    } catch {
      return [];
    }
  };
  return { path, calls };
}

describe("discoverRuntime", () => {
  test("an unknown name is not-found, with what to do", () => {
    const error = failureOf(() => discoverRuntime(ctx, { name: "nosuchruntime", runDir: runDir() }));
    expect([error.kind, error.message]).toEqual(["not-found", 'runtime "nosuchruntime" not found']);
    expect(error.hint).toContain("PATH");
    expect(failureOf(() => discoverRuntime(ctx, { name: "/nosuch/crun", runDir: runDir() })).kind).toBe(
      "not-found",
    );
  });

  test("flags of the configuration come before those of the command line", () => {
    const fake = fakeRuntime("myrt", "exit 0");
    const configured = { mine: { path: fake.path, flags: ["--debug"] } };
    const info = discoverRuntime(ctx, { name: "mine", runDir: runDir(), configured, flags: ["--x=1"] });
    expect(info).toMatchObject({
      name: "mine",
      path: fake.path,
      flags: ["--debug", "--x=1"],
      hybridWrapper: false,
    });
    expect(fake.calls()).toEqual([]);
  });

  test("the default is the first that runs a container; what is found is remembered and leaves nothing else", () => {
    const bad = fakeRuntime("crun", 'echo "no cgroups here" >&2; exit 1');
    const good = fakeRuntime("runc", "exit 0");
    const configured = { crun: { path: bad.path }, runc: { path: good.path } };
    const directory = runDir();
    expect(discoverRuntime(ctx, { name: "", runDir: directory, configured }).path).toBe(good.path);
    const calls = [bad.calls().length, good.calls().length];
    expect(discoverRuntime(ctx, { name: "", runDir: directory, configured }).path).toBe(good.path);
    expect([bad.calls().length, good.calls().length]).toEqual(calls);
    expect(readdirSync(`${directory}/runtimes`).filter((name) => name.startsWith("probe-"))).toEqual([]);
    // Another binary is another matter.
    writeFileSync(bad.path, "#!/bin/sh\nexit 0 # mended\n");
    expect(discoverRuntime(ctx, { name: "", runDir: directory, configured }).path).toBe(bad.path);
  });

  test("a damaged memory is no memory", () => {
    const good = fakeRuntime("crun", "exit 0");
    const directory = runDir();
    mkdirSync(`${directory}/runtimes`);
    writeFileSync(`${directory}/runtimes/probed.json`, '{"half');
    const configured = { crun: { path: good.path } };
    expect(discoverRuntime(ctx, { name: "", runDir: directory, configured }).path).toBe(good.path);
  });

  test("when none works the error says what each said", () => {
    const bad = (name: string): string => fakeRuntime(name, `echo "${name} is sick" >&2; exit 1`).path;
    const configured = { crun: { path: bad("crun") }, runc: { path: bad("runc") } };
    const error = failureOf(() => discoverRuntime(ctx, { name: "", runDir: runDir(), configured }));
    expect([error.kind, error.reason]).toEqual(["unavailable", "no-working-runtime"]);
    expect(error.message).toContain("crun is sick");
    expect(error.message).toContain("runc is sick");
  });
});

describe("findMonitor", () => {
  test("a missing one names its package", () => {
    const error = failureOf(() => findMonitor("/nosuch/conmon"));
    expect([error.kind, error.hint]).toEqual(["not-found", "install it: apt-get install conmon"]);
  });
});

const installed = process.getuid?.() === 0 && which("crun") !== undefined;
if (!installed) console.warn("skip: probing crun: needs root and crun");

test.skipIf(!installed)("crun is proven on this host, and listed with its version", () => {
  const directory = runDir();
  expect(discoverRuntime(ctx, { name: "", runDir: directory }).name).toBe("crun");
  const crun = listRuntimes(ctx, { runDir: directory }).find((info) => info.name === "crun");
  expect(crun?.version).toMatch(/^\d+\.\d+/);
});
