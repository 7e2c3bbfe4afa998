/** top: the processes of a container, with the columns of ps(1). */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import {
  cpuPercent,
  elapsed,
  describeProcesses,
  type ProcessLine,
  ticksAsTime,
} from "../sys/process-table.ts";
import { cgroupMode, cgroupProcesses, cgroupsOf } from "../sys/cgroup.ts";
import type { Engine } from "./engine.ts";
import { running } from "./stop.ts";

export interface Processes {
  titles: string[];
  processes: string[][];
}

interface Column {
  title: string;
  value: (line: ProcessLine) => string;
}

/** Names as in ps(1) and podman top; `h` ones are the host's view. */
const COLUMNS: Record<string, Column> = {
  user: { title: "USER", value: (p) => String(p.uid) },
  uid: { title: "UID", value: (p) => String(p.uid) },
  group: { title: "GROUP", value: (p) => String(p.gid) },
  pid: { title: "PID", value: (p) => String(p.innerPid) },
  ppid: { title: "PPID", value: (p) => String(p.innerParent) },
  hpid: { title: "HPID", value: (p) => String(p.pid) },
  huser: { title: "HUSER", value: (p) => String(p.uid) },
  pcpu: { title: "%CPU", value: (p) => cpuPercent(p) },
  etime: { title: "ELAPSED", value: (p) => elapsed(p) },
  tty: { title: "TTY", value: (p) => p.tty },
  time: { title: "TIME", value: (p) => ticksAsTime(p.cpuTicks) },
  args: { title: "COMMAND", value: (p) => p.command },
  comm: { title: "COMMAND", value: (p) => p.name },
  state: { title: "STATE", value: (p) => p.state },
  stat: { title: "STAT", value: (p) => p.state },
  rss: { title: "RSS", value: (p) => String(Math.round(p.rss / 1024)) },
  vsz: { title: "VSZ", value: (p) => String(Math.round(p.virtual / 1024)) },
  nice: { title: "NI", value: (p) => String(p.nice) },
};

const ALIASES: Record<string, string> = {
  "%C": "pcpu",
  "%cpu": "pcpu",
  command: "args",
  cmd: "args",
  ruser: "user",
  s: "state",
};

const DEFAULT = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];
/** docker top: the host's `ps -ef`. */
const FULL = ["user", "hpid", "ppid", "pcpu", "etime", "tty", "time", "args"];

/** Errors: not-found, conflict when it does not run, invalid-argument for an unknown column. */
export function top(
  _ctx: Ctx,
  engine: Engine,
  request: { container: string; descriptors: string[] },
): Processes {
  const record = running(engine, request.container, "list the processes of");
  const columns = columnsOf(request.descriptors);
  const lines = describeProcesses(processesOf(record.state.pid ?? 0));
  return {
    titles: columns.map((c) => c.title),
    processes: lines.map((line) => columns.map((c) => c.value(line))),
  };
}

/**
 * Those in the container's cgroup: its pid namespace would not do, which may be the host's (`--pid host`, gVisor).
 * With gVisor these are the sandbox's own processes; the ones inside are not the host's.
 */
function processesOf(pid: number): number[] {
  const own = cgroupsOf(pid);
  const path = own.get("pids") ?? own.get("freezer") ?? own.get("");
  if (path === undefined || path === "/") return pid === 0 ? [] : [pid];
  return cgroupProcesses(cgroupMode(), path);
}

function columnsOf(descriptors: string[]): Column[] {
  const text = descriptors.join(",");
  if (text === "") return named(DEFAULT);
  if (/^-?(ef|aux|e,-f)$/.test(text)) return named(FULL);
  const names = text
    .replace(/^-[eo]+,?/, "")
    .split(/[,\s]+/)
    .filter(Boolean);
  return named(names);
}

function named(names: string[]): Column[] {
  return names.map((name) => {
    const column = COLUMNS[ALIASES[name] ?? name];
    if (column !== undefined) return column;
    throw fail("invalid-argument", `unknown descriptor "${name}"`, {
      hint: `known: ${Object.keys(COLUMNS).join(", ")}`,
    });
  });
}
