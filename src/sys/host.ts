/** Facts about the host and its processes, read from /proc and /sys when asked for and never kept. */
import { readdirSync, readFileSync } from "node:fs";
import { hasCode } from "./errno.ts";
import { startTime } from "./process.ts";
import type { Limit, Sys } from "./sys.ts";

function text(path: string): string | undefined {
  return bytes(path)?.toString("latin1").trim();
}

/** Undefined for a file or process that is not there. */
function bytes(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ESRCH", "EINVAL", "EACCES", "ENOTDIR")) return undefined;
    throw error;
  }
}

/** "Key: value" and "Key=value" lines. */
function pairs(content: string, separator: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of content.split("\n")) {
    const at = line.indexOf(separator);
    if (at > 0) found.set(line.slice(0, at), line.slice(at + 1).trim());
  }
  return found;
}

/** A UUID that changes with every boot. */
export function bootId(): string {
  return text("/proc/sys/kernel/random/boot_id") ?? "";
}

/** "6.1.0-18-amd64" */
export function kernelVersion(): string {
  return text("/proc/sys/kernel/osrelease") ?? "";
}

export function hostname(): string {
  return text("/proc/sys/kernel/hostname") ?? "";
}

/** ID, VERSION_ID, PRETTY_NAME and so on; empty if the file is missing. */
export function osRelease(): Map<string, string> {
  let content: string;
  try {
    content = readFileSync("/etc/os-release", "utf8");
  } catch {
    return new Map();
  }
  const values = pairs(content, "=");
  for (const [key, value] of values) {
    values.set(key, value.replace(/^(["'])(.*)\1$/, "$2").replace(/\\(.)/g, "$1"));
  }
  return values;
}

export function uptimeSeconds(): number {
  return Number.parseFloat(text("/proc/uptime") ?? "0");
}

/** Bytes. */
export interface Memory {
  total: number;
  free: number;
  available: number;
  swapTotal: number;
  swapFree: number;
}

export function memory(): Memory {
  const values = pairs(text("/proc/meminfo") ?? "", ":");
  const size = (key: string): number => Number.parseInt(values.get(key) ?? "0", 10) * 1024;
  return {
    total: size("MemTotal"),
    free: size("MemFree"),
    available: size("MemAvailable"),
    swapTotal: size("SwapTotal"),
    swapFree: size("SwapFree"),
  };
}

/** Members of a kernel list such as "0-3,5". */
export function parseCpuList(list: string): number[] {
  return list
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first = 0, last = first] = part.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    });
}

/** Number of CPUs online. */
export function cpus(): number {
  return parseCpuList(text("/sys/devices/system/cpu/online") ?? "0").length;
}

export function pidMax(): number {
  return Number(text("/proc/sys/kernel/pid_max") ?? "32768");
}

/**
 * As Sys.startTime, without the system-call layer: a listing of containers asks for this alone, and loading that layer costs more
 * than the rest of it.
 */
export function processStart(pid: number): number | undefined {
  const stat = text(`/proc/${pid}/stat`);
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined || fields[0] === "Z" || fields[0] === "X" ? undefined : Number(fields[19]);
}

export interface ProcessFacts {
  pid: number;
  parent: number;
  /** Name of the program, at most 15 bytes. */
  name: string;
  /** "R", "S", "D", "Z", … */
  state: string;
  /** Clock ticks since boot; with the pid it names a process for good. */
  startTime: number;
  /** Real ids. */
  uid: number;
  gid: number;
  threads: number;
  /** The process' ids in its pid namespaces, outermost first. */
  namespacePids: number[];
  /** Resident bytes. */
  rss: number;
  argv: string[];
}

/** Undefined if there is no such process (any more). */
export function processFacts(pid: number): ProcessFacts | undefined {
  const started = startTime(pid);
  const status = text(`/proc/${pid}/status`);
  const cmdline = bytes(`/proc/${pid}/cmdline`);
  if (started === undefined || status === undefined || cmdline === undefined) return undefined;
  const values = pairs(status, ":");
  const first = (key: string): string => (values.get(key) ?? "").split(/\s+/)[0] as string;
  return {
    pid,
    parent: Number(first("PPid")),
    name: values.get("Name") ?? "",
    state: first("State"),
    startTime: started,
    uid: Number(first("Uid")),
    gid: Number(first("Gid")),
    threads: Number(first("Threads")),
    namespacePids: (values.get("NSpid") ?? String(pid)).split(/\s+/).map(Number),
    rss: Number(first("VmRSS")) * 1024,
    argv: cmdline.toString().split("\0").slice(0, -1),
  };
}

/** Processes whose parent is `pid`. */
export function children(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return threads.flatMap((thread) =>
    (text(`/proc/${pid}/task/${thread}/children`) ?? "").split(" ").filter(Boolean).map(Number),
  );
}

/** RLIMIT_* numbers by the names of the OCI runtime spec without their prefix, in lower case. */
const RLIMITS = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
} as const;

export type LimitName = keyof typeof RLIMITS;

/** Limits of this process; without CAP_SYS_RESOURCE no child can have a higher hard one. */
export function limits(sys: Pick<Sys, "getLimit">): Record<LimitName, Limit> {
  const entries = Object.entries(RLIMITS).map(([name, number]) => [name, sys.getLimit(number)]);
  return Object.fromEntries(entries) as Record<LimitName, Limit>;
}

/** Capabilities by number (capabilities(7)), without "CAP_". */
const CAPABILITIES =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE";

/** "CAP_CHOWN" and so on, in the order of their numbers. */
export const capabilityNames: readonly string[] = CAPABILITIES.split(" ").map((name) => `CAP_${name}`);

export interface Capabilities {
  effective: string[];
  permitted: string[];
  inheritable: string[];
  bounding: string[];
  ambient: string[];
}

/** Capabilities of this process, or of another. */
export function capabilities(pid?: number): Capabilities {
  const values = pairs(text(`/proc/${pid ?? "self"}/status`) ?? "", ":");
  const set = (key: string): string[] => {
    const bits = BigInt(`0x${values.get(key) ?? "0"}`);
    return capabilityNames.filter((_, number) => (bits & (1n << BigInt(number))) !== 0n);
  };
  return {
    effective: set("CapEff"),
    permitted: set("CapPrm"),
    inheritable: set("CapInh"),
    bounding: set("CapBnd"),
    ambient: set("CapAmb"),
  };
}

export interface SecurityFeatures {
  apparmor: boolean;
  selinux: boolean;
  seccomp: boolean;
}

export function securityFeatures(): SecurityFeatures {
  return {
    apparmor: text("/sys/module/apparmor/parameters/enabled") === "Y",
    selinux: text("/sys/fs/selinux/enforce") !== undefined,
    seccomp: text("/proc/sys/kernel/seccomp/actions_avail") !== undefined,
  };
}
