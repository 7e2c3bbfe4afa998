/** Limits: set in the cgroup files, and enforced. On crun and runc. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { Box } from "./box.ts";

const IMAGE = "localhost/busybox";

/** A limit as the host's cgroup file of a running container says it, on cgroup v1 or v2. */
function limitOf(pid: string, v1: [controller: string, file: string], v2: string): string {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
  const own = lines.map((line) => line.split(":") as [string, string, string]);
  const unified = `/sys/fs/cgroup${own.find(([id]) => id === "0")?.[2] ?? ""}/${v2}`;
  const path = own.find(([, controllers]) => controllers.split(",").includes(v1[0]))?.[2];
  const classic = `/sys/fs/cgroup/${v1[0]}${path ?? ""}/${v1[1]}`;
  return readFileSync(path !== undefined && existsSync(classic) ? classic : unified, "utf8").trim();
}

for (const runtime of ["crun", "runc"]) {
  describe(`on ${runtime}`, () => {
    let box: Box;
    const base = ["--runtime", runtime, "--network", "none"];
    beforeAll(() => {
      box = new Box(`resources-${runtime}`);
      box.importBusybox();
      box.ok(["run", "--rm", ...base, IMAGE, "true"]);
      box.mark();
    });
    afterEach(async () => {
      box.clear();
      expect(await box.leaks()).toEqual([]);
    });
    afterAll(() => box.close());

    test("memory, swap, processes, cpu time, weight and set stand in the cgroup", () => {
      box.up("l", "exec sleep 1000", [
        "--runtime",
        runtime,
        "--memory=64m",
        "--memory-reservation=32m",
        "--pids-limit=50",
        "--cpus=0.5",
        "--cpu-shares=512",
        "--cpuset-cpus=0",
      ]);
      const pid = box.ok(["inspect", "--format", "{{.State.Pid}}", "l"]);
      expect(limitOf(pid, ["memory", "memory.limit_in_bytes"], "memory.max")).toBe("67108864");
      expect(limitOf(pid, ["memory", "memory.soft_limit_in_bytes"], "memory.low")).toBe("33554432");
      expect(limitOf(pid, ["pids", "pids.max"], "pids.max")).toBe("50");
      expect(limitOf(pid, ["cpu", "cpu.cfs_quota_us"], "cpu.max")).toMatch(/^50000/);
      expect(limitOf(pid, ["cpuset", "cpuset.cpus"], "cpuset.cpus")).toBe("0");
      expect(
        box.ok([
          "inspect",
          "--format",
          "{{with .HostConfig}}{{.Memory}} {{.NanoCpus}} {{.PidsLimit}} {{.CpuShares}} {{.CpusetCpus}}{{end}}",
          "l",
        ]),
      ).toBe("67108864 500000000 50 512 0");
    });

    test("by default 2048 processes and no other limit", () => {
      box.up("l", "exec sleep 1000", ["--runtime", runtime]);
      const pid = box.ok(["inspect", "--format", "{{.State.Pid}}", "l"]);
      expect(limitOf(pid, ["pids", "pids.max"], "pids.max")).toBe("2048");
      expect(
        Number(limitOf(pid, ["memory", "memory.limit_in_bytes"], "memory.max")) || Infinity,
      ).toBeGreaterThan(1e15);
    });

    test("too much memory: killed with 137, and the record says why", () => {
      const outcome = box.berth([
        "run",
        "--name",
        "oom",
        ...base,
        "-m",
        "16m",
        IMAGE,
        "sh",
        "-c",
        // The shell grows its own memory: a child's death would not be the container's.
        "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done",
      ]);
      expect(outcome.code).toBe(137);
      expect(box.ok(["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "oom"])).toBe(
        "true 137",
      );
      box.ok(["run", "--name", "fine", ...base, "-m", "64m", IMAGE, "true"]);
      expect(box.ok(["inspect", "--format", "{{.State.OOMKilled}}", "fine"])).toBe("false");
    });

    test("too many processes: fork fails inside, the host is untouched", () => {
      const script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; wait";
      const outcome = box.berth(["run", "--rm", ...base, "--pids-limit", "5", IMAGE, "sh", "-c", script]);
      expect(outcome.stderr).toContain("can't fork");
    });

    test("a shared memory and a tmpfs that are full say so inside", () => {
      const outcome = box.berth([
        "run",
        "--rm",
        ...base,
        "--shm-size=1m",
        "--tmpfs=/t:size=1m",
        IMAGE,
        "sh",
        "-c",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=2 2>&1; dd if=/dev/zero of=/t/x bs=1M count=2 2>&1",
      ]);
      expect(outcome.stdout.match(/No space left on device/g)?.length).toBe(2);
    });

    test("a cpu quota slows: a tenth of a cpu takes longer than a whole one", () => {
      const work = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
      const seconds = (...flags: string[]): number => {
        box.ok([
          "run",
          "--name",
          "w",
          ...base,
          ...flags,
          IMAGE,
          "sh",
          "-c",
          `time -p sh -c '${work}' 2>&1; cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu.stat 2>/dev/null; true`,
        ]);
        const text = box.ok(["logs", "w"]);
        box.ok(["rm", "w"]);
        return Number(/nr_throttled (\d+)/.exec(text)?.[1] ?? -1);
      };
      expect(seconds("--cpus", "0.1")).toBeGreaterThan(0);
      expect(seconds()).toBeLessThanOrEqual(0);
    });

    test("limits that make no sense are refused before anything is made", () => {
      for (const [flag, says] of [
        ["--memory=1k", "memory"],
        ["--cpus=-1", "cpus"],
        ["--cpuset-cpus=77", "cpuset.cpus"],
        ["--memory-swap=1m", "memory"],
        ["--blkio-weight=5", "blkio"],
        ["--ulimit=nofile=9:1", "nofile"],
      ] as const) {
        const outcome = box.berth(["run", "--rm", ...base, flag, IMAGE, "true"]);
        expect([flag, outcome.code]).toEqual([flag, 125]);
        expect(outcome.stderr).toContain(says);
      }
      expect(box.ok(["ps", "-aq"])).toBe("");
    });
  });
}
