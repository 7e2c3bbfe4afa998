/**
 * Staying with a container that was just brought up: its output to our descriptors, our input and
 * signals to it, until it ends or the person detaches.
 */
import type { Ctx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import type { Prepared } from "../container/init.ts";
import { type AttachIo, openAttach } from "../runtime/attach.ts";
import type { ExitRequest } from "../runtime/exit.ts";
import { SIGKILL } from "../sys/const.ts";
import type { Engine } from "./engine.ts";
import { exitCodeOf } from "./exit-code.ts";

export interface Followed {
  /** "ended" when the monitor closed the stream: the container's output is over. */
  ended(): Promise<"ended" | "detached">;
  /** Exit status of the container; call after "ended". */
  exitCode(): Promise<number>;
  /** Lets go of the stream of a container that did not come up. */
  abandon(): void;
  /** The monitor waits with its exit command for a foreground caller that may have been killed; now it need not. */
  dismissMonitor(): void;
}

export function follow(ctx: Ctx, engine: Engine, request: { prepared: Prepared; io: AttachIo }): Followed {
  const { prepared, io } = request;
  const { record, runtime, monitorPid } = prepared;
  const monitorStart = engine.sys.startTime(monitorPid);
  // Without the process: one whose monitor is gone has ended for us, and the cleanup kills it (container/state.ts).
  const exit: ExitRequest = {
    exitFile: `${engine.paths.exits}/${record.id}`,
    monitorPid,
    ...(monitorStart === undefined ? {} : { monitorStart }),
  };
  const stream = openAttach(ctx, {
    socket: prepared.attachSocket,
    controlFifo: prepared.controlFifo,
    io: { ...io, terminal: record.spec.terminal, stdin: io.stdin && record.spec.openStdin },
    exit,
    onSignal: (signal) => {
      try {
        runtime.kill(ctx, record.id, signal);
      } catch (error) {
        ctx.log.area("container").debug(`signal ${signal}: ${messageOf(error)}`);
      }
    },
  });
  return {
    ended: () => stream.pump(),
    exitCode: () => exitCodeOf(ctx, engine, { id: record.id, exit, known: stream.status }),
    abandon: () => stream.close(),
    dismissMonitor: () => {
      if (monitorStart === undefined || engine.sys.startTime(monitorPid) !== monitorStart) return;
      // The monitor leads a session of its own; the process that waits to run the exit command is in it.
      engine.sys.kill(-monitorPid, SIGKILL);
    },
  };
}
