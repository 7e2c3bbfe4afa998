import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";

export const killCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description: "Sends a signal to the main process of running containers.",
  flags: {
    ...selectFlags,
    signal: {
      type: "string",
      short: "s",
      value: "SIGNAL",
      default: "KILL",
      help: "Name or number of the signal",
    },
  },
  args: { min: 0 },
  completes: { first: "running" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { kill } = await import("../../engine/stop.ts");
    const names = await selectContainers(invocation, engine, ({ state }) => state === "running");
    return forEach(invocation, names, async (name) => {
      await kill(ctx, engine, { container: name, signal: flags.signal });
      return name;
    });
  },
});
