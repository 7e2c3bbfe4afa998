/** Processes as ps(1) shows them, from /proc. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { uptimeSeconds } from "./host.ts";

export interface ProcessLine {
  pid: number;
  parent: number;
  /** As in its own pid namespace. */
  innerPid: number;
  innerParent: number;
  uid: number;
  gid: number;
  name: string;
  command: string;
  state: string;
  /** "pts/0", or "?" for none. */
  tty: string;
  nice: number;
  /** User and system time, clock ticks. */
  cpuTicks: number;
  startTicks: number;
  /** Bytes. */
  rss: number;
  virtual: number;
}

/** USER_HZ: fixed at 100 on every architecture Linux runs containers on. */
const TICKS_PER_SECOND = 100;
const PAGE = 4096;

/** Facts of these processes, in order of their pids inside; without those that have ended meanwhile. */
export function describeProcesses(pids: readonly number[]): ProcessLine[] {
  const inner = new Map<number, number>();
  const lines = pids.flatMap((pid) => {
    const line = readLine(pid);
    if (line !== undefined) inner.set(pid, line.innerPid);
    return line === undefined ? [] : [line];
  });
  for (const line of lines) line.innerParent = inner.get(line.innerParent) ?? 0;
  return lines.sort((a, b) => a.innerPid - b.innerPid);
}

/** `innerParent` is the host's parent pid until the caller translates it. */
function readLine(pid: number): ProcessLine | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8")
      .split("\0")
      .filter((arg, i, all) => i < all.length - 1 || arg !== "");
    const close = stat.lastIndexOf(")");
    const name = stat.slice(stat.indexOf("(") + 1, close);
    const field = stat.slice(close + 2).split(" ");
    const number = (index: number): number => Number(field[index - 3]);
    const line = (key: string): string[] =>
      new RegExp(`^${key}:\\s*(.*)$`, "m").exec(status)?.[1]?.split(/\s+/) ?? [];
    return {
      pid,
      parent: number(4),
      innerPid: Number(line("NSpid").at(-1) ?? pid),
      innerParent: number(4),
      uid: Number(line("Uid")[1] ?? 0),
      gid: Number(line("Gid")[1] ?? 0),
      name,
      command: argv.length === 0 ? `[${name}]` : argv.join(" "),
      state: field[0] ?? "?",
      tty: ttyName(number(7)),
      nice: number(19),
      cpuTicks: number(14) + number(15),
      startTicks: number(22),
      rss: number(24) * PAGE,
      virtual: number(23),
    };
  } catch {
    return undefined; // it ended while we looked
  }
}

/** Pids of the processes whose arguments `matches` takes; looks at every process of the host, about 20 µs each. */
export function findProcesses(matches: (argv: string[]) => boolean): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid)) return false;
      try {
        return matches(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0"));
      } catch {
        return false; // it ended while we looked
      }
    });
}

/** A process's children; `inside` are those in another pid namespace than ours. Zombies do not count. */
export function childrenOf(parent: number): { own: number[]; inside: number[] } {
  const own: number[] = [];
  const inside: number[] = [];
  for (const pid of childPids(parent)) {
    try {
      if (/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"))) continue;
      const isOwn = readlinkSync(`/proc/${pid}/ns/pid`) === readlinkSync("/proc/self/ns/pid");
      (isOwn ? own : inside).push(pid);
    } catch {
      // it has ended
    }
  }
  return { own, inside };
}

function childPids(parent: number): number[] {
  try {
    const text = readFileSync(`/proc/${parent}/task/${parent}/children`, "latin1");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Device number of a controlling terminal (proc(5), field tty_nr). */
function ttyName(device: number): string {
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  if (major >= 136 && major <= 143) return `pts/${(major - 136) * 256 + minor}`;
  return device === 0 ? "?" : `tty${minor}`;
}

function runSeconds(line: ProcessLine): number {
  return Math.max(0, uptimeSeconds() - line.startTicks / TICKS_PER_SECOND);
}

/** Share of one CPU over the process's life, three decimals as podman prints it. */
export function cpuPercent(line: ProcessLine): string {
  const seconds = runSeconds(line);
  return seconds === 0 ? "0.000" : ((line.cpuTicks / TICKS_PER_SECOND / seconds) * 100).toFixed(3);
}

/** When it was started, epoch milliseconds. */
export function startedMs(line: ProcessLine): number {
  return Date.now() - runSeconds(line) * 1000;
}

/** "1h2m3.5s", Go's way. */
export function elapsed(line: ProcessLine): string {
  return goDuration(runSeconds(line));
}

export function ticksAsTime(ticks: number): string {
  return goDuration(ticks / TICKS_PER_SECOND);
}

/** "01:02:03", as ps(1) writes it. */
export function ticksAsClock(ticks: number): string {
  const seconds = Math.floor(ticks / TICKS_PER_SECOND);
  const parts = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

function goDuration(seconds: number): string {
  const whole = Math.floor(seconds);
  const h = Math.floor(whole / 3600);
  const m = Math.floor((whole % 3600) / 60);
  const s = Number((seconds - h * 3600 - m * 60).toFixed(6));
  return `${h > 0 ? `${h}h` : ""}${h > 0 || m > 0 ? `${m}m` : ""}${s}s`;
}
