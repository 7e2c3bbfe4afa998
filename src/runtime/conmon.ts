/**
 * conmon, the monitor: its command line and its start protocol. It double-forks, so it outlives us; its parent half
 * exits as soon as the monitor's pid is in `monitorPidFile`. Protocol: conmon(8) and its api version 1:
 * the *sync* channel tells the container's pid (or the failure), for a session later its exit status; the *attach*
 * channel tells that a session's socket is ready; a byte on the *start* pipe lets it go on.
 */
import { readFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { type EngineError, fail } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import { type Child, spawn } from "../sys/spawn.ts";
import type { Fd } from "../sys/sys.ts";
import type { ExecRequest, MonitorRequest } from "./runtime.ts";
import { SyncChannel, type SyncMessage } from "./sync-channel.ts";

/** What of the runtime goes into conmon's command line. */
export interface MonitoredRuntime {
  /** Path of the program, preceded by whatever must run it. */
  argv: string[];
  /** Global flags, in front of every subcommand. */
  flags: string[];
}

type Common = Omit<MonitorRequest, "logDriver" | "logPath" | "logMaxSize">;

function commonArgv(runtime: MonitoredRuntime, request: Common, socketId: string): string[] {
  const [program = "", ...first] = runtime.argv;
  // Not conmon's own --systemd-cgroup: it would come before a wrapper's arguments.
  const systemd = request.systemdCgroup ? ["--systemd-cgroup"] : [];
  const flags = [...first, ...runtime.flags, ...systemd].flatMap((flag) => ["--runtime-arg", flag]);
  const [exitProgram, ...exitArgs] = request.exitCommand;
  const exit =
    exitProgram === undefined
      ? []
      : ["--exit-command", exitProgram, ...exitArgs.flatMap((arg) => ["--exit-command-arg", arg])];
  return [
    ["--api-version", "1", "-c", request.id, "-u", socketId, "-n", request.name],
    ["-r", program, ...flags, "-b", request.bundle],
    ["-p", request.pidFile, "-P", request.monitorPidFile],
    ["--exit-dir", request.exitDir, "--persist-dir", request.persistDir, "--full-attach"],
    request.terminal ? ["-t"] : [],
    request.stdin ? ["-i"] : [],
    request.leaveStdinOpen ? ["--leave-stdin-open"] : [],
    request.timeoutSeconds === undefined ? [] : ["-T", String(request.timeoutSeconds)],
    request.exitDelaySeconds === undefined ? [] : ["--exit-delay", String(request.exitDelaySeconds)],
    exit,
  ].flat();
}

/** conmon 2.1.6 has no json-file driver: its records are kept as k8s-file, and `logs` serves both alike. */
function logTarget(request: MonitorRequest): string {
  const { logDriver, logPath } = request;
  if (logDriver === "none" || logDriver === "passthrough") return logDriver;
  return `k8s-file:${logPath}`;
}

/** conmon's arguments (without its own path) that create a container. */
export function containerArgv(runtime: MonitoredRuntime, request: MonitorRequest): string[] {
  return [
    commonArgv(runtime, request, request.id),
    ["-l", logTarget(request)],
    request.logMaxSize === undefined ? [] : ["--log-size-max", String(request.logMaxSize)],
    // An fsync at every exit costs more than the whole cleanup; what a power cut can take are the last lines.
    ["--no-sync-log"],
  ].flat();
}

/** conmon's arguments that run a session; `processFile` holds the OCI process object. */
export function sessionArgv(runtime: MonitoredRuntime, request: ExecRequest, processFile: string): string[] {
  const session = ["-l", "none", "-e", "--exec-attach", "--exec-process-spec", processFile];
  return [...commonArgv(runtime, request, request.sessionId), ...session];
}

export interface StartedMonitor {
  child: Child;
  sync: SyncChannel;
  /** Only with `session`. */
  attach?: SyncChannel;
  /** Only with `session`: our end of the start pipe; the caller closes it. */
  start?: Fd;
  /** What conmon itself has written to stderr so far. */
  words(): string;
  [Symbol.dispose](): void;
}

/** Not for our own supervisors' children: conmon and what it starts would tell them lies. */
function monitorEnvironment(channels: Record<string, string>): Record<string, string | undefined> {
  const { NOTIFY_SOCKET: _n, LISTEN_FDS: _f, LISTEN_PID: _p, LISTEN_FDNAMES: _m, ...env } = process.env;
  return { ...env, ...channels };
}

/** conmon adds "/conmon-term.XXXXXX" and the whole must fit into a socket's name. */
const LONGEST_TMPDIR = 107 - 19;

function temporaryDirectory(path: string | undefined): Record<string, string> {
  return path === undefined || Buffer.byteLength(path) > LONGEST_TMPDIR ? {} : { TMPDIR: path };
}

export interface SpawnRequest {
  conmon: string;
  argv: string[];
  /** Working directory; conmon leaves an "oom" file there. */
  bundle: string;
  /** Where the terminal's socket is made for a moment; default is /tmp. */
  socketDir: string | undefined;
  session: boolean;
  /** Give the monitor our stdin, stdout and stderr (log driver "passthrough"). */
  passthrough?: boolean;
}

/** Starts conmon. The descriptors given to it are closed here again; dispose of the result when done with the channels. */
export async function spawnMonitor(ctx: Ctx, request: SpawnRequest): Promise<StartedMonitor> {
  using given = new DisposableStack();
  using kept = new DisposableStack();
  const channel = async (): Promise<SyncChannel> => {
    const opened = kept.use(await SyncChannel.open());
    given.adopt(opened.peer, linux.close);
    return opened;
  };
  const sync = await channel();
  const attach = request.session ? await channel() : undefined;
  const pipe = request.session ? linux.pipe() : undefined;
  if (pipe !== undefined) {
    given.adopt(pipe.read, linux.close);
    kept.adopt(pipe.write, linux.close);
    // The first byte only says that we have put it into a cgroup, which we never do.
    linux.write(pipe.write, Uint8Array.of(0));
  }
  const stderr = kept.adopt(linux.memfd("conmon-stderr"), linux.close);
  const std = request.passthrough === true ? (["inherit", "inherit", "inherit"] as const) : null;
  const child = spawn(ctx, [request.conmon, ...request.argv], {
    stdio: [
      ...(std ?? (["ignore", "ignore", stderr] as const)),
      sync.peer,
      ...(pipe === undefined || attach === undefined ? [] : [pipe.read, attach.peer]),
    ],
    env: monitorEnvironment({
      ...temporaryDirectory(request.socketDir),
      _OCI_SYNCPIPE: "3",
      ...(request.session && { _OCI_STARTPIPE: "4", _OCI_ATTACHPIPE: "5" }),
    }),
    cwd: request.bundle,
    // A Ctrl-C at our terminal must not reach it before it has a session of its own.
    detached: std === null,
  });
  child.unref();
  const resources = kept.move();
  return {
    child,
    sync,
    ...(attach !== undefined && { attach }),
    ...(pipe !== undefined && { start: pipe.write }),
    words: () => readAll(stderr),
    [Symbol.dispose]: () => resources.dispose(),
  };
}

function readAll(fd: Fd): string {
  const bytes = new Uint8Array(linux.stat(fd, "", 0).size);
  return Buffer.from(bytes.subarray(0, linux.read(fd, bytes, 0))).toString();
}

/** The number in a pid file, or undefined while it is not (completely) there. */
export function readPid(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, "latin1").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** The monitor's pid; conmon's first half writes it just before it exits, which may be after the first message. */
export async function monitorPid(monitor: StartedMonitor, file: string): Promise<number> {
  const known = readPid(file);
  if (known !== undefined) return known;
  await monitor.child.exited;
  const pid = readPid(file);
  if (pid === undefined) throw monitorDied(monitor);
  return pid;
}

/** For a monitor that went away without an answer. */
export function monitorDied(monitor: StartedMonitor, message?: SyncMessage): EngineError {
  const words = (message?.message ?? monitor.words()).trim();
  return fail("internal", `the monitor failed: ${words === "" ? "it ended without a word" : words}`, {
    reason: "monitor-failed",
    data: { words },
  });
}
