import type { UsageRow } from "../../engine/system.ts";
import { defineCommand } from "../command.ts";
import { formatFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import { renderTable } from "../table.ts";
import { humanSize } from "../units.ts";

const HEADINGS = {
  Type: "TYPE",
  Total: "TOTAL",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  Reclaimable: "RECLAIMABLE",
};

function percent(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(100, Math.round((part / whole) * 100));
}

/** docker leaves the percentage out where there is nothing. */
function reclaimable(part: UsageRow, docker: boolean): string {
  const size = humanSize(part.reclaimable);
  return docker && part.size === 0 ? size : `${size} (${percent(part.reclaimable, part.size)}%)`;
}

export const systemDfCommand = defineCommand({
  usage: "[options]",
  description: "Shows what takes space in the store, and how much of it nothing needs.",
  flags: { ...formatFlag, verbose: { type: "bool", short: "v", help: "Each image and container" } },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    const engine = await invocation.engine();
    const { df } = await import("../../engine/system.ts");
    const parts = df(ctx, engine);
    if (flags.verbose) {
      for (const part of parts) {
        out.line(`${part.type}:`);
        const rows = part.items.map((item) => [
          item.id.replace(/^sha256:/, "").slice(0, 12),
          item.name,
          humanSize(item.size),
        ]);
        out.write(renderTable([["ID", "NAME", "SIZE"], ...rows], personality.padding));
        out.line("");
      }
      return;
    }
    await printListing(invocation, {
      rows: parts.map((part) => ({
        Type: part.type,
        Total: part.total,
        TotalCount: part.total,
        Active: part.active,
        Size: humanSize(part.size),
        RawSize: part.size,
        Reclaimable: reclaimable(part, personality.docker),
        RawReclaimable: part.reclaimable,
      })),
      format: flags.format,
      columns: ["Type", "Total", "Active", "Size", "Reclaimable"],
      headings: HEADINGS,
    });
  },
});
