import { fail } from "../../core/error.ts";
import { goDuration } from "../../core/time.ts";
import type { StatsSample } from "../../engine/stats.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { formatFlag, noTruncFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import { isTerminal } from "../terminal.ts";
import { binarySize, humanSize } from "../units.ts";

const DOCKER_COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
const PODMAN_COLUMNS = [...DOCKER_COLUMNS, "CPU", "AVGCPU"];

function headings(docker: boolean): Record<string, string> {
  return {
    ID: docker ? "CONTAINER ID" : "ID",
    Name: "NAME",
    Container: "CONTAINER",
    CPUPerc: "CPU %",
    MemUsage: "MEM USAGE / LIMIT",
    MemUsageBytes: "MEM USAGE / LIMIT",
    MemPerc: "MEM %",
    NetIO: docker ? "NET I/O" : "NET IO",
    BlockIO: docker ? "BLOCK I/O" : "BLOCK IO",
    PIDs: "PIDS",
    CPU: "CPU TIME",
    UpTime: "CPU TIME",
    AVGCPU: "AVG CPU %",
  };
}

interface Look {
  docker: boolean;
  noTrunc: boolean;
  size: (bytes: number) => string;
}

function rowOf(sample: StatsSample, look: Look): Record<string, string | number> {
  const { size } = look;
  // docker counts memory in powers of 1024.
  const memory = look.docker ? binarySize : size;
  const lifetime = Number(sample.timeNs - sample.startedNs);
  const average = lifetime > 0 ? (Number(sample.cpuNanos) / lifetime) * 100 : 0;
  const id = look.noTrunc ? sample.id : sample.id.slice(0, 12);
  return {
    ID: id,
    Container: id,
    Name: sample.name,
    CPUPerc: `${sample.cpuPercent.toFixed(2)}%`,
    MemUsage: `${memory(sample.memoryUsage)} / ${memory(sample.memoryLimit)}`,
    MemUsageBytes: `${binarySize(sample.memoryUsage)} / ${binarySize(sample.memoryLimit)}`,
    MemPerc: `${sample.memoryPercent.toFixed(2)}%`,
    NetIO: `${size(sample.netInput)} / ${size(sample.netOutput)}`,
    BlockIO: `${size(sample.blockInput)} / ${size(sample.blockOutput)}`,
    PIDs: sample.pids,
    CPU: goDuration(sample.cpuNanos),
    UpTime: goDuration(sample.cpuNanos),
    AVGCPU: `${average.toFixed(2)}%`,
  };
}

function jsonOf(row: Record<string, string | number>, docker: boolean): object {
  const { ID, Name, CPUPerc, MemUsage, MemPerc, NetIO, BlockIO, PIDs, CPU, AVGCPU } = row;
  if (docker) {
    const { Container } = row;
    return { BlockIO, CPUPerc, Container, ID, MemPerc, MemUsage, Name, NetIO, PIDs: String(PIDs) };
  }
  const io = { net_io: NetIO, block_io: BlockIO, pids: String(PIDs) };
  return {
    id: ID,
    name: Name,
    cpu_time: CPU,
    cpu_percent: CPUPerc,
    avg_cpu: AVGCPU,
    mem_usage: MemUsage,
    mem_percent: MemPerc,
    ...io,
  };
}

async function show(
  invocation: Invocation,
  samples: StatsSample[],
  format: string | undefined,
  noTrunc: boolean,
): Promise<void> {
  const { docker } = invocation.personality;
  const size = (bytes: number): string => humanSize(bytes, { digits: docker ? 3 : 4 });
  const rows = samples.map((sample) => rowOf(sample, { docker, noTrunc, size }));
  await printListing(invocation, {
    rows,
    format,
    columns: docker ? DOCKER_COLUMNS : PODMAN_COLUMNS,
    headings: headings(docker),
    json: () => rows.map((row) => jsonOf(row, docker)),
  });
}

export const statsCommand = defineCommand({
  usage: "[options] [CONTAINER...]",
  description:
    "Shows what containers use of CPU, memory, network and disks; again and again unless --no-stream.",
  flags: {
    ...formatFlag,
    ...noTruncFlag,
    all: { type: "bool", short: "a", help: "Also containers that do not run" },
    interval: {
      type: "int",
      short: "i",
      value: "SECONDS",
      help: "Time between two looks (default 5; docker: 1)",
    },
    latest: { type: "bool", short: "l", help: "The container created last" },
    "no-reset": { type: "bool", help: "Do not clear the screen in between" },
    "no-stream": { type: "bool", help: "Look once" },
  },
  args: { min: 0 },
  completes: { first: "running" },
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    const interval = flags.interval ?? (personality.docker ? 1 : 5);
    if (interval < 1)
      throw fail("invalid-argument", "--interval must be at least 1", { reason: "flag-value" });
    const engine = await invocation.engine();
    const { stats } = await import("../../engine/stats.ts");
    const { latest } = await import("../../engine/list.ts");
    const containers = flags.latest ? [latest(engine).id] : invocation.args;
    const stream = !flags["no-stream"];
    const clears = stream && !flags["no-reset"] && flags.format === undefined && isTerminal(1);
    const request = { containers, all: flags.all, stream, intervalMs: interval * 1000 };
    for await (const samples of stats(ctx, engine, request)) {
      if (clears) out.write("\x1b[H\x1b[2J");
      await show(invocation, samples, flags.format, flags["no-trunc"]);
      out.flush();
    }
  },
});
