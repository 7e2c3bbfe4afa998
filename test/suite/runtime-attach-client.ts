/**
 * A process that does nothing but attach with its own descriptors: argv[2] is an AttachRequest as JSON, with `ready`, a
 * file that is made when it is connected. Ends with status 0 after "ended", 9 after "detached", 1 after an error.
 */
import { writeFileSync } from "node:fs";
import { createCtx } from "../../src/core/ctx.ts";
import { messageOf } from "../../src/core/error.ts";
import { type AttachRequest, openAttach } from "../../src/runtime/attach.ts";

const { ready, signals, ...request } = JSON.parse(process.argv[2] as string) as AttachRequest & {
  ready: string;
  /** Gets a line for each signal that is passed on. */
  signals?: string;
};
const seen: number[] = [];
try {
  using stream = openAttach(createCtx(), {
    ...request,
    onSignal: (signal) => {
      seen.push(signal);
      if (signals !== undefined) writeFileSync(signals, seen.join("\n"));
    },
  });
  writeFileSync(ready, "");
  process.exitCode = (await stream.pump()) === "ended" ? 0 : 9;
} catch (error) {
  console.error(`attach failed: ${messageOf(error)}`);
  process.exitCode = 1;
}
