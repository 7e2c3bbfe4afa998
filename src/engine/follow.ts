/**
 * Staying with a container that was just brought up: its output to our descriptors, our input and
 * signals to it, until it ends or the person detaches.
 */
import type { Ctx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import type { Prepared } from "../container/init.ts";
import { type AttachIo, openAttach } from "../runtime/attach.ts";
import { waitExit } from "../runtime/exit.ts";
import type { Engine } from "./engine.ts";

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
  const stream = openAttach(ctx, {
    socket: prepared.attachSocket,
    controlFifo: prepared.controlFifo,
    io,
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
    exitCode: async () => {
      const exit = await waitExit(ctx, {
        exitFile: `${engine.paths.exits}/${record.id}`,
        pid: prepared.state.pid ?? 0,
        monitorPid,
      });
      return exit.exitCode;
    },
    abandon: () => stream.close(),
    dismissMonitor: () => {
      if (monitorStart === undefined || engine.sys.startTime(monitorPid) !== monitorStart) return;
      // The monitor leads a session of its own; the process that waits to run the exit command is in it.
      engine.sys.kill(-monitorPid, 9);
    },
  };
}
