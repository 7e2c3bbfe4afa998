/** attach: to the output, and if it has one the input, of a running container. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { type AttachIo, openAttach } from "../runtime/attach.ts";
import type { ExitRequest } from "../runtime/exit.ts";
import { settle } from "./cleanup.ts";
import type { Engine } from "./engine.ts";
import { exitCodeOf } from "./exit-code.ts";
import { running, runtimeOf } from "./stop.ts";

/** The container's exit code, or 0 after a detach. Errors: not-found, conflict when it does not run or is paused. */
export async function attach(
  ctx: Ctx,
  engine: Engine,
  request: { container: string; io: AttachIo },
): Promise<number> {
  const record = running(engine, request.container, "attach to");
  if (record.state.status === "paused")
    throw fail("conflict", `cannot attach to container ${record.name}: it is paused`);
  const runtime = await runtimeOf(ctx, engine, record);
  const directory = engine.paths.runContainer(record.id);
  const { monitorPid, monitorStart } = record.state;
  const io = {
    ...request.io,
    terminal: record.spec.terminal,
    stdin: request.io.stdin && record.spec.openStdin,
  };
  const exit: ExitRequest = {
    exitFile: `${engine.paths.exits}/${record.id}`,
    ...(monitorPid === undefined ? {} : { monitorPid }),
    ...(monitorStart === undefined ? {} : { monitorStart }),
  };
  const stream = openAttach(ctx, {
    socket: `${directory}/attach`,
    controlFifo: `${directory}/ctl`,
    io,
    exit,
    onSignal: (signal) => runtime.kill(ctx, record.id, signal),
  });
  if ((await stream.pump()) === "detached") return 0;
  const exitCode = await exitCodeOf(ctx, engine, { id: record.id, exit, known: stream.status });
  await settle(ctx, engine, record.id);
  return exitCode;
}
