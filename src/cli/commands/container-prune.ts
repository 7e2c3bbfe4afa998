import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../filters.ts";
import { forceFlag, plainFilterFlag } from "../list-flags.ts";
import { humanSize } from "../units.ts";

export const containerPruneCommand = defineCommand({
  usage: "[options]",
  description: "Removes all containers that do not run.",
  flags: { ...plainFilterFlag, ...forceFlag },
  args: { min: 0, max: 0 },
  async run({ ctx, flags, out, engine, personality }) {
    if (!flags.force && !(await confirm("WARNING! This will remove all containers that do not run."))) return;
    const { prune } = await import("../../engine/remove.ts");
    const { ids, reclaimed } = await prune(ctx, await engine(), { filters: parseFilters(flags.filter) });
    if (personality.docker && ids.length > 0) out.line("Deleted Containers:");
    for (const id of ids) out.line(id);
    if (personality.docker)
      out.line(`${ids.length > 0 ? "\n" : ""}Total reclaimed space: ${humanSize(reclaimed)}`);
  },
});
