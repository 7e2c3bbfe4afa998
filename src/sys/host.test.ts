import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import os from "node:os";
import * as host from "./host.ts";
import { linux } from "./linux.ts";

test("facts agree with what others say", () => {
  expect(host.bootId()).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect(host.kernelVersion()).toBe(os.release());
  expect(host.hostname()).toBe(os.hostname());
  expect(Math.abs(host.uptimeSeconds() - os.uptime())).toBeLessThan(2);
  expect(host.memory().total).toBe(os.totalmem());
  expect(host.memory().available).toBeLessThanOrEqual(host.memory().total);
  expect(host.cpus()).toBe(os.cpus().length);
  expect(host.pidMax()).toBeGreaterThanOrEqual(301);
  expect(host.osRelease().get("PRETTY_NAME")).not.toContain('"');
});

test("cpu lists", () => {
  expect(host.parseCpuList("0-2,5,7-7")).toEqual([0, 1, 2, 5, 7]);
  expect(host.parseCpuList("")).toEqual([]);
});

describe("processes", () => {
  test("facts of a child, and of none", async () => {
    const child = Bun.spawn(["sleep", "60", "a b ", ""].slice(0, 2), { argv0: " odd name " });
    const facts = host.processFacts(child.pid);
    expect(facts).toMatchObject({
      pid: child.pid,
      parent: process.pid,
      name: "sleep",
      uid: 0,
      threads: 1,
      argv: [" odd name ", "60"],
      startTime: linux.startTime(child.pid) as number,
    });
    expect(facts?.namespacePids.at(0)).toBe(child.pid);
    expect(host.children(process.pid)).toContain(child.pid);
    child.kill(9);
    await child.exited;
    expect(host.processFacts(child.pid)).toBeUndefined();
    expect(host.children(child.pid)).toEqual([]);
  });
});

test("limits are those in /proc", () => {
  const line = /Max open files\s+(\d+)\s+(\d+)/.exec(readFileSync("/proc/self/limits", "utf8"));
  expect(host.limits(linux).nofile).toEqual({ soft: Number(line?.[1]), hard: Number(line?.[2]) });
});

test("capabilities by name", () => {
  expect(host.capabilityNames.length).toBe(41);
  expect(host.capabilityNames[21]).toBe("CAP_SYS_ADMIN");
  expect(host.capabilityNames[40]).toBe("CAP_CHECKPOINT_RESTORE");
  const last = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  expect(last).toBeGreaterThanOrEqual(37);
  const bits = BigInt(`0x${/CapEff:\s*(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`);
  const { effective } = host.capabilities();
  expect(effective.includes("CAP_CHOWN")).toBe((bits & 1n) === 1n);
  expect(effective.includes("CAP_SYS_RESOURCE")).toBe(((bits >> 24n) & 1n) === 1n);
});

test("security features are booleans that the kernel backs", () => {
  expect(host.securityFeatures().seccomp).toBe(/Seccomp:/.test(readFileSync("/proc/self/status", "utf8")));
});

test("processStart says what the system-call layer says", () => {
  expect(host.processStart(process.pid)).toBe(linux.startTime(process.pid) as number);
  expect(host.processStart(2 ** 22 + 1)).toBeUndefined();
});
