/**
 * Low-level OCI runtimes (crun, runc, runsc, a path) and the monitor (conmon) that outlives us.
 *
 * Vocabulary: a *bundle* is a directory with `config.json`; the *monitor* is the conmon of one
 * container: it holds stdio, writes the log, serves the attach socket, writes the exit file and then runs
 * the exit command. A *session* is one `exec` in a container, with a monitor of its own.
 *
 * Worked example: `discoverRuntime` → `createRuntime` → `create` (conmon → runtime create; resolves with the pid) →
 * `openAttach` → `start` → `pump` → … → exit file → `delete`. Errors of the runtime become kinds only in
 * `oci-error.ts`: command-not-found (127), command-not-executable (126), else internal with the runtime's own text.
 */
import type { Ctx } from "../core/ctx.ts";

export interface RuntimeInfo {
  /** "crun" */
  name: string;
  path: string;
  /** "1.8.1"; "" if it was not asked for or does not tell. */
  version: string;
  /** Flags put before every subcommand of this runtime. */
  flags: string[];
  /** True where `create` must run without the unified cgroup mount (crun on hybrid hosts). */
  hybridWrapper: boolean;
}

export interface MonitorRequest {
  id: string;
  name: string;
  /** Holds config.json; gets `attach` (socket), `ctl` and `winsz` (fifos), `oci.log`, and `oom` after an OOM kill. */
  bundle: string;
  terminal: boolean;
  /** Keep a stdin pipe open (`-i`). */
  stdin: boolean;
  /** Leave stdin open when an attached client goes (no `--rm`-like once-only stdin). */
  leaveStdinOpen: boolean;
  /** `json-file` is kept on disk as `k8s-file`: conmon 2.1 knows no other file format. `passthrough` allows no terminal. */
  logDriver: "k8s-file" | "json-file" | "none" | "passthrough";
  logPath: string;
  /** Bytes; the monitor then starts the file anew. */
  logMaxSize?: number;
  /** Existing directory; the monitor writes `exitDir/id`. */
  exitDir: string;
  /** Existing directory; the monitor writes `exit` and `oom`. */
  persistDir: string;
  pidFile: string;
  monitorPidFile: string;
  /** argv that the monitor runs after the exit file is written, also when `create` fails; none if empty. */
  exitCommand: string[];
  /** The attach socket stays open meanwhile: do not wait for its end, see attach.ts. */
  exitDelaySeconds?: number;
  /** Kill after this many seconds. */
  timeoutSeconds?: number;
  systemdCgroup: boolean;
}

/** `bundle` is a directory of the session's own here, and so is `exitDir`: the monitor writes `exitDir/id`. */
export interface ExecRequest extends Omit<MonitorRequest, "logDriver" | "logPath"> {
  /** OCI `process` object, as JSON; `terminal` in it must agree with the request's. */
  process: object;
  sessionId: string;
}

export interface RuntimeState {
  status: "creating" | "created" | "running" | "stopped" | "paused";
  /** 0 when there is no process. */
  pid: number;
}

/** One process in a container. */
export interface ContainerProcess {
  pid: number;
}

export interface OciRuntime {
  readonly info: RuntimeInfo;
  /**
   * Starts the monitor and has it create the container; returns pids. Nothing is left on failure. Errors: already-exists,
   * those of `oci-error.ts`, internal (monitor-failed), canceled.
   */
  create(ctx: Ctx, request: MonitorRequest): Promise<{ pid: number; monitorPid: number }>;
  /** Errors: conflict when it runs or has ended. */
  start(ctx: Ctx, id: string): void;
  /** undefined: the runtime does not know it. */
  state(ctx: Ctx, id: string): RuntimeState | undefined;
  /** Errors: conflict when it does not run. */
  kill(ctx: Ctx, id: string, signal: number, options?: { all?: boolean }): void;
  /** Idempotent; force kills first. False: it was not known (always true with force). Errors: conflict when it runs and `force` is not given. */
  delete(ctx: Ctx, id: string, options?: { force?: boolean }): boolean;
  /** Errors: conflict when it does not run or is paused. */
  pause(ctx: Ctx, id: string): void;
  /** Errors: conflict when it is not paused. */
  resume(ctx: Ctx, id: string): void;
  /** Changes limits of a running container; `resources` is the OCI `linux.resources` object. Errors: unimplemented (runsc). */
  update(ctx: Ctx, id: string, resources: object): void;
  /** Host pids of all processes in the container; unimplemented where they are not the host's (runsc). */
  ps(ctx: Ctx, id: string): ContainerProcess[];
  /** Starts a session under its own monitor; `attachSocket` is ready for `openAttach` before the command starts. */
  exec(ctx: Ctx, id: string, request: ExecRequest): Promise<ExecSession>;
}

/** Owns descriptors until `wait` has resolved; dispose of it when `wait` is not going to be called (detached). */
export interface ExecSession extends Disposable {
  attachSocket: string;
  controlFifo: string;
  monitorPid: number;
  /** Lets the command start; call when attached. Resolves with its pid. Errors: command-not-found, command-not-executable. */
  start(): Promise<number>;
  /** Exit status of the command. Errors: internal (monitor-lost) when the monitor was killed. */
  wait(): Promise<number>;
}
