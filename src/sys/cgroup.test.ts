import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tempDir } from "../../test/fake/temp-dir.ts";
import {
  cgroupDirectories,
  cgroupDirectory,
  type CgroupHost,
  cgroupMode,
  cgroupProcesses,
  cgroupsOf,
  freezeState,
  killCgroup,
  parseProcCgroup,
  removeCgroup,
  setFrozen,
} from "./cgroup.ts";
import { cgroupStats } from "./cgroup-stats.ts";
import { parseMountinfo } from "./mountinfo.ts";
import { kindOf } from "../core/error.ts";

function layout(...lines: string[]): CgroupHost {
  return cgroupMode(parseMountinfo(Buffer.from(lines.map((line, i) => `${i} 1 0:${i} ${line}\n`).join(""))));
}

describe("layouts", () => {
  test("v1, with co-mounted controllers and named hierarchies", () => {
    const host = layout(
      "/ /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct",
      "/ /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd",
      "/ /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    );
    expect(host).toMatchObject({ mode: "v1", controllers: ["cpu", "cpuacct", "memory"] });
    expect(cgroupDirectory(host, "cpuacct", "/a/b/")).toBe("/sys/fs/cgroup/cpu,cpuacct/a/b");
    expect(cgroupDirectory(host, "pids", "/a")).toBeUndefined();
    expect(cgroupDirectories(host, "a")).toEqual([
      "/sys/fs/cgroup/cpu,cpuacct/a",
      "/sys/fs/cgroup/systemd/a",
      "/sys/fs/cgroup/memory/a",
    ]);
  });

  test("hybrid, unified, none", () => {
    const v2 = "/ /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate";
    expect(layout(v2, "/ /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids").mode).toBe("hybrid");
    expect(layout(v2, "/ /s rw - cgroup cgroup rw,name=systemd")).toMatchObject({ mode: "unified" });
    expect(layout("/ /tmp rw - tmpfs x rw")).toMatchObject({ mode: "none", controllers: [] });
  });

  test("inside a container without a cgroup namespace the mount shows only a part", () => {
    const host = layout("/docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids");
    expect(cgroupDirectory(host, "pids", "/docker/abc/x")).toBe("/sys/fs/cgroup/pids/x");
    expect(cgroupDirectory(host, "pids", "/docker/abcd")).toBe("/sys/fs/cgroup/pids/docker/abcd");
  });

  test("a path that climbs is refused", () => {
    const host = layout("/ /c rw - cgroup2 c rw");
    expect(() => cgroupDirectory(host, "pids", "/a/../../etc")).toThrow("invalid cgroup path");
  });
});

test("/proc/PID/cgroup of all kinds, with colons in the path", () => {
  const found = parseProcCgroup("5:cpu,cpuacct:/a\n1:name=systemd:/user:1\n0::/v2\n");
  expect([...found]).toEqual([
    ["cpu", "/a"],
    ["cpuacct", "/a"],
    ["name=systemd", "/user:1"],
    ["", "/v2"],
  ]);
  expect(cgroupsOf(2 ** 22 + 1).size).toBe(0);
  expect(cgroupsOf("self").size).toBeGreaterThan(0);
});

describe("numbers", () => {
  function files(entries: Record<string, string>): [CgroupHost, CgroupHost, Disposable] {
    const tmp = tempDir("sys-cgroup");
    for (const [name, content] of Object.entries(entries)) {
      mkdirSync(`${tmp.path}/c`, { recursive: true });
      writeFileSync(`${tmp.path}/c/${name}`, content);
    }
    const place = { mountPoint: tmp.path, root: "/" };
    const names = ["memory", "cpu", "cpuacct", "pids", "blkio"];
    const v1: CgroupHost = {
      mode: "v1",
      controllers: names,
      v1: new Map(names.map((name) => [name, place])),
    };
    return [v1, { mode: "unified", controllers: [], v1: new Map(), v2: place }, tmp];
  }

  test("of v1 files", () => {
    const [host, , tmp] = files({
      "cgroup.procs": "",
      "memory.usage_in_bytes": "8192\n",
      "memory.limit_in_bytes": "9223372036854771712\n",
      "memory.stat": "cache 1\ntotal_inactive_file 4096\ntotal_rss 100\ntotal_swap 7\n",
      "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
      "cpuacct.usage": "123456789\n",
      "cpuacct.stat": "user 3\nsystem 4\n",
      "cpu.stat": "nr_periods 5\nnr_throttled 6\nthrottled_time 7\n",
      "pids.current": "3\n",
      "pids.max": "max\n",
      "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n9:0 Read 1\nTotal 31\n",
      "blkio.throttle.io_serviced_recursive": "8:0 Read 2\n8:0 Write 3\nTotal 5\n",
    });
    using _ = tmp;
    expect(cgroupStats(host, "/c")).toEqual({
      memory: { usage: 8192, limit: Infinity, cache: 4096, rss: 100, swap: 7, oomKills: 2 },
      cpu: {
        usageNs: 123456789,
        userNs: 3e7,
        systemNs: 4e7,
        periods: 5,
        throttledPeriods: 6,
        throttledNs: 7,
      },
      pids: { current: 3, limit: Infinity },
      io: { readBytes: 11, writeBytes: 20, reads: 2, writes: 3 },
    });
    expect(cgroupStats(host, "/absent")).toBeUndefined();
  });

  test("of v2 files", () => {
    const [, host, tmp] = files({
      "cgroup.procs": "",
      "memory.current": "8192\n",
      "memory.max": "1048576\n",
      "memory.stat": "anon 100\nfile 1\ninactive_file 4096\n",
      "memory.swap.current": "7\n",
      "memory.events": "oom 3\noom_kill 2\n",
      "cpu.stat":
        "usage_usec 10\nuser_usec 6\nsystem_usec 4\nnr_periods 5\nnr_throttled 6\nthrottled_usec 7\n",
      "pids.current": "3\n",
      "pids.max": "100\n",
      "io.stat":
        "8:0 rbytes=10 wbytes=20 rios=2 wios=3 dbytes=9 dios=9\n9:0 rbytes=1 wbytes=0 rios=0 wios=0\n",
    });
    using _ = tmp;
    expect(cgroupStats(host, "/c")).toEqual({
      memory: { usage: 8192, limit: 1048576, cache: 4096, rss: 100, swap: 7, oomKills: 2 },
      cpu: {
        usageNs: 10_000,
        userNs: 6000,
        systemNs: 4000,
        periods: 5,
        throttledPeriods: 6,
        throttledNs: 7000,
      },
      pids: { current: 3, limit: 100 },
      io: { readBytes: 11, writeBytes: 20, reads: 2, writes: 3 },
    });
  });
});

describe("on this host", () => {
  const host = cgroupMode();
  const top = `/berth-test-${randomBytes(4).toString("hex")}`;
  // The v2 hierarchy is left alone in hybrid mode, as runtimes do.
  const usable =
    host.mode === "unified" ? host : { mode: host.mode, controllers: host.controllers, v1: host.v1 };
  let skip = host.mode === "none" || process.getuid?.() !== 0;
  const children: Bun.Subprocess[] = [];

  function make(path: string): string[] {
    const dirs = cgroupDirectories(usable, path);
    for (const dir of dirs) mkdirSync(dir, { recursive: true });
    return dirs;
  }

  try {
    if (!skip) make(top);
  } catch {
    skip = true;
  }
  if (skip) console.warn("skip: cgroups cannot be made here");

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (freezeState(usable, `${top}/x`) !== undefined) setFrozen(usable, `${top}/x`, false);
      child.kill(9);
      await child.exited;
    }
    removeCgroup(usable, top);
    expect(cgroupDirectories(usable, top).filter((dir) => existsSync(dir))).toEqual([]);
  });

  function sleeperIn(path: string): Bun.Subprocess {
    const child = Bun.spawn(["sleep", "60"]);
    children.push(child);
    for (const dir of make(path)) {
      const cpuset = dir.includes("/cpuset/");
      if (!cpuset) writeFileSync(`${dir}/cgroup.procs`, String(child.pid));
    }
    return child;
  }

  test.skipIf(skip)(
    "processes are listed, frozen, counted and killed; their cgroup goes with its parents",
    async () => {
      const child = sleeperIn(`${top}/x/y`);
      expect(cgroupProcesses(usable, `${top}/x`)).toEqual([child.pid]);
      expect([...cgroupsOf(child.pid).values()]).toContain(`${top}/x/y`);
      expect(cgroupStats(usable, `${top}/x/y`)?.pids.current).toBe(1);
      expect(freezeState(usable, `${top}/x`)).toBe("thawed");
      setFrozen(usable, `${top}/x`, true);
      for (let i = 0; i < 100 && freezeState(usable, `${top}/x`) !== "frozen"; i++) Bun.sleepSync(1);
      expect(freezeState(usable, `${top}/x`)).toBe("frozen");
      setFrozen(usable, `${top}/x`, false);
      const gone = killCgroup(usable, `${top}/x`);
      await child.exited;
      expect(child.signalCode).toBe("SIGKILL");
      expect(gone || killCgroup(usable, `${top}/x`)).toBe(true);
      make(`${top}/other`);
      removeCgroup(usable, `${top}/x/y`, top);
      const left = cgroupDirectories(usable, top).flatMap((dir) =>
        readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory()),
      );
      expect(new Set(left.map((entry) => entry.name))).toEqual(new Set(["other"]));
      removeCgroup(usable, `${top}/other/x`);
      expect(cgroupDirectories(usable, top).some((dir) => existsSync(dir))).toBe(false);
      removeCgroup(usable, `${top}/x/y`);
    },
  );

  test.skipIf(skip)("a cgroup with a process in it is in use", () => {
    sleeperIn(`${top}/x`);
    let kind = "";
    try {
      removeCgroup(usable, `${top}/x`);
    } catch (error) {
      kind = kindOf(error);
    }
    expect(kind).toBe("in-use");
  });
});
