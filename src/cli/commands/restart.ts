import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";
import { timeFlag } from "./stop.ts";

export const restartCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description: "Stops containers that run, and starts them again.",
  flags: { ...selectFlags, ...timeFlag, running: { type: "bool", help: "Only those that run" } },
  args: { min: 0 },
  completes: { first: "containers" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { restart } = await import("../../engine/stop.ts");
    const wholesale = flags.running && invocation.args.length === 0 ? { ...flags, all: true } : flags;
    const names = await selectContainers(
      { ...invocation, flags: wholesale },
      engine,
      ({ state }) => !flags.running || state === "running",
    );
    return forEach(invocation, names, async (name) => {
      await restart(ctx, engine, {
        container: name,
        ...(flags.time === undefined ? {} : { timeoutSeconds: flags.time }),
      });
      return name;
    });
  },
});
