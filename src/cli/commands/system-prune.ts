import { defineCommand, type Invocation } from "../command.ts";
import { confirm } from "../confirm.ts";
import { parseFilters } from "../filters.ts";
import { forceFlag, plainFilterFlag } from "../list-flags.ts";
import { humanSize } from "../units.ts";

function warning(all: boolean, volumes: boolean): string {
  return [
    "WARNING! This will remove:",
    "  - all containers that do not run",
    "  - all networks without a container",
    ...(volumes ? ["  - all volumes without a container"] : []),
    all ? "  - all images without a container" : "  - all images without a name",
  ].join("\n");
}

function section(out: Invocation["out"], title: string, ids: readonly string[]): void {
  if (ids.length === 0) return;
  out.line(title);
  for (const id of ids) out.line(id.replace(/^sha256:/, ""));
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
  async run({ ctx, flags, out, engine }) {
    if (!flags.force && !(await confirm(warning(flags.all, flags.volumes)))) return;
    const { systemPrune } = await import("../../engine/system.ts");
    const filters = parseFilters(flags.filter);
    const pruned = await systemPrune(ctx, await engine(), {
      all: flags.all,
      volumes: flags.volumes,
      filters,
    });
    section(out, "Deleted Containers", pruned.containers);
    section(out, "Deleted Networks", pruned.networks);
    section(out, "Deleted Images", pruned.images);
    section(out, "Deleted Volumes", pruned.volumes);
    out.line(`Total reclaimed space: ${humanSize(pruned.reclaimed)}`);
  },
});
