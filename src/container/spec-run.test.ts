/** Built specifications on real runtimes: what a process finds itself with, and what the filter does to it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { aHost, anInput } from "../../test/golden/spec/fixture.ts";
import { type Probe, probeProgram, probeResults } from "../../test/golden/spec/probe-elf.ts";
import {
  busyboxRoot,
  cannotRun,
  type OciOutcome,
  ownBoundingMask,
  runOci,
} from "../../test/golden/spec/run-oci.ts";
import { boundingSet, capabilitiesFromMask } from "./capabilities.ts";
import type { ContainerSpec } from "./container.ts";
import { compileSeccomp, parseTable } from "./seccomp-bpf.ts";
import { seccompFor } from "./seccomp.ts";
import { I386, X86_64 } from "./seccomp/syscall-tables.ts";
import type { SeccompChoice, SpecInput } from "./spec-input.ts";
import { buildSpec } from "./spec.ts";

type Runtime = "crun" | "runc";
type Filter = "bpf" | "profile" | "none";

const RUNTIMES: Runtime[] = ["crun", "runc"];
const missing = RUNTIMES.map((runtime) => cannotRun(runtime)).find((why) => why !== undefined);
if (missing !== undefined) console.warn(`skip: specifications on real runtimes: ${missing}`);

let dir = "";
let count = 0;

beforeAll(() => {
  if (missing !== undefined) return;
  dir = mkdtempSync("/tmp/berth-spec-");
  busyboxRoot(`${dir}/rootfs`);
});

afterAll(() => {
  if (dir !== "") rmSync(dir, { recursive: true, force: true });
});

interface Case {
  runtime: Runtime;
  filter: Filter;
  spec: Partial<ContainerSpec>;
  input?: Partial<SpecInput>;
}

function run({ runtime, filter, spec, input }: Case): OciOutcome {
  const host = aHost({ capabilities: capabilitiesFromMask(ownBoundingMask()) });
  const { netnsPath: _, ...base } = anInput(spec, { host, files: {}, runtime: { name: runtime } });
  const capabilities = boundingSet({
    add: base.spec.capAdd,
    drop: base.spec.capDrop,
    privileged: base.spec.privileged,
    available: host.capabilities,
  });
  const chosen = choice(filter, capabilities);
  const built = buildSpec({
    ...base,
    ...(chosen === undefined ? {} : { seccomp: chosen }),
    ...(base.spec.init ? { initPath: "/usr/bin/catatonit" } : {}),
    cgroupsPath: `/berth-spec-${process.pid}/${count++}`,
    ...input,
  });
  return runOci({ runtime, spec: built.spec, bundle: dir });
}

function choice(filter: Filter, capabilities: string[]): SeccompChoice | undefined {
  if (filter === "none") return undefined;
  const profile = seccompFor(capabilities, "x64");
  if (filter === "profile") return { kind: "profile", profile };
  return { kind: "bpf", base64: Buffer.from(compileSeccomp(profile, "x64")).toString("base64") };
}

function shell(runtime: Runtime, script: string, spec: Partial<ContainerSpec> = {}): string {
  const filter = runtime === "crun" ? "bpf" : "profile";
  const outcome = run({ runtime, filter, spec: { command: ["sh", "-c", script], ...spec } });
  if (outcome.code !== 0) throw new Error(`${runtime}: exit ${outcome.code}: ${outcome.stderr}`);
  return outcome.stdout.toString();
}

for (const runtime of RUNTIMES) {
  describe.skipIf(missing !== undefined)(runtime, () => {
    test("the default: Podman's capabilities, a filter, masks, a read-only /sys and cgroup tree", () => {
      const text = shell(
        runtime,
        `grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status; hostname; cat /proc/sys/net/ipv4/ping_group_range
         head -c1 /proc/kcore | wc -c; touch /sys/x 2>&1; mkdir /sys/fs/cgroup/pids/x 2>&1 || mkdir /sys/fs/cgroup/x 2>&1; echo 1 2>&1 >/proc/sys/kernel/pid_max
         ls /proc/self/fd; id; umask; pwd`,
      );
      expect(text).toContain("CapInh:\t0000000000000000");
      expect(text).toContain("CapEff:\t00000000800405fb");
      expect(text).toContain("CapBnd:\t00000000800405fb");
      expect(text).toContain("CapAmb:\t0000000000000000");
      expect(text).toContain("Seccomp:\t2");
      expect(text).toContain("0123456789ab\n0\t2147483647\n0\n");
      expect(text.match(/Read-only file system/g)?.length).toBeGreaterThanOrEqual(3);
      expect(text).toContain("uid=0 gid=0 groups=0\n0022\n/\n");
    });

    test("an unprivileged user has no capability, but for those added by name", () => {
      const user = { uid: 1000, gid: 1000, additionalGids: [7, 1000], home: "/", name: "" };
      const script = ["sh", "-c", "grep -E '^(Cap|Uid|Gid|Groups)' /proc/self/status"];
      const plain = run({
        runtime,
        filter: "none",
        spec: { command: script },
        input: { user },
      }).stdout.toString();
      expect(plain).toContain("Uid:\t1000\t1000\t1000\t1000");
      expect(plain).toContain("Groups:\t7 1000");
      for (const set of ["Inh", "Prm", "Eff", "Amb"]) expect(plain).toContain(`Cap${set}:\t0000000000000000`);
      expect(plain).toContain("CapBnd:\t00000000800405fb");
      const added = run({
        runtime,
        filter: "none",
        spec: { command: script, capAdd: ["net_raw"] },
        input: { user },
      });
      expect(added.stdout.toString()).toContain("CapEff:\t0000000000002000");
    });

    test("privileged: every capability we have, no filter, no masks, /sys writable", () => {
      const outcome = run({
        runtime,
        filter: "none",
        spec: {
          privileged: true,
          command: ["sh", "-c", "grep -E '^(CapEff|Seccomp:)' /proc/self/status; cat /proc/mounts"],
        },
      });
      const text = outcome.stdout.toString();
      expect(text).toContain(`CapEff:\t${ownBoundingMask()}`);
      expect(text).toContain("Seccomp:\t0");
      expect(text).toMatch(/ \/sys sysfs rw/);
      expect(text).not.toContain("/proc/kcore");
    });

    test("a read-only root and tmpfs that are filled from it", () => {
      const text = shell(
        runtime,
        "touch /x 2>&1; touch /run/a /tmp/a /var/tmp/a /scratch/a && echo written; cat /proc/mounts",
        {
          readOnly: true,
          tmpfs: {
            "/scratch": "size=64k,exec",
            "/run": "exec,mode=1777,tmpcopyup",
            "/tmp": "exec,mode=1777,tmpcopyup",
            "/var/tmp": "exec,mode=1777,tmpcopyup",
          },
        },
      );
      expect(text).toContain("Read-only file system");
      expect(text).toContain("written");
      expect(text).toMatch(/tmpfs \/scratch tmpfs rw,nosuid,nodev,relatime,size=64k/);
    });

    test("limits, sysctls, names, environment and --init", () => {
      const text = shell(
        runtime,
        "ulimit -n; cat /proc/sys/kernel/msgmax /proc/sys/kernel/domainname; env | sort; cat /proc/1/comm; hostname; pwd",
        {
          ulimits: [{ name: "nofile", soft: 100, hard: 200 }],
          sysctls: { "kernel.msgmax": "4096" },
          hostname: "box",
          domainname: "quay.test",
          env: ["A=1", "EMPTY="],
          workdir: "/tmp",
          init: true,
        },
      );
      expect(text.startsWith("100\n4096\nquay.test\nA=1\nEMPTY=\nHOME=/root\nHOSTNAME=box\n")).toBe(true);
      expect(text).toContain("container=oci\n");
      expect(text.endsWith("init\nbox\n/tmp\n")).toBe(true);
    });

    test("memory, cpu and process limits reach the cgroup", () => {
      const text = shell(
        runtime,
        `for f in memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids/pids.max memory.max cpu.max pids.max; do
           cat /sys/fs/cgroup/$f 2>/dev/null; done; true`,
        {
          resources: { memory: 67108864, cpuQuota: 50000, cpuPeriod: 100000, pidsLimit: 77 },
          cgroupns: "private",
        },
      );
      expect(text).toMatch(/^67108864\n50000( 100000)?\n77\n$/);
    });

    test("binds and volumes, nested, read-only, over the engine's files and shared", () => {
      for (const name of ["data", "conf"]) mkdirSync(`${dir}/${name}`, { recursive: true });
      writeFileSync(`${dir}/conf/c`, "conf");
      writeFileSync(`${dir}/hosts`, "user's\n");
      const text = shell(
        runtime,
        `cat /data/sub/c /etc/hosts; touch /data/sub/x 2>&1; touch /data/y && echo written; cat /proc/self/mountinfo | grep ' /data '`,
        {
          mounts: [
            { type: "bind", source: `${dir}/conf`, target: "/data/sub", readOnly: true, options: [] },
            {
              type: "bind",
              source: `${dir}/data`,
              target: "/data",
              readOnly: false,
              options: ["rslave", "nosuid"],
            },
            { type: "bind", source: `${dir}/hosts`, target: "/etc/hosts", readOnly: true, options: [] },
          ],
        },
      );
      expect(text).toStartWith("confuser's\ntouch: /data/sub/x: Read-only file system\nwritten\n");
      expect(text).toMatch(/ \/data rw,nosuid/);
    });

    test("the host's namespaces, where asked for", () => {
      const own = (name: string) => readlinkSync(`/proc/self/ns/${name}`);
      const script = ["net", "pid", "ipc", "uts", "mnt", "cgroup"]
        .map((name) => `readlink /proc/self/ns/${name}`)
        .join(";");
      const shared = shell(runtime, script, {
        network: "host",
        pid: "host",
        ipc: "host",
        uts: "host",
        cgroupns: "host",
      });
      const [net, pid, ipc, uts, mnt, cgroup] = shared.split("\n");
      expect([net, pid, ipc, uts, cgroup]).toEqual(["net", "pid", "ipc", "uts", "cgroup"].map(own));
      expect(mnt).not.toBe(own("mnt"));
      const [net2, pid2, ipc2, uts2] = shell(runtime, script).split("\n");
      for (const [index, value] of [net2, pid2, ipc2, uts2].entries()) {
        expect(value).not.toBe(own(["net", "pid", "ipc", "uts"][index] ?? ""));
      }
    });

    test("devices are denied but for the default ones and those given", () => {
      const device = {
        path: "/dev/given",
        type: "c",
        major: 1,
        minor: 5,
        mode: 0o20666,
        uid: 0,
        gid: 0,
        access: "rw",
      } as const;
      const outcome = run({
        runtime,
        filter: "none",
        spec: {
          capAdd: ["mknod"],
          command: [
            "sh",
            "-c",
            "head -c3 /dev/given | wc -c; mknod /k c 1 2; head -c1 /k 2>&1; echo x >/dev/null; ls /dev",
          ],
        },
        input: { devices: [device] },
      });
      const text = outcome.stdout.toString() + outcome.stderr;
      rmSync(`${dir}/rootfs/k`, { force: true });
      expect(text).toContain("3\n");
      expect(text).toContain("Operation not permitted");
      expect(text).toContain("given\n");
    });
  });
}

/** Calls that end or stop the probing process, leave it without its output, or return a time that looks like an error. */
const SILENT =
  "exit exit_group fork vfork pause rt_sigsuspend sigsuspend rt_sigreturn sigreturn close_range waitpid idle uretprobe uprobe alarm times".split(
    " ",
  );

/** Newer than the libseccomp of the oldest supported distribution (2.5.4), which therefore cannot allow them. */
const NEWER =
  "cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount mseal setxattrat getxattrat " +
  "listxattrat removexattrat file_getattr file_setattr memfd_secret open_tree_attr";

describe.skipIf(missing !== undefined || process.arch !== "x64")("the filter in earnest", () => {
  const bad = [-1n, -1n, -1n, -1n, -1n, -1n];
  const every = (text: string, abi: Probe["abi"]): [string, Probe][] =>
    [...parseTable(text)]
      .filter(([name]) => !SILENT.includes(name))
      .map(([name, number]) => [name, { abi, number, args: bad }]);
  const socket = (family: bigint): [string, Probe] => [
    `socket(${family})`,
    { abi: "x86_64", number: 41, args: [family, 2n, 0n] },
  ];
  const clone = (flags: bigint): [string, Probe] => [
    `clone(${flags})`,
    { abi: "x86_64", number: 56, args: [flags] },
  ];
  const personality = (value: bigint): [string, Probe] => [
    `personality(${value})`,
    { abi: "x86_64", number: 135, args: [value] },
  ];
  const cases = [
    ...every(X86_64, "x86_64"),
    ...every(I386, "i386"),
    ...Array.from({ length: 48 }, (_, family) => socket(BigInt(family))),
    ...[38n, 40n].map((family) => socket(family + (1n << 32n))),
    ...[0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n, 0x40000000n].map(clone),
    ...[8n, 0x20000n, 0x20008n, 0x40000n, 0xffffffffn, 0n].map(personality),
  ];
  const program = probeProgram(cases.map(([, probe]) => probe));

  function probe(runtime: Runtime, filter: Filter): Map<string, string> {
    mkdirSync(`${dir}/rootfs/bin`, { recursive: true });
    writeFileSync(`${dir}/rootfs/bin/probe`, program, { mode: 0o755 });
    const outcome = run({ runtime, filter, spec: { command: ["/bin/probe"] } });
    const results = probeResults(outcome.stdout);
    expect({ code: outcome.code, results: results.length, stderr: outcome.stderr }).toEqual({
      code: 0,
      results: cases.length,
      stderr: "",
    });
    const word = (result: number) =>
      result === -1 ? "EPERM" : result === -38 ? "ENOSYS" : result === -97 ? "EAFNOSUPPORT" : "other";
    return new Map(cases.map(([name, { abi }], index) => [`${abi} ${name}`, word(results[index] ?? 0)]));
  }

  test("is the same as our BPF under crun, and compiled by crun and by runc", () => {
    const ours = probe("crun", "bpf");
    const newer = NEWER.split(" ").flatMap((name) => [`x86_64 ${name}`, `i386 ${name}`]);
    for (const runtime of RUNTIMES) {
      const theirs = probe(runtime, "profile");
      const differing = [...ours].filter(([name, word]) => theirs.get(name) !== word).map(([name]) => name);
      expect(differing.filter((name) => !newer.includes(name))).toEqual([]);
    }
  });

  test("answers the calls that matter as promised", () => {
    const ours = probe("crun", "bpf");
    const expected: Record<string, string> = {
      "x86_64 unshare": "EPERM",
      "x86_64 mount": "EPERM",
      "x86_64 setns": "EPERM",
      "x86_64 keyctl": "EPERM",
      "x86_64 bpf": "EPERM",
      "x86_64 io_uring_setup": "EPERM",
      "x86_64 clone3": "ENOSYS",
      "x86_64 socket(38)": "EAFNOSUPPORT",
      "x86_64 socket(40)": "EAFNOSUPPORT",
      "x86_64 socket(4294967334)": "EAFNOSUPPORT",
      "x86_64 socket(2)": "other",
      "x86_64 clone(268435456)": "EPERM",
      "i386 unshare": "EPERM",
      "i386 mount": "EPERM",
      "i386 clone3": "ENOSYS",
    };
    expect(Object.fromEntries(Object.keys(expected).map((name) => [name, ours.get(name)]))).toEqual(expected);
  });
});
