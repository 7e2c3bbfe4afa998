import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../filters.ts";
import { forceFlag, plainFilterFlag } from "../list-flags.ts";
import { humanSize } from "../units.ts";
import { removedLines } from "./rmi.ts";

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
    const { pruneImages } = await import("../../engine/prune-images.ts");
    const request = { all: flags.all, filters: parseFilters(flags.filter) };
    const pruned = await pruneImages(ctx, await engine(), request);
    if (!personality.docker) return pruned.deleted.forEach((id) => out.line(id.replace(/^sha256:/, "")));
    const lines = removedLines(pruned, true).map((line) => line.toLowerCase());
    if (lines.length > 0) out.line(["Deleted Images:", ...lines, ""].join("\n"));
    out.line(`Total reclaimed space: ${humanSize(pruned.reclaimed)}`);
  },
});
