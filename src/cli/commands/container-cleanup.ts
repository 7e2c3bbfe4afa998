import { isKind } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers } from "../select.ts";

export const containerCleanupCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description:
    "Undoes what stopped containers still hold: mounts, networks, sessions. Their monitors call this.",
  flags: {
    all: { type: "bool", short: "a", help: "All containers" },
    exec: { type: "string", value: "ID", help: "Only this session of the container" },
    latest: { type: "bool", short: "l", help: "The container created last" },
    rm: { type: "bool", hidden: true, unsupported: true, help: "Remove it then" },
    "stopped-only": { type: "bool", hidden: true, help: "No effect: one that runs is always left alone" },
  },
  args: { min: 0 },
  completes: { first: "containers" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { cleanup } = await import("../../engine/cleanup.ts");
    const names = await selectContainers(invocation, engine);
    return forEach(invocation, names, async (container) => {
      try {
        await cleanup(ctx, engine, { container, ...(flags.exec === undefined ? {} : { exec: flags.exec }) });
      } catch (error) {
        // Somebody else was faster; for the monitor that is as good.
        if (!isKind(error, "not-found")) throw error;
      }
    });
  },
});
