import { humanDuration } from "../../core/time.ts";
import { defineCommand } from "../command.ts";
import { goTime } from "../container-row.ts";
import { formatFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import { humanSize } from "../units.ts";

const HEADINGS = {
  ID: "ID",
  CreatedSince: "CREATED",
  CreatedAt: "CREATED AT",
  Created: "CREATED",
  CreatedBy: "CREATED BY",
  Size: "SIZE",
  Comment: "COMMENT",
  Tags: "TAGS",
};

function cut(text: string, noTrunc: boolean): string {
  const line = text.replaceAll(/\s+/g, " ");
  return noTrunc || line.length <= 45 ? line : `${line.slice(0, 42)}...`;
}

function shortId(id: string, noTrunc: boolean): string {
  return noTrunc ? id : id.replace(/^sha256:/, "").slice(0, 12);
}

export const historyCommand = defineCommand({
  usage: "[options] IMAGE",
  description: "Shows the steps an image was made of, the last one first.",
  flags: {
    ...formatFlag,
    ...noTruncFlag,
    ...quietFlag,
    human: { type: "bool", short: "H", default: true, help: "Sizes and times for people" },
  },
  args: { min: 1, max: 1 },
  quick: true,
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, out, personality } = invocation;
    const engine = await invocation.engine();
    const { history } = await import("../../engine/history.ts");
    const noTrunc = flags["no-trunc"];
    const rows = history(ctx, engine, { image: args[0] as string }).map((step) => ({
      ID: shortId(step.id, noTrunc),
      CreatedSince: flags.human ? since(step.created) : step.created,
      CreatedAt: goTime(step.created),
      Created: since(step.created),
      CreatedBy: cut(step.createdBy, noTrunc),
      Size: flags.human ? humanSize(step.size, { digits: 3, gap: personality.sizeGap }) : String(step.size),
      Comment: step.comment,
      Tags: step.tags,
    }));
    if (flags.quiet) return rows.forEach((row) => out.line(row.ID));
    await printListing(invocation, {
      rows,
      format: flags.format,
      columns: ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
      headings: personality.docker ? { ...HEADINGS, ID: "IMAGE" } : HEADINGS,
      json: () =>
        history(ctx, engine, { image: args[0] as string }).map((step) => ({
          id: step.id.replace(/^sha256:/, ""),
          created: step.created,
          CreatedBy: step.createdBy,
          size: step.size,
          comment: step.comment,
          tags: step.tags,
        })),
    });
  },
});

function since(created: string): string {
  const time = Date.parse(created);
  return Number.isNaN(time) ? "N/A" : `${humanDuration(Date.now() - time)} ago`;
}
