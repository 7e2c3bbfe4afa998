/** What a cgroup uses and may use, in the same units from v1 and v2 files. */
import { cgroupDirectory, type CgroupHost, readText } from "./cgroup.ts";

export interface CgroupStats {
  /** Bytes. `cache` is the page cache that can be given back at once (inactive file pages): docker's and podman's "usage" is usage − cache. */
  memory: { usage: number; limit: number; cache: number; rss: number; swap: number; oomKills: number };
  /** Nanoseconds, and counts of CFS periods. */
  cpu: {
    usageNs: number;
    userNs: number;
    systemNs: number;
    periods: number;
    throttledPeriods: number;
    throttledNs: number;
  };
  pids: { current: number; limit: number };
  /** Bytes and operations on block devices. */
  io: { readBytes: number; writeBytes: number; reads: number; writes: number };
}

/** "key value" lines. */
function table(content: string | undefined): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of (content ?? "").split("\n")) {
    const space = line.indexOf(" ");
    if (space > 0) found.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return found;
}

function count(content: string | undefined): number {
  return content === undefined || content === "" ? 0 : Number(content);
}

/** A limit: "max" and v1's largest page-aligned number mean none, which is Infinity. */
function limit(content: string | undefined): number {
  if (content === undefined || content === "max") return Infinity;
  const value = Number(content);
  return value >= 2 ** 63 - 2 ** 16 ? Infinity : value;
}

/** USER_HZ is 100 on both architectures: one tick is 10 ms. */
const TICK_NS = 1e7;

type Reader = (controller: string, file: string) => string | undefined;

function memoryV1(file: Reader): CgroupStats["memory"] {
  const stat = table(file("memory", "memory.stat"));
  return {
    usage: count(file("memory", "memory.usage_in_bytes")),
    limit: limit(file("memory", "memory.limit_in_bytes")),
    cache: stat.get("total_inactive_file") ?? 0,
    rss: stat.get("total_rss") ?? 0,
    swap: stat.get("total_swap") ?? 0,
    oomKills: table(file("memory", "memory.oom_control")).get("oom_kill") ?? 0,
  };
}

function cpuV1(file: Reader): CgroupStats["cpu"] {
  const ticks = table(file("cpuacct", "cpuacct.stat"));
  const stat = table(file("cpu", "cpu.stat"));
  return {
    usageNs: count(file("cpuacct", "cpuacct.usage")),
    userNs: (ticks.get("user") ?? 0) * TICK_NS,
    systemNs: (ticks.get("system") ?? 0) * TICK_NS,
    periods: stat.get("nr_periods") ?? 0,
    throttledPeriods: stat.get("nr_throttled") ?? 0,
    throttledNs: stat.get("throttled_time") ?? 0,
  };
}

/** Sums of "8:0 Read 4096" lines over all devices. */
function blkioSum(content: string | undefined, operation: string): number {
  let sum = 0;
  for (const line of (content ?? "").split("\n")) {
    const [, kind, value] = line.split(" ");
    if (kind === operation) sum += Number(value);
  }
  return sum;
}

function ioV1(file: Reader): CgroupStats["io"] {
  const either = (name: string): string | undefined =>
    file("blkio", `blkio.throttle.${name}_recursive`) ?? file("blkio", `blkio.throttle.${name}`);
  const bytes = either("io_service_bytes");
  const operations = either("io_serviced");
  return {
    readBytes: blkioSum(bytes, "Read"),
    writeBytes: blkioSum(bytes, "Write"),
    reads: blkioSum(operations, "Read"),
    writes: blkioSum(operations, "Write"),
  };
}

function memoryV2(file: Reader): CgroupStats["memory"] {
  const stat = table(file("memory", "memory.stat"));
  return {
    usage: count(file("memory", "memory.current")),
    limit: limit(file("memory", "memory.max")),
    cache: stat.get("inactive_file") ?? 0,
    rss: stat.get("anon") ?? 0,
    swap: count(file("memory", "memory.swap.current")),
    oomKills: table(file("memory", "memory.events")).get("oom_kill") ?? 0,
  };
}

function cpuV2(file: Reader): CgroupStats["cpu"] {
  const stat = table(file("cpu", "cpu.stat"));
  const ns = (key: string): number => (stat.get(key) ?? 0) * 1000;
  return {
    usageNs: ns("usage_usec"),
    userNs: ns("user_usec"),
    systemNs: ns("system_usec"),
    periods: stat.get("nr_periods") ?? 0,
    throttledPeriods: stat.get("nr_throttled") ?? 0,
    throttledNs: ns("throttled_usec"),
  };
}

/** Sums over all devices of io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …". */
function ioV2(file: Reader): CgroupStats["io"] {
  const content = file("io", "io.stat") ?? "";
  const sum = (key: string): number =>
    [...content.matchAll(new RegExp(`\\b${key}=(\\d+)`, "g"))].reduce((total, m) => total + Number(m[1]), 0);
  return { readBytes: sum("rbytes"), writeBytes: sum("wbytes"), reads: sum("rios"), writes: sum("wios") };
}

/** Numbers of one cgroup, its children included; a controller the host lacks reads as zeros and no limits. Undefined if the cgroup does not exist. */
export function cgroupStats(host: CgroupHost, cgroup: string): CgroupStats | undefined {
  const file: Reader = (controller, name) => {
    const dir = cgroupDirectory(host, controller, cgroup);
    return dir && readText(`${dir}/${name}`);
  };
  const unified = host.mode === "unified";
  const there = unified
    ? file("", "cgroup.procs")
    : host.controllers.map((controller) => file(controller, "cgroup.procs")).find((one) => one !== undefined);
  if (there === undefined) return undefined;
  return {
    memory: unified ? memoryV2(file) : memoryV1(file),
    cpu: unified ? cpuV2(file) : cpuV1(file),
    pids: { current: count(file("pids", "pids.current")), limit: limit(file("pids", "pids.max")) },
    io: unified ? ioV2(file) : ioV1(file),
  };
}
