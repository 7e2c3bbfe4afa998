import { defineCommand, type Invocation } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../filters.ts";
import { forceFlag, plainFilterFlag } from "../list-flags.ts";
import { humanSize } from "../units.ts";
import { removedLines } from "./rmi.ts";

function warning(all: boolean, volumes: boolean): string {
  return [
    "WARNING! This will remove:",
    "  - all containers that do not run",
    "  - all networks without a container",
    ...(volumes ? ["  - all volumes without a container"] : []),
    all ? "  - all images without a container" : "  - all images without a name",
  ].join("\n");
}

/** docker puts a colon behind the title and an empty line behind the list. */
function section(
  { out, personality: { docker } }: Pick<Invocation, "out" | "personality">,
  title: string,
  ids: readonly string[],
): void {
  if (ids.length === 0) return;
  out.line(docker ? `${title}:` : title);
  for (const id of ids) out.line(docker ? id : id.replace(/^sha256:/, ""));
  if (docker) out.line("");
}

export const systemPruneCommand = defineCommand({
  usage: "[options]",
  description: "Removes containers that do not run, and networks and images nothing needs.",
  flags: {
    ...plainFilterFlag,
    ...forceFlag,
    all: { type: "bool", short: "a", help: "Also images with a name, if no container needs them" },
    volumes: { type: "bool", help: "Also volumes" },
  },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, out, engine, personality } = invocation;
    if (!flags.force && !(await confirm(warning(flags.all, flags.volumes)))) return;
    const { systemPrune } = await import("../../engine/system-prune.ts");
    const filters = parseFilters(flags.filter);
    const pruned = await systemPrune(ctx, await engine(), {
      all: flags.all,
      // docker means anonymous ones by that, and those go with their containers.
      volumes: flags.volumes && !personality.docker,
      filters,
    });
    const { images } = pruned;
    const imageLines = removedLines(images, true).map((line) => line.toLowerCase());
    section(invocation, "Deleted Containers", pruned.containers);
    section(invocation, "Deleted Networks", pruned.networks);
    section(invocation, "Deleted Volumes", pruned.volumes);
    section(invocation, "Deleted Images", personality.docker ? imageLines : images.deleted);
    out.line(`Total reclaimed space: ${humanSize(pruned.reclaimed)}`);
  },
});
