import { defineCommand } from "../command.ts";
import { isKind } from "../../core/error.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";

export const timeFlag = {
  time: {
    type: "int",
    short: "t",
    value: "SECONDS",
    aliases: ["timeout"],
    help: "How long to wait before it is killed (default: the container's own, else 10)",
  },
} as const;

export const stopCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description: "Sends the stop signal to containers, and kills those that do not end in time.",
  flags: {
    ...selectFlags,
    ...timeFlag,
    ignore: { type: "bool", short: "i", help: "A container that does not exist is no error" },
    signal: { type: "string", short: "s", value: "SIGNAL", help: "Instead of the container's stop signal" },
  },
  args: { min: 0 },
  completes: { first: "running" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { stop } = await import("../../engine/stop.ts");
    const names = await selectContainers(
      invocation,
      engine,
      ({ state }) => state === "running" || state === "paused",
    );
    return forEach(invocation, names, async (name) => {
      try {
        await stop(ctx, engine, {
          container: name,
          ...(flags.time === undefined ? {} : { timeoutSeconds: flags.time }),
          ...(flags.signal === undefined ? {} : { signal: flags.signal }),
        });
      } catch (error) {
        if (flags.ignore && isKind(error, "not-found")) return undefined;
        throw error;
      }
      return name;
    });
  },
});
