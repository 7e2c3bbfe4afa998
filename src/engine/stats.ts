/** stats: what running containers use, once or again and again. */
import type { Ctx } from "../core/ctx.ts";
import type { ContainerRecord } from "../container/container.ts";
import { cgroupMode, cgroupsOf } from "../sys/cgroup.ts";
import { cgroupStats } from "../sys/cgroup-stats.ts";
import { cpus, memory } from "../sys/host.ts";
import { interfaceBytes } from "../sys/interface-bytes.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { refreshAll } from "./refresh.ts";

export interface StatsSample {
  id: string;
  name: string;
  /** Of one CPU: 200 is two CPUs in full. Over the last interval; in a first sample over the container's life. */
  cpuPercent: number;
  cpuNanos: bigint;
  systemNanos: bigint;
  /** Bytes, without page cache that can be given back. */
  memoryUsage: number;
  memoryLimit: number;
  memoryPercent: number;
  netInput: number;
  netOutput: number;
  blockInput: number;
  blockOutput: number;
  pids: number;
  timeNs: bigint;
  startedNs: bigint;
}

export interface StatsRequest {
  /** Names or ids; none: all that run. */
  containers: string[];
  /** Those that do not run too, with zeros. */
  all: boolean;
  stream: boolean;
  intervalMs: number;
}

/** One array a round. Errors: not-found. */
export async function* stats(ctx: Ctx, engine: Engine, request: StatsRequest): AsyncIterable<StatsSample[]> {
  const before = new Map<string, StatsSample>();
  for (;;) {
    const samples = chosen(engine, request).map((record) => sample(record, before.get(record.id)));
    for (const one of samples) before.set(one.id, one);
    yield samples;
    if (!request.stream || ctx.signal.aborted) return;
    await Bun.sleep(request.intervalMs);
  }
}

function chosen(engine: Engine, request: StatsRequest): ContainerRecord[] {
  if (request.containers.length > 0) return request.containers.map((name) => resolveContainer(engine, name));
  return refreshAll(engine).filter(
    (r) => request.all || r.state.status === "running" || r.state.status === "paused",
  );
}

type Used = NonNullable<ReturnType<typeof cgroupStats>>;

function sample(record: ContainerRecord, before: StatsSample | undefined): StatsSample {
  const { pid = 0, startedAt = "" } = record.state;
  const isUp = record.state.status === "running" || record.state.status === "paused";
  const used = isUp ? usageOf(pid) : undefined;
  const net = isUp ? interfaceBytes(pid) : { received: 0, sent: 0 };
  const timeNs = BigInt(Date.now()) * 1_000_000n;
  const startedNs = BigInt(Math.max(0, Date.parse(startedAt) || 0)) * 1_000_000n;
  const cpuNanos = BigInt(Math.round(used?.cpu.usageNs ?? 0));
  const since = before ?? { cpuNanos: 0n, timeNs: startedNs };
  return {
    id: record.id,
    name: record.name,
    cpuPercent: cpuShare(cpuNanos - since.cpuNanos, timeNs - since.timeNs),
    cpuNanos,
    ...memoryOf(used),
    netInput: net.received,
    netOutput: net.sent,
    ...countsOf(used),
    timeNs,
    startedNs,
  };
}

/** Per cent of one CPU, at most all of them: clocks of cgroup and wall differ by a little. */
function cpuShare(cpu: bigint, wall: bigint): number {
  return wall <= 0n ? 0 : Math.min((Number(cpu) / Number(wall)) * 100, cpus() * 100);
}

function countsOf(
  used: Used | undefined,
): Pick<StatsSample, "systemNanos" | "blockInput" | "blockOutput" | "pids"> {
  if (used === undefined) return { systemNanos: 0n, blockInput: 0, blockOutput: 0, pids: 0 };
  const { readBytes, writeBytes } = used.io;
  const systemNanos = BigInt(Math.round(used.cpu.systemNs));
  return { systemNanos, blockInput: readBytes, blockOutput: writeBytes, pids: used.pids.current };
}

function memoryOf(
  used: Used | undefined,
): Pick<StatsSample, "memoryUsage" | "memoryLimit" | "memoryPercent"> {
  if (used === undefined) return { memoryUsage: 0, memoryLimit: 0, memoryPercent: 0 };
  const memoryLimit = Math.min(used.memory.limit, memory().total);
  const memoryUsage = Math.max(0, used.memory.usage - used.memory.cache);
  return { memoryUsage, memoryLimit, memoryPercent: (memoryUsage / memoryLimit) * 100 };
}

function usageOf(pid: number): Used | undefined {
  const own = cgroupsOf(pid);
  const path = own.get("memory") ?? own.get("pids") ?? own.get("");
  return path === undefined ? undefined : cgroupStats(cgroupMode(), path);
}
