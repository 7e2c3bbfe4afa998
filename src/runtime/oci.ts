/** The {@link OciRuntime} of everything with runc's command line: crun, runc, runsc and what a path names. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, isKind } from "../core/error.ts";
import { SIGKILL } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import { run, type RunResult } from "../sys/spawn.ts";
import {
  containerArgv,
  type MonitoredRuntime,
  monitorDied,
  monitorPid,
  readPid,
  spawnMonitor,
  type StartedMonitor,
} from "./conmon.ts";
import { CreateWatch } from "./create-watch.ts";
import { startSession } from "./exec-session.ts";
import { hybridArgv } from "./hybrid.ts";
import { runtimeError } from "./oci-error.ts";
import { RunscFlags, runscKnows, runscTerminalArgv } from "./runsc.ts";
import type {
  ContainerProcess,
  ExecRequest,
  ExecSession,
  MonitorRequest,
  OciRuntime,
  RuntimeInfo,
  RuntimeState,
} from "./runtime.ts";

export interface RuntimeDeps {
  /** The store's run directory; states go to `runtimes/NAME` in it, so that stores do not see each other's containers. */
  runDir: string;
  /** Path of conmon. */
  conmon: string;
}

export function createRuntime(deps: RuntimeDeps, info: RuntimeInfo): OciRuntime {
  return new CommandRuntime(deps, info);
}

/** How long a canceled create may go on before it counts as hanging. */
const PATIENCE_MS = 5000;

/** Contents, or "" if there is no such file. */
function readLog(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return "";
    throw error;
  }
}

function runtimeKilled(name: string, { id }: MonitorRequest): EngineError {
  return fail("internal", `${name} was killed while it created the container`, {
    reason: "runtime-killed",
    hint: "look for the reason in the kernel's log: dmesg",
    data: { id },
  });
}

class CommandRuntime implements OciRuntime {
  readonly info: RuntimeInfo;
  readonly #deps: RuntimeDeps;
  readonly #stateDir: string;
  readonly #runsc: RunscFlags | undefined;

  constructor(deps: RuntimeDeps, info: RuntimeInfo) {
    this.info = info;
    this.#deps = deps;
    this.#stateDir = `${deps.runDir}/runtimes/${info.name}`;
    this.#runsc = info.name === "runsc" ? new RunscFlags(`${this.#stateDir}.network`, info.flags) : undefined;
  }

  get #scripts(): string {
    return `${this.#deps.runDir}/runtimes`;
  }

  /** Ours, where no other user can meddle; but it gets there as TMPDIR, and runsc would use that as nobody. */
  #socketDir(request: { terminal: boolean }): string | undefined {
    return request.terminal && this.#runsc === undefined ? this.#deps.runDir : undefined;
  }

  #flags(id: string): string[] {
    return [`--root=${this.#stateDir}`, ...(this.#runsc?.of(id) ?? this.info.flags)];
  }

  #run(ctx: Ctx, id: string, args: string[]): RunResult {
    return run(ctx, [this.info.path, ...this.#flags(id), ...args]);
  }

  /** Runs a subcommand to its end. Errors: those of oci-error.ts. */
  #command(ctx: Ctx, id: string, args: string[]): string {
    const result = this.#run(ctx, id, args);
    if (result.exitCode === 0) return result.stdout;
    const [verb = ""] = args;
    throw runtimeError({ runtime: this.info.name, verb, stderr: result.stderr }, { data: { id } });
  }

  async create(ctx: Ctx, request: MonitorRequest): Promise<{ pid: number; monitorPid: number }> {
    const { id, bundle } = request;
    if (this.#runsc !== undefined && runscKnows(this.#stateDir, id)) {
      throw fail("already-exists", `container "${id}" exists already`, { reason: "container-exists" });
    }
    this.#runsc?.choose(id, bundle);
    const log = `${bundle}/oci.log`;
    rmSync(log, { force: true });
    const prefix = this.info.hybridWrapper ? hybridArgv(this.#scripts) : [];
    const runtime: MonitoredRuntime = {
      argv: [...prefix, this.info.path],
      flags: [...this.#flags(id), `--log=${log}`, "--log-format=json"],
    };
    using monitor = await spawnMonitor(ctx, {
      conmon: this.#deps.conmon,
      argv: containerArgv(runtime, request),
      bundle,
      socketDir: this.#socketDir(request),
      session: false,
      passthrough: request.logDriver === "passthrough",
    });
    try {
      return await this.#created(ctx, monitor, request);
    } catch (error) {
      if (!isKind(error, "already-exists")) this.#runForced(ctx, request.id);
      throw error;
    }
  }

  async #created(
    ctx: Ctx,
    monitor: StartedMonitor,
    request: MonitorRequest,
  ): Promise<{ pid: number; monitorPid: number }> {
    using watch = new CreateWatch(request.monitorPidFile);
    const message = await monitor.sync.next(ctx.signal);
    if (watch.fired) throw runtimeKilled(this.info.name, request);
    if (message === undefined && ctx.signal.aborted) {
      await this.#settle(ctx, monitor, request);
      throw fail("canceled", "canceled", { cause: ctx.signal.reason });
    }
    if (message === undefined || (message.data < 0 && (message.message ?? "") === "")) {
      throw monitorDied(monitor, message);
    }
    if (message.data < 0) {
      throw this.#failure("create", request, message.message ?? "");
    }
    return { pid: message.data, monitorPid: await monitorPid(monitor, request.monitorPidFile) };
  }

  #failure(verb: string, request: { id: string; bundle: string }, stderr: string): EngineError {
    const log = readLog(`${request.bundle}/oci.log`);
    return runtimeError({ runtime: this.info.name, verb, stderr, log }, { data: { id: request.id } });
  }

  /**
   * After a cancellation: lets the runtime finish, because one that is killed half-way leaves what `delete` does not
   * know of. Only one that hangs is killed, through its monitor.
   */
  async #settle(ctx: Ctx, monitor: StartedMonitor, request: MonitorRequest): Promise<void> {
    if ((await monitor.sync.next(AbortSignal.timeout(PATIENCE_MS))) !== undefined) return;
    await monitor.child.exited;
    const pid = readPid(request.monitorPidFile);
    try {
      if (pid !== undefined) linux.kill(pid, SIGKILL);
    } catch (error) {
      if (!hasCode(error, "ESRCH")) ctx.log.debug(`monitor ${pid}: ${String(error)}`);
    }
  }

  start(ctx: Ctx, id: string): void {
    this.#command(ctx, id, ["start", id]);
  }

  state(ctx: Ctx, id: string): RuntimeState | undefined {
    try {
      const state = JSON.parse(this.#command(ctx, id, ["state", id])) as RuntimeState;
      return { status: state.status, pid: Math.max(0, state.pid ?? 0) };
    } catch (error) {
      if (isKind(error, "not-found")) return undefined;
      throw error;
    }
  }

  kill(ctx: Ctx, id: string, signal: number, options: { all?: boolean } = {}): void {
    this.#command(ctx, id, ["kill", ...(options.all === true ? ["--all"] : []), id, String(signal)]);
  }

  delete(ctx: Ctx, id: string, options: { force?: boolean } = {}): boolean {
    if (options.force === true) {
      const failure = this.#runForced(ctx, id);
      if (failure !== undefined) throw failure;
      return true;
    }
    let isKnown = true;
    try {
      this.#command(ctx, id, ["delete", id]);
    } catch (error) {
      if (!isKind(error, "not-found")) throw error;
      isKnown = false;
    }
    this.#runsc?.forget(id);
    return isKnown;
  }

  /** `delete --force`; a frozen container cannot die, so it is thawed and the deletion tried again. */
  #runForced(ctx: Ctx, id: string): EngineError | undefined {
    if (this.state(ctx, id)?.status === "paused") this.#run(ctx, id, ["resume", id]);
    const result = this.#run(ctx, id, ["delete", "--force", id]);
    const failure =
      result.exitCode === 0
        ? undefined
        : runtimeError({ runtime: this.info.name, verb: "delete", stderr: result.stderr }, { data: { id } });
    if (failure !== undefined && failure.kind !== "not-found") return failure;
    this.#runsc?.forget(id);
    // A runtime that was killed while it created the container leaves a directory that it does not know itself.
    if (this.#runsc === undefined) rmSync(`${this.#stateDir}/${id}`, { recursive: true, force: true });
    return undefined;
  }

  pause(ctx: Ctx, id: string): void {
    // crun pauses anything, even twice, and runsc panics on a created one: the state decides here for all of them.
    const status = this.state(ctx, id)?.status;
    if (status === undefined)
      throw fail("not-found", `no such container "${id}"`, { reason: "no-container" });
    if (status === "paused") {
      throw fail("conflict", `container "${id}" is already paused`, { reason: "container-paused" });
    }
    if (status !== "running") {
      throw fail("conflict", `container "${id}" is ${status}, not running`, {
        reason: "container-not-running",
      });
    }
    this.#command(ctx, id, ["pause", id]);
  }

  resume(ctx: Ctx, id: string): void {
    const status = this.state(ctx, id)?.status;
    if (status === undefined)
      throw fail("not-found", `no such container "${id}"`, { reason: "no-container" });
    if (status !== "paused") {
      throw fail("conflict", `container "${id}" is not paused`, { reason: "container-not-paused" });
    }
    this.#command(ctx, id, ["resume", id]);
  }

  update(ctx: Ctx, id: string, resources: object): void {
    if (this.#runsc !== undefined) {
      throw fail("unimplemented", "runsc cannot change the limits of a running container", {
        reason: "runtime-lacks-update",
      });
    }
    const result = run(ctx, [this.info.path, ...this.#flags(id), "update", "--resources", "-", id], {
      stdin: JSON.stringify(resources),
    });
    if (result.exitCode === 0) return;
    throw runtimeError({ runtime: this.info.name, verb: "update", stderr: result.stderr }, { data: { id } });
  }

  ps(ctx: Ctx, id: string): ContainerProcess[] {
    if (this.#runsc !== undefined) {
      throw fail("unimplemented", "processes in a runsc sandbox are not processes of this host", {
        reason: "runtime-lacks-ps",
      });
    }
    const pids = JSON.parse(this.#command(ctx, id, ["ps", "--format", "json", id]).trim() || "[]") as
      | number[]
      | null;
    return (pids ?? []).map((pid) => ({ pid }));
  }

  async exec(ctx: Ctx, id: string, request: ExecRequest): Promise<ExecSession> {
    // Not its parents: a container that is being removed meanwhile must not get its directory back.
    if (!existsSync(request.persistDir)) mkdirSync(request.persistDir, { mode: 0o700 });
    const processFile = `${request.bundle}/process.json`;
    writeFileSync(processFile, JSON.stringify(request.process), { mode: 0o600 });
    const log = `${request.bundle}/oci.log`;
    rmSync(log, { force: true });
    const wrapped = this.#runsc !== undefined && request.terminal;
    return startSession(ctx, {
      conmon: this.#deps.conmon,
      socketDir: this.#socketDir(request),
      runtime: {
        argv: [...(wrapped ? runscTerminalArgv(this.#scripts) : []), this.info.path],
        flags: [...this.#flags(id), `--log=${log}`, "--log-format=json"],
      },
      request: { ...request, id },
      processFile,
      failure: (stderr) => this.#failure("exec", { id, bundle: request.bundle }, stderr),
      readLog: () => readLog(log),
    });
  }
}
