import { humanDuration } from "../../core/time.ts";
import type { HistoryLine } from "../../engine/history.ts";
import { defineCommand } from "../command.ts";
import { goTime } from "../container-row.ts";
import { formatFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import type { Personality } from "../personality.ts";
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

/** On one line: podman cuts at 42 and adds "...", docker at 44 and adds "…". */
function cut(text: string, { noTrunc, docker }: { noTrunc: boolean; docker: boolean }): string {
  const line = docker ? text.replaceAll(/[\t\r\n]/g, " ") : text.replaceAll(/\s+/g, " ");
  if (noTrunc || line.length <= 45) return line;
  return docker ? `${line.slice(0, 44)}…` : `${line.slice(0, 42)}...`;
}

function shortId(id: string, noTrunc: boolean): string {
  return noTrunc ? id : id.replace(/^sha256:/, "").slice(0, 12);
}

function since(created: string): string {
  const time = Date.parse(created);
  return Number.isNaN(time) ? "N/A" : `${humanDuration(Date.now() - time)} ago`;
}

/** RFC 3339, whole seconds. */
function moment(created: string): string {
  const time = Date.parse(created);
  return Number.isNaN(time) ? "" : new Date(time).toISOString().replace(/\.\d+/, "");
}

interface Look {
  noTrunc: boolean;
  human: boolean;
  personality: Personality;
}

function rowOf(step: HistoryLine, { noTrunc, human, personality }: Look) {
  const { docker, sizeGap } = personality;
  return {
    ID: shortId(step.id, noTrunc),
    CreatedSince: human || docker ? since(step.created) : moment(step.created),
    CreatedAt: docker ? moment(step.created) : goTime(step.created),
    Created: since(step.created),
    CreatedBy: cut(step.createdBy, { noTrunc, docker }),
    Size: human ? humanSize(step.size, { digits: 3, gap: sizeGap }) : String(step.size),
    Comment: step.comment,
    Tags: step.tags,
  };
}

function jsonOf(step: HistoryLine, look: Look): object {
  if (look.personality.docker) {
    const { Comment, CreatedAt, CreatedBy, CreatedSince, ID, Size } = rowOf(step, look);
    return { Comment, CreatedAt, CreatedBy, CreatedSince, ID, Size };
  }
  return {
    id: step.id.replace(/^sha256:/, ""),
    created: step.created,
    CreatedBy: step.createdBy,
    size: step.size,
    comment: step.comment,
    ...(step.tags.length === 0 ? {} : { tags: step.tags }),
  };
}

export const historyCommand = defineCommand({
  usage: "[options] IMAGE",
  description:
    "Shows the steps an image was made of, the last one first.\nA step has the ID of the image that ends with it, if that is here.",
  examples: ["history site:1", "history --no-trunc --format '{{.CreatedBy}}' site:1"],
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
    const look: Look = { noTrunc: flags["no-trunc"], human: flags.human, personality };
    const steps = history(ctx, engine, { image: args[0] as string });
    const rows = steps.map((step) => rowOf(step, look));
    if (flags.quiet) return rows.forEach((row) => out.line(row.ID));
    const created = personality.docker && !flags.human ? "CreatedAt" : "CreatedSince";
    await printListing(invocation, {
      rows,
      format: flags.format,
      columns: ["ID", created, "CreatedBy", "Size", "Comment"],
      headings: personality.docker ? { ...HEADINGS, ID: "IMAGE" } : HEADINGS,
      json: () => steps.map((step) => jsonOf(step, look)),
    });
  },
});
