import { describe, expect, test } from "bun:test";
import { aRequest } from "../../test/golden/spec/fixture.ts";
import type { ContainerSpec } from "./container.ts";
import { parseDevice } from "./devices.ts";
import { kindOf } from "../core/error.ts";
import { validateSpec } from "./spec-validate.ts";

const port = { hostIp: "", hostPort: 8080, containerPort: 80, protocol: "tcp", range: 1 } as const;

test("a plain request passes without a warning", () => {
  expect(validateSpec(aRequest())).toEqual([]);
});

test("published ports that lead nowhere are a warning, not an error", () => {
  expect(validateSpec(aRequest({ network: "host", ports: [port] }))).toHaveLength(1);
  expect(validateSpec(aRequest({ network: "none", publishAll: true }))).toHaveLength(1);
});

describe("refused, naming the value", () => {
  const cases: [string, Partial<ContainerSpec>, string][] = [
    ["memory below the floor", { resources: { memory: 1024 } }, "memory limit 1024"],
    ["memory-swap below memory", { resources: { memory: 2 ** 28, memorySwap: 2 ** 27 } }, "memory-swap"],
    ["memory-swap alone", { resources: { memorySwap: 2 ** 27 } }, "memory-swap"],
    [
      "reservation above the limit",
      { resources: { memory: 2 ** 27, memoryReservation: 2 ** 28 } },
      "reservation",
    ],
    ["a fraction", { resources: { cpuQuota: 1000.5 } }, "cpuQuota 1000.5"],
    ["a short cpu period", { resources: { cpuPeriod: 10 } }, "cpu period 10"],
    ["a short cpu quota", { resources: { cpuQuota: 10 } }, "cpu quota 10"],
    ["shares out of range", { resources: { cpuShares: 1 } }, "cpu shares 1"],
    ["a bad cpu list", { resources: { cpusetCpus: "0-1\n" } }, "cpuset"],
    ["a weight out of range", { resources: { blkioWeight: 5 } }, "weight 5"],
    ["pids below -1", { resources: { pidsLimit: -2 } }, "pids limit -2"],
    ["an unknown ulimit", { ulimits: [{ name: "nope", soft: 1, hard: 1 }] }, '"nope"'],
    ["soft above hard", { ulimits: [{ name: "nofile", soft: 2, hard: 1 }] }, "above the hard limit"],
    ["unlimited above a limit", { ulimits: [{ name: "nofile", soft: -1, hard: 1 }] }, "above the hard limit"],
    ["an unknown capability", { capAdd: ["CAP_NOPE"] }, '"CAP_NOPE"'],
    ["a capability both ways", { capAdd: ["chown"], capDrop: ["CAP_CHOWN"] }, "both added and dropped"],
    ["an unknown security option", { securityOpt: ["nope=1"] }, '"nope=1"'],
    ["a bad boolean", { securityOpt: ["no-new-privileges=maybe"] }, "maybe"],
    ["a bad device", { devices: ["/dev/a:/dev/b:rwx"] }, "/dev/a:/dev/b:rwx"],
    [
      "a relative mount target",
      { mounts: [{ type: "volume", source: "v", target: "x", readOnly: false, options: [] }] },
      '"x"',
    ],
    [
      "a bad mount option",
      { mounts: [{ type: "volume", source: "v", target: "/x", readOnly: false, options: ["exe"] }] },
      '"exe"',
    ],
    ["a bad tmpfs option", { tmpfs: { "/x": "size=big" } }, "size=big"],
    ["a host name with a newline", { hostname: "a\n" }, "host name"],
    ["a long host name", { hostname: "a".repeat(65) }, "host name"],
    ["a relative working directory", { workdir: "x" }, '"x"'],
    ["a user with NUL", { user: "0\0" }, "user"],
    ["a stop signal that is none", { stopSignal: "TERM; rm" }, "TERM; rm"],
    ["an unnamed variable", { env: ["=x"] }, '"=x"'],
    ["a host entry that adds a line", { addHosts: ["a:1.2.3.4\n5.6.7.8 b"] }, "host entry"],
    ["a host entry without an address", { addHosts: ["a:b"] }, '"a:b"'],
    ["a DNS server that is a name", { dns: ["dns.example"] }, '"dns.example"'],
    ["a DNS option with a blank", { dnsOptions: ["a nameserver"] }, "a nameserver"],
    ["a cgroup parent upwards", { cgroupParent: "/a/../../b" }, "leads upwards"],
    ["a sysctl of the host", { sysctls: { "vm.swappiness": "1" } }, '"vm.swappiness"'],
    ["the host name as a sysctl", { sysctls: { "kernel.hostname": "x" } }, '"kernel.hostname"'],
    [
      "a sysctl of the host's network",
      { network: "host", sysctls: { "net.ipv4.ip_forward": "1" } },
      "host's network",
    ],
    ["a sysctl of the host's IPC", { ipc: "host", sysctls: { "kernel.sem": "1" } }, "host's ipc"],
    ["a sysctl that climbs", { sysctls: { "net.ipv4/../../kernel.core_pattern": "|/x" } }, "sysctl"],
    ["a sysctl value of two lines", { sysctls: { "kernel.sem": "1\n2" } }, "control byte"],
    ["a negative shm size", { shmSize: -1 }, "shm size -1"],
    ["an umask out of range", { umask: 0o1000 }, "umask"],
    ["an oom adjustment out of range", { oomScoreAdj: 1001 }, "1001"],
    ["an unknown pid mode", { pid: "nope" }, '"nope"'],
    ["a container mode without a name", { ipc: "container:" }, '"container:"'],
    [
      "--rm with --restart",
      { autoRemove: true, restart: { policy: "always", max: 0 } },
      "--rm cannot be used with --restart always",
    ],
    ["a count with always", { restart: { policy: "always", max: 3 } }, "restart count"],
    ["--tty with passthrough", { terminal: true, logDriver: "passthrough" }, "--tty"],
    ["--init with the host's pids", { init: true, pid: "host" }, "--init"],
    ["--hostname with the host's UTS", { uts: "host", hostname: "a" }, "--hostname"],
    ["--ip on the host's network", { network: "host", ip: "10.0.0.2" }, "--ip"],
    ["--publish on another's network", { network: "container:a", ports: [port] }, "--publish"],
    ["--dns on another's network", { network: "container:a", dns: ["1.1.1.1"] }, "--dns"],
  ];
  for (const [what, changes, text] of cases) {
    test(what, () => {
      let thrown: unknown;
      try {
        validateSpec(aRequest(changes));
      } catch (error) {
        thrown = error;
      }
      expect(kindOf(thrown)).toBe("invalid-argument");
      expect(String(thrown)).toContain(text);
    });
  }
});

test("accepts what people use", () => {
  const spec = aRequest({
    resources: { memory: 2 ** 28, memorySwap: -1, cpusetCpus: "0-2,4", pidsLimit: -1, cpuShares: 0 },
    securityOpt: [
      "no-new-privileges",
      "seccomp=unconfined",
      "apparmor=unconfined",
      "label=type:x",
      "systempaths=unconfined",
    ],
    ulimits: [{ name: "nofile", soft: 1024, hard: -1 }],
    sysctls: {
      "net.core.somaxconn": "1024",
      "net.ipv4.conf.eth0/1.forwarding": "1",
      "fs.mqueue.msg_max": "20",
    },
    addHosts: ["db:10.0.0.1", "v6:fd00::1", "host:host-gateway", "b:[fd00::2]", "c;d:10.0.0.3"],
    restart: { policy: "on-failure", max: 3 },
    capAdd: ["ALL"],
    capDrop: ["net_raw"],
    network: "my-net",
  });
  expect(validateSpec(spec)).toEqual([]);
});

test("devices as --device has them", () => {
  expect(parseDevice("/dev/a")).toEqual({ source: "/dev/a", target: "/dev/a", access: "rwm" });
  expect(parseDevice("/dev/a:/dev/b")).toEqual({ source: "/dev/a", target: "/dev/b", access: "rwm" });
  expect(parseDevice("/dev/a:r")).toEqual({ source: "/dev/a", target: "/dev/a", access: "r" });
  expect(parseDevice("/dev/a:/dev/b:mw")).toEqual({ source: "/dev/a", target: "/dev/b", access: "mw" });
  for (const bad of ["", ":", "/a:/b:/c:r", "/a:r:w", "/a:rr", "/a:", "dev/a"])
    expect(() => parseDevice(bad)).toThrow();
});
