import { fail } from "../../core/error.ts";
import type { NetworkRecord } from "../../network/network.ts";
import { defineCommand } from "../command.ts";
import { parseFilters } from "../filters.ts";
import { filterFlag, formatFlag, noHeadingFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";

const HEADINGS = { ID: "NETWORK ID", Name: "NAME", Driver: "DRIVER", Scope: "SCOPE", Labels: "LABELS" };

type Test = (record: NetworkRecord, value: string) => boolean;

const TESTS: Record<string, Test> = {
  driver: (record, value) => record.driver === value,
  id: (record, value) => record.id.startsWith(value),
  name: (record, value) => record.name.includes(value),
  label: (record, value) => {
    const [key = "", wanted] = value.split("=", 2);
    const found = record.labels[key];
    return found !== undefined && (wanted === undefined || found === wanted);
  },
};

function matches(record: NetworkRecord, filters: ReturnType<typeof parseFilters>): boolean {
  return filters.every(({ key, value, negate }) => {
    const test = TESTS[key];
    if (test === undefined) {
      throw fail("invalid-argument", `invalid filter "${key}"`, {
        hint: `choose ${Object.keys(TESTS).join(", ")}`,
      });
    }
    return test(record, value) !== (negate === true);
  });
}

export const networkLsCommand = defineCommand({
  usage: "[options]",
  description: "Lists networks.",
  flags: { ...filterFlag, ...formatFlag, ...noHeadingFlag, ...noTruncFlag, ...quietFlag },
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { flags, out, personality } = invocation;
    const filters = parseFilters(flags.filter);
    const engine = await invocation.engine();
    const records = engine.network.list().filter((record) => matches(record, filters));
    const rows = records.map((record) => ({
      ID: flags["no-trunc"] ? record.id : record.id.slice(0, 12),
      Name: record.name,
      Driver: record.driver,
      Scope: "local",
      Labels: record.labels,
      Created: record.created,
      Internal: record.internal,
    }));
    if (flags.quiet) return rows.forEach((row) => out.line(personality.docker ? row.ID : row.Name));
    await printListing(invocation, {
      rows,
      format: flags.format,
      columns: personality.docker ? ["ID", "Name", "Driver", "Scope"] : ["ID", "Name", "Driver"],
      headings: HEADINGS,
      json: () => (personality.docker ? rows : records),
      noHeading: flags.noheading,
    });
  },
});
