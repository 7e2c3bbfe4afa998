/**
 * Low-level OCI runtimes (crun, runc, runsc, a path) and the monitor (conmon) that outlives us.
 *
 * Vocabulary: a *bundle* is a directory with `config.json`; the *monitor* is the conmon of one
 * container: it holds stdio, writes the log, serves the attach socket, writes the exit file and then runs
 * the exit command. A *session* is one `exec` in a container, with a monitor of its own.
 *
 * Worked example: `create` (conmon → runtime create; resolves with the pid) → `start` → … → exit file →
 * `delete`. Errors of the runtime become kinds only in `oci-error.ts`: command-not-found (127),
 * command-not-executable (126), else internal with the runtime's own text.
 */
import type { Ctx } from "../core/ctx.ts";

export interface RuntimeInfo {
  /** "crun" */
  name: string;
  path: string;
  version: string;
  /** Flags put before every subcommand of this runtime. */
  flags: string[];
  /** True where `create` must run without the unified cgroup mount (crun on hybrid hosts). */
  hybridWrapper: boolean;
}

export interface MonitorRequest {
  id: string;
  name: string;
  bundle: string;
  terminal: boolean;
  /** Keep a stdin pipe open (`-i`). */
  stdin: boolean;
  /** Leave stdin open when an attached client goes (no `--rm`-like once-only stdin). */
  leaveStdinOpen: boolean;
  logDriver: "k8s-file" | "json-file" | "none" | "passthrough";
  logPath: string;
  logMaxSize?: number;
  exitDir: string;
  persistDir: string;
  pidFile: string;
  monitorPidFile: string;
  /** argv that the monitor runs after the exit file is written. */
  exitCommand: string[];
  exitDelaySeconds?: number;
  /** Kill after this many seconds. */
  timeoutSeconds?: number;
  systemdCgroup: boolean;
}

export interface ExecRequest extends Omit<MonitorRequest, "logDriver" | "logPath"> {
  /** OCI `process` object, as JSON. */
  process: object;
  sessionId: string;
}

export interface RuntimeState {
  status: "creating" | "created" | "running" | "stopped" | "paused";
  pid: number;
}

export interface OciRuntime {
  readonly info: RuntimeInfo;
  /** Starts the monitor and has it create the container; returns pids. Nothing is left on failure. */
  create(ctx: Ctx, request: MonitorRequest): Promise<{ pid: number; monitorPid: number }>;
  start(ctx: Ctx, id: string): void;
  state(ctx: Ctx, id: string): RuntimeState | undefined;
  kill(ctx: Ctx, id: string, signal: number, options?: { all?: boolean }): void;
  /** Idempotent; force kills first. */
  delete(ctx: Ctx, id: string, options?: { force?: boolean }): void;
  pause(ctx: Ctx, id: string): void;
  resume(ctx: Ctx, id: string): void;
  /** Starts a session under its own monitor; `attachSocket` is ready for {@link attach} before the command starts. */
  exec(ctx: Ctx, id: string, request: ExecRequest): Promise<ExecSession>;
}

export interface ExecSession {
  attachSocket: string;
  controlFifo: string;
  /** Lets the command start; call when attached. Resolves with its pid. Errors: command-not-found, command-not-executable. */
  start(): Promise<number>;
  /** Exit status of the command. */
  wait(): Promise<number>;
}
