import type { ImageSummary } from "../../engine/images.ts";
import { defineCommand } from "../command.ts";
import { parseFilters } from "../filters.ts";
import { IMAGE_HEADINGS, ImageRow, splitName } from "../image-row.ts";
import { filterFlag, formatFlag, noHeadingFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";

const ORDERS: Record<string, ((a: ImageSummary, b: ImageSummary) => number) | undefined> = {
  // As the engine lists them: newest first.
  created: undefined,
  id: (a, b) => compare(a.record.id, b.record.id),
  repository: (a, b) => compare(splitName(a.name).repository, splitName(b.name).repository),
  size: (a, b) => a.record.size - b.record.size,
  tag: (a, b) => compare(splitName(a.name).tag, splitName(b.name).tag),
};

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The same image under several names is one object in podman's JSON. */
function once(items: readonly ImageSummary[]): ImageSummary[] {
  return [...new Map(items.map((item) => [item.record.id, item])).values()];
}

export const imagesCommand = defineCommand({
  usage: "[options] [REPOSITORY[:TAG]]",
  description: "Lists images, the newest first, with a line for each name.",
  examples: ["images --filter dangling=true -q"],
  flags: {
    ...filterFlag,
    ...formatFlag,
    ...noTruncFlag,
    ...quietFlag,
    noheading: { ...noHeadingFlag.noheading, short: "n" },
    all: { type: "bool", short: "a", help: "Also those without a name that others stand on" },
    digests: { type: "bool", help: "Show digests" },
    history: { type: "bool", help: "Show all names of each image" },
    sort: { type: "string", value: "KEY", choices: Object.keys(ORDERS), help: "Order by this column" },
    tree: { type: "bool", hidden: true, unsupported: true, help: "Platforms" },
  },
  args: { min: 0, max: 1 },
  quick: true,
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, out, personality } = invocation;
    const engine = await invocation.engine();
    const { listImages } = await import("../../engine/images.ts");
    const items = listImages(ctx, engine, {
      all: flags.all,
      filters: parseFilters(flags.filter),
      ...(args[0] === undefined ? {} : { name: args[0] }),
    });
    const order = ORDERS[flags.sort ?? "created"];
    if (order !== undefined) items.sort(order);
    const row = (item: ImageSummary): ImageRow => new ImageRow(item, personality, flags["no-trunc"]);
    if (flags.quiet) {
      for (const id of new Set(items.map((item) => row(item).ID))) out.line(id);
      return;
    }
    const columns = [
      "Repository",
      "Tag",
      ...(flags.digests ? ["Digest"] : []),
      "ID",
      "CreatedSince",
      "Size",
      ...(flags.history ? ["History"] : []),
      // Said only where there is such a thing.
      ...(items.some(({ record }) => record.additionalStore !== undefined) ? ["ReadOnly"] : []),
    ];
    await printListing(invocation, {
      rows: items.map(row),
      format: flags.format,
      columns,
      headings: IMAGE_HEADINGS,
      json: () => (personality.docker ? items : once(items)).map((item) => row(item).json()),
      noHeading: flags.noheading,
    });
  },
});
