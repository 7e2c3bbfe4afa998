/** top: the processes of a container, with the columns of ps(1). */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import {
  cpuPercent,
  elapsed,
  describeProcesses,
  type ProcessLine,
  startedMs,
  ticksAsClock,
  ticksAsTime,
} from "../sys/process-table.ts";
import { userFiles } from "../container/bundle.ts";
import { groupName, userName } from "../container/users.ts";
import { Rooted } from "../sys/rooted.ts";
import { cgroupMode, cgroupProcesses, cgroupsOf } from "../sys/cgroup.ts";
import type { Engine } from "./engine.ts";
import { running } from "./stop.ts";

export interface Processes {
  titles: string[];
  processes: string[][];
}

interface Column {
  title: string;
  value: (line: ProcessLine, names: Names) => string;
}

/** Names of ids, by the container's own files. */
interface Names {
  user: (uid: number) => string;
  group: (gid: number) => string;
}

/** Names as in ps(1) and podman top; `h` ones are the host's view. */
const COLUMNS: Record<string, Column> = {
  user: { title: "USER", value: (p, names) => names.user(p.uid) },
  uid: { title: "UID", value: (p) => String(p.uid) },
  group: { title: "GROUP", value: (p, names) => names.group(p.gid) },
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

/** What docker shows in place of what the container itself sees. */
const HOSTS_OWN = new Map<Column | undefined, Column>([
  [COLUMNS["pid"], { title: "PID", value: (p) => String(p.pid) }],
  [COLUMNS["ppid"], { title: "PPID", value: (p) => String(p.parent) }],
]);

const ALIASES: Record<string, string> = {
  "%C": "pcpu",
  "%cpu": "pcpu",
  command: "args",
  cmd: "args",
  ruser: "user",
  s: "state",
};

const DEFAULT = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"];
/** The host's `ps -ef`, which docker top shows: pids are the host's. */
const FULL: Column[] = [
  { title: "UID", value: (p, names) => names.user(p.uid) },
  { title: "PID", value: (p) => String(p.pid) },
  { title: "PPID", value: (p) => String(p.parent) },
  { title: "C", value: (p) => String(Math.round(Number(cpuPercent(p)))) },
  { title: "STIME", value: (p) => startTime(startedMs(p)) },
  { title: "TTY", value: (p) => p.tty },
  { title: "TIME", value: (p) => ticksAsClock(p.cpuTicks) },
  { title: "CMD", value: (p) => p.command },
];

export interface TopRequest {
  container: string;
  /** Columns, or options of ps(1) such as "-ef". Default: docker's or podman's columns. */
  descriptors: string[];
  /** Docker's view: `ps -ef` by default, and pids of the host. */
  docker?: boolean;
}

/** Errors: not-found, conflict when it does not run, invalid-argument for an unknown column. */
export function top(_ctx: Ctx, engine: Engine, request: TopRequest): Processes {
  const record = running(engine, request.container, "list the processes of");
  const columns = columnsOf(request.descriptors, request.docker === true);
  const pid = record.state.pid ?? 0;
  const names = namesIn(engine, pid);
  const lines = describeProcesses(processesOf(pid));
  return {
    titles: columns.map((c) => c.title),
    processes: lines.map((line) => columns.map((c) => c.value(line, names))),
  };
}

function namesIn(engine: Engine, pid: number): Names {
  using root = Rooted.open(engine.sys, `/proc/${pid}/root`);
  const files = userFiles(root);
  return { user: (uid) => userName(files, uid), group: (gid) => groupName(files, gid) };
}

/** "18:07" today, "Nov23" before. */
function startTime(ms: number): string {
  const started = new Date(ms);
  if (Date.now() - ms < 24 * 3600 * 1000) return started.toTimeString().slice(0, 5);
  return `${started.toLocaleString("en-US", { month: "short" })}${String(started.getDate()).padStart(2, "0")}`;
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

function columnsOf(descriptors: string[], docker: boolean): Column[] {
  const text = descriptors.join(",");
  if (text === "") return docker ? FULL : named(DEFAULT);
  if (/^-?(ef|aux|e,-f)$/.test(text)) return FULL;
  const names = text
    .replace(/^-[eo]+,?/, "")
    .split(/[,\s]+/)
    .filter(Boolean);
  const columns = named(names);
  return docker ? columns.map((column) => HOSTS_OWN.get(column) ?? column) : columns;
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
