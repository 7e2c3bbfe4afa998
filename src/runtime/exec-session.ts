/** One `exec` under its own monitor; see conmon.ts for the protocol. */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { type EngineError, fail } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import {
  type MonitoredRuntime,
  monitorDied,
  monitorPid,
  sessionArgv,
  spawnMonitor,
  type StartedMonitor,
} from "./conmon.ts";
import type { ExecRequest, ExecSession } from "./runtime.ts";

export interface SessionRequest {
  conmon: string;
  socketDir: string | undefined;
  runtime: MonitoredRuntime;
  request: ExecRequest;
  processFile: string;
  /** Makes the error of what the runtime wrote to stderr. */
  failure: (stderr: string) => EngineError;
  /** What the runtime has logged so far. */
  readLog: () => string;
}

export async function startSession(ctx: Ctx, session: SessionRequest): Promise<ExecSession> {
  const { request, runtime, processFile, conmon, socketDir } = session;
  using monitorStack = new DisposableStack();
  const monitor = monitorStack.use(
    await spawnMonitor(ctx, {
      conmon,
      argv: sessionArgv(runtime, request, processFile),
      bundle: request.bundle,
      socketDir,
      session: true,
    }),
  );
  const ready = await monitor.attach?.next(ctx.signal);
  checkCanceled(ctx);
  if (ready === undefined || ready.data < 0) throw monitorDied(monitor, ready);
  const pid = await monitorPid(monitor, request.monitorPidFile);
  return new Session(monitorStack.move(), monitor, pid, session);
}

class Session implements ExecSession {
  readonly attachSocket: string;
  readonly controlFifo: string;
  readonly monitorPid: number;
  readonly #resources: DisposableStack;
  readonly #monitor: StartedMonitor;
  readonly #session: SessionRequest;

  constructor(resources: DisposableStack, monitor: StartedMonitor, pid: number, session: SessionRequest) {
    const { bundle } = session.request;
    this.attachSocket = `${bundle}/attach`;
    this.controlFifo = `${bundle}/ctl`;
    this.monitorPid = pid;
    this.#resources = resources;
    this.#monitor = monitor;
    this.#session = session;
  }

  async start(): Promise<number> {
    if (this.#monitor.start !== undefined) linux.write(this.#monitor.start, Uint8Array.of(0));
    const message = await this.#monitor.sync.next();
    if (message === undefined) throw monitorDied(this.#monitor);
    if (message.data < 0) throw this.#session.failure(message.message ?? "");
    return message.data;
  }

  async wait(): Promise<number> {
    using _resources = this.#resources;
    const message = await this.#monitor.sync.next();
    if (message === undefined) {
      throw fail("internal", "the session's monitor was lost, and the exit status with it", {
        reason: "monitor-lost",
      });
    }
    // crun finds some commands not executable only after it has said that they run.
    if (message.data !== 0 && /"level":\s*"(error|fatal)"/.test(this.#session.readLog())) {
      throw this.#session.failure("");
    }
    if (message.data < 0) throw this.#session.failure(message.message ?? "");
    return message.data;
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}
