import { fail } from "../../core/error.ts";
import type { ContainerSummary } from "../../engine/list.ts";
import { defineCommand } from "../command.ts";
import { CONTAINER_HEADINGS, ContainerRow } from "../container-row.ts";
import { parseFilters } from "../filters.ts";
import { filterFlag, formatFlag, noHeadingFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";

const COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];

type Order = (container: ContainerSummary) => string | number;

const ORDERS: Record<string, Order> = {
  command: (container) => container.command.join(" "),
  created: (container) => container.record.created,
  id: (container) => container.record.id,
  image: (container) => container.imageName,
  names: (container) => container.record.name,
  // The longest running first.
  runningfor: (container) => container.record.state.startedAt ?? "9",
  size: (container) => container.size?.rootFs ?? 0,
  status: (container) => container.state,
};

function sorted(
  containers: ContainerSummary[],
  key: string | undefined,
  docker: boolean,
): ContainerSummary[] {
  // The engine lists the oldest first, as podman does; docker begins with the newest.
  if (key === undefined) return docker ? containers.reverse() : containers;
  const order = ORDERS[key] as Order;
  return containers.sort((a, b) => {
    const [left, right] = [order(a), order(b)];
    return left < right ? -1 : left > right ? 1 : 0;
  });
}

export const psCommand = defineCommand({
  usage: "[options]",
  description: "Lists running containers, or all with --all.",
  examples: ["ps -a", 'ps --filter status=exited --format "{{.Names}} {{.Status}}"'],
  flags: {
    ...filterFlag,
    ...formatFlag,
    ...noHeadingFlag,
    ...noTruncFlag,
    ...quietFlag,
    all: { type: "bool", short: "a", help: "Also those that do not run" },
    external: { type: "bool", hidden: true, help: "No effect: there are no others" },
    last: { type: "int", short: "n", default: -1, value: "N", help: "The N created last, in whatever state" },
    latest: { type: "bool", short: "l", help: "The one created last, in whatever state" },
    ns: { type: "bool", hidden: true, unsupported: true, help: "Namespaces" },
    pod: { type: "bool", short: "p", hidden: true, unsupported: true, help: "Pods" },
    size: { type: "bool", short: "s", help: "Show sizes" },
    sort: { type: "string", value: "KEY", choices: Object.keys(ORDERS), help: "Order by this column" },
    sync: { type: "bool", hidden: true, help: "No effect: what is shown is always true" },
    watch: { type: "int", short: "w", value: "SECONDS", help: "Show again and again" },
  },
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    if (flags.quiet && flags.format !== undefined && !personality.docker) {
      throw fail("invalid-argument", "--quiet and --format cannot be used together", { reason: "arguments" });
    }
    const filters = parseFilters(flags.filter);
    const engine = await invocation.engine();
    const { list } = await import("../../engine/list.ts");
    const show = async (): Promise<void> => {
      const found = list(ctx, engine, {
        all: flags.all,
        filters,
        size: flags.size || flags.sort === "size",
        ...(flags.latest ? { latest: true } : {}),
        ...(flags.last < 0 ? {} : { last: flags.last }),
      });
      const rows = sorted(found, flags.sort, personality.docker).map(
        (item) => new ContainerRow(item, personality, flags["no-trunc"]),
      );
      if (flags.quiet) return rows.forEach((row) => out.line(row.ID));
      await printListing(invocation, {
        rows,
        format: flags.format,
        columns: flags.size ? [...COLUMNS, "Size"] : COLUMNS,
        headings: CONTAINER_HEADINGS,
        json: () => rows.map((row) => row.json()),
        noHeading: flags.noheading,
      });
    };
    if (flags.watch === undefined) return show();
    while (!ctx.signal.aborted) {
      out.write("\x1b[H\x1b[2J");
      await show();
      out.flush();
      await Bun.sleep(flags.watch * 1000);
    }
  },
});
