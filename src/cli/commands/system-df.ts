import type { DiskUsage, UsageRow } from "../../engine/disk-usage.ts";
import { defineCommand } from "../command.ts";
import { formatFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import type { Personality } from "../personality.ts";
import { humanSize } from "../units.ts";

const HEADINGS = {
  Type: "TYPE",
  Total: "TOTAL",
  TotalCount: "TOTAL",
  Active: "ACTIVE",
  Size: "SIZE",
  RawSize: "RAW SIZE",
  Reclaimable: "RECLAIMABLE",
  RawReclaimable: "RAW RECLAIMABLE",
};

function percent(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(100, Math.round((part / whole) * 100));
}

/** docker leaves the percentage out where there is nothing. */
function reclaimable(part: UsageRow, docker: boolean): string {
  const size = humanSize(part.reclaimable);
  return docker && part.size === 0 ? size : `${size} (${percent(part.reclaimable, part.size)}%)`;
}

function summaryRows({ rows }: DiskUsage, { docker }: Personality): object[] {
  return rows.map((part) => ({
    Type: part.type,
    Total: part.total,
    TotalCount: part.total,
    Active: part.active,
    Size: humanSize(part.size),
    RawSize: part.size,
    Reclaimable: reclaimable(part, docker),
    RawReclaimable: part.reclaimable,
  }));
}

/** docker's object has words only, and no raw numbers. */
function dockerJson(row: object): object {
  const { Active, Reclaimable, Size, TotalCount, Type } = row as Record<string, unknown>;
  return { Active: String(Active), Reclaimable, Size, TotalCount: String(TotalCount), Type };
}

export const systemDfCommand = defineCommand({
  usage: "[options]",
  description:
    "Shows what takes space in the store, and how much of it pruning would give back: bytes on the disk, as du counts them.",
  examples: ["system df -v", "system df --format json"],
  flags: {
    ...formatFlag,
    verbose: { type: "bool", short: "v", help: "Each image, container and volume" },
  },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, personality } = invocation;
    const engine = await invocation.engine();
    const { diskUsage } = await import("../../engine/disk-usage.ts");
    const usage = diskUsage(ctx, engine);
    if (flags.verbose) {
      const { printDetails } = await import("../disk-usage-details.ts");
      return printDetails(invocation, usage, flags.format);
    }
    const rows = summaryRows(usage, personality);
    await printListing(invocation, {
      rows,
      format: flags.format,
      columns: ["Type", "Total", "Active", "Size", "Reclaimable"],
      headings: HEADINGS,
      json: () => (personality.docker ? rows.map((row) => dockerJson(row)) : rows),
    });
  },
});
