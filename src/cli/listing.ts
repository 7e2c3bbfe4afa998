/**
 * Lists (`ps`, `images`, …) in every form people ask for: the table with its default columns, `--format` with a
 * template or `table TEMPLATE`, and JSON (podman: one array, docker: a line per object).
 */
import type { Invocation } from "./command.ts";
import { renderTable } from "./table.ts";

export interface Listing {
  /** Rows have a property (or getter) per column; templates see the same names. */
  rows: readonly object[];
  format: string | undefined;
  /** Properties shown by default, in order. */
  columns: readonly string[];
  /** Heading of each property that has one. */
  headings: Readonly<Record<string, string>>;
  /** The rows as JSON; the rows themselves when absent. */
  json?: () => object[];
  noHeading?: boolean;
}

/** What `\t` and `\n` stand for in a format given on a command line. */
export function unescapeFormat(format: string): string {
  return format.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
}

type Printer = Pick<Invocation, "out" | "personality">;

export async function printListing(to: Printer, listing: Listing): Promise<void> {
  const format = listing.format?.trim() ?? "";
  if (format === "" || format === "table") return printColumns(to, listing);
  if (format === "json") return printJson(to, listing);
  return printTemplate(to, listing, unescapeFormat(listing.format as string));
}

function printColumns(to: Printer, listing: Listing): void {
  const { columns, headings, rows } = listing;
  const lines = rows.map((row) => columns.map((column) => String((row as Record<string, unknown>)[column])));
  if (listing.noHeading !== true)
    lines.unshift(columns.map((column) => headings[column] ?? column.toUpperCase()));
  to.out.write(renderTable(lines, to.personality.padding));
}

async function printJson(to: Printer, listing: Listing): Promise<void> {
  const { toJson } = await import("./template/functions.ts");
  const objects = listing.json?.() ?? [...listing.rows];
  if (!to.personality.docker) return to.out.line(toJson(objects, { indent: "    " }));
  for (const object of objects) to.out.line(toJson(object));
}

/** docker's heading for `{{.Label "com.example.some-thing"}}`. */
function labelHeading(name: string): string {
  return (name.split(".").at(-1) ?? "").replaceAll(/[-_]/g, " ");
}

async function printTemplate(to: Printer, listing: Listing, format: string): Promise<void> {
  const { parseTemplate } = await import("./template/parse.ts");
  const { executeTemplate } = await import("./template/eval.ts");
  const isTable = /^table\s/.test(format);
  const template = parseTemplate(isTable ? format.replace(/^table\s+/, "") : format);
  if (/^\{\{-?\s*range\b/.test(format) && !to.personality.docker) {
    to.out.write(executeTemplate(template, listing.rows));
    return;
  }
  const lines = listing.rows.map((row) => executeTemplate(template, row));
  if (isTable && listing.noHeading !== true) {
    lines.unshift(executeTemplate(template, { ...listing.headings, Label: labelHeading }));
  }
  if (!isTable) return to.out.write(lines.map((line) => (line.endsWith("\n") ? line : `${line}\n`)).join(""));
  to.out.write(
    renderTable(
      lines.map((line) => line.split("\t")),
      to.personality.padding,
    ),
  );
}
