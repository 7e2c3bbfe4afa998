import { isKind } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";
import { timeFlag } from "./stop.ts";

// Here -f is --force, as in podman.
const { short: _, ...longFilter } = selectFlags.filter;

export const rmCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description:
    "Removes containers. Exit code 1: there is no such container; 2: it is running and --force was not given.",
  examples: ["rm web", "rm -f -a"],
  flags: {
    ...selectFlags,
    filter: longFilter,
    ...timeFlag,
    depend: { type: "bool", hidden: true, unsupported: true, help: "Also what depends on it" },
    force: { type: "bool", short: "f", help: "Kill it first; a container that does not exist is no error" },
    ignore: { type: "bool", short: "i", help: "A container that does not exist is no error" },
    link: { type: "bool", hidden: true, unsupported: true, help: "Docker's links" },
    volumes: { type: "bool", short: "v", help: "Remove its anonymous volumes too" },
  },
  args: { min: 0 },
  completes: { first: "containers" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { remove } = await import("../../engine/remove.ts");
    const names = await selectContainers(
      invocation,
      engine,
      ({ state }) => flags.force || state !== "running",
    );
    return forEach(invocation, names, async (name) => {
      try {
        await remove(ctx, engine, {
          container: name,
          force: flags.force,
          volumes: flags.volumes,
          ...(flags.time === undefined ? {} : { timeoutSeconds: flags.time }),
        });
      } catch (error) {
        if ((flags.force || flags.ignore) && isKind(error, "not-found")) return undefined;
        throw error;
      }
      return name;
    });
  },
});
