import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../filters.ts";
import { forceFlag, plainFilterFlag } from "../list-flags.ts";
import { humanSize } from "../units.ts";

export const imagePruneCommand = defineCommand({
  usage: "[options]",
  description: "Removes images that have no name and no container; with --all, all that have no container.",
  flags: {
    ...plainFilterFlag,
    ...forceFlag,
    all: { type: "bool", short: "a", help: "Also those with a name" },
    external: { type: "bool", hidden: true, help: "No effect: there are no others" },
  },
  args: { min: 0, max: 0 },
  async run({ ctx, flags, out, engine, personality }) {
    const what = flags.all ? "all images without a container" : "all images without a name";
    if (!flags.force && !(await confirm(`WARNING! This will remove ${what}.`))) return;
    const { pruneImages } = await import("../../engine/images.ts");
    const request = { all: flags.all, filters: parseFilters(flags.filter) };
    const { deleted, reclaimed } = await pruneImages(ctx, await engine(), request);
    if (!personality.docker) return deleted.forEach((id) => out.line(id.replace(/^sha256:/, "")));
    if (deleted.length > 0) out.line("Deleted Images:");
    for (const id of deleted) out.line(`deleted: ${id}`);
    out.line(`${deleted.length > 0 ? "\n" : ""}Total reclaimed space: ${humanSize(reclaimed)}`);
  },
});
