import { defineCommand, type AnyCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";

function freezer(verb: "pause" | "unpause", description: string, state: string): AnyCommand {
  return defineCommand({
    usage: "[options] CONTAINER [CONTAINER...]",
    description,
    flags: selectFlags,
    args: { min: 0 },
    completes: { first: "running" },
    async run(invocation) {
      const engine = await invocation.engine();
      const verbs = await import("../../engine/stop.ts");
      const names = await selectContainers(invocation, engine, (container) => container.state === state);
      return forEach(invocation, names, async (name) => {
        await verbs[verb](invocation.ctx, engine, { container: name });
        return name;
      });
    },
  });
}

export const pauseCommand = freezer("pause", "Freezes all processes of containers.", "running");
export const unpauseCommand = freezer("unpause", "Lets the processes of frozen containers go on.", "paused");
