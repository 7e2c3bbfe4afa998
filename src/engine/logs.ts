/** logs: what a container has written, and with `follow` what it goes on to write. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { logPath } from "../container/log-path.ts";
import { isLive } from "../container/state.ts";
import { followLogFile, readLogFile } from "../runtime/log-file.ts";
import type { LogLine } from "../runtime/log-line.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { refresh } from "./refresh.ts";

export interface LogsRequest {
  container: string;
  /** Until the container ends. */
  follow: boolean;
  /** Only the last n lines. */
  tail?: number;
  sinceMs?: number;
  untilMs?: number;
}

/** Oldest first. Errors: not-found; unimplemented when the container has the log driver `none`. */
export async function* logs(ctx: Ctx, engine: Engine, request: LogsRequest): AsyncIterable<LogLine> {
  const record = resolveContainer(engine, request.container);
  const { logDriver } = record.spec;
  if (logDriver === "none" || logDriver === "passthrough") {
    throw fail("unimplemented", `container ${record.name} keeps no logs: its log driver is "${logDriver}"`, {
      reason: "no-logs",
    });
  }
  const { container: _, follow, ...range } = request;
  const query = { ...range, path: logPath(engine.paths, record) };
  if (!follow) {
    yield* readLogFile(query);
    return;
  }
  const ended = (): boolean => {
    const now = engine.records.get(record.id);
    return now === undefined || !isLive(refresh(engine, now).state.status);
  };
  yield* followLogFile(ctx, { ...query, ended, exitDir: engine.paths.exits });
}
