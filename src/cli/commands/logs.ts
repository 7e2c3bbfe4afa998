import { parseTimestamp } from "../../core/time.ts";
import { fail, isKind } from "../../core/error.ts";
import type { ContainerRecord } from "../../container/container.ts";
import type { LogLine } from "../../runtime/log-line.ts";
import type { Engine } from "../../engine/engine.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { latestFlag } from "../select.ts";
import { paint, wantsColor, type Color } from "../terminal.ts";

const flags = {
  ...latestFlag,
  color: { type: "bool", help: "A colour for each container" },
  details: { type: "bool", hidden: true, help: "No effect" },
  follow: { type: "bool", short: "f", help: "Go on with what comes" },
  names: { type: "bool", short: "n", help: "Put the container's name in front of each line" },
  since: {
    type: "string",
    value: "TIME",
    help: "Only what is newer: a time, Unix seconds, or an age such as 10m",
  },
  tail: { type: "string", value: "N", default: "all", help: "Only the last N lines" },
  timestamps: { type: "bool", short: "t", help: "Put the time in front of each line" },
  until: { type: "string", value: "TIME", help: "Only what is older" },
} as const;

const COLORS: Color[] = ["green", "blue", "magenta", "cyan", "yellow", "red"];

function tailOf(text: string): number | undefined {
  if (text === "all" || /^-\d+$/.test(text)) return undefined;
  if (!/^\d+$/.test(text)) {
    throw fail("invalid-argument", `invalid argument "${text}" for "--tail" flag: not a number of lines`, {
      reason: "flag-value",
    });
  }
  return Number(text);
}

const NEWLINE = new Uint8Array([10]);

/** Writes a line to the stream it came from; a partial one gets no newline, the rest of it no second prefix. */
class LineWriter {
  readonly #out: Invocation["out"];
  readonly #prefix: string;
  readonly #timestamps: boolean;
  readonly #open = { stdout: false, stderr: false };

  constructor(out: Invocation["out"], prefix: string, timestamps: boolean) {
    this.#out = out;
    this.#prefix = prefix;
    this.#timestamps = timestamps;
  }

  write(line: LogLine): void {
    const begins = !this.#open[line.stream];
    const head = begins ? this.#prefix + (this.#timestamps ? `${zulu(line.time)} ` : "") : "";
    const parts = [Buffer.from(head), line.text, ...(line.partial ? [] : [NEWLINE])];
    const bytes = Buffer.concat(parts);
    if (line.stream === "stdout") this.#out.bytes(bytes);
    else this.#out.errorBytes(bytes);
    this.#open[line.stream] = line.partial;
  }
}

/** The monitor writes UTC as "+00:00", docker and podman as "Z". */
function zulu(time: string): string {
  return time.replace(/\+00:00$/, "Z");
}

interface Prefix {
  names: boolean;
  color: boolean;
  /** Lines of more than one container are told apart in any case. */
  several: boolean;
}

function prefixOf(record: ContainerRecord, index: number, values: Prefix): string {
  if (!values.names && !values.color && !values.several) return "";
  const text = `${values.names || values.color ? record.name : record.id.slice(0, 12)} `;
  return values.color && wantsColor(1) ? paint(COLORS[index % COLORS.length] as Color, text) : text;
}

async function names(engine: Engine, args: string[], latest: boolean): Promise<string[]> {
  if (!latest) {
    if (args.length > 0) return args;
    throw fail("invalid-argument", "specify at least one container name or ID to log", {
      reason: "arguments",
    });
  }
  const list = await import("../../engine/list.ts");
  return [list.latest(engine).id];
}

export const logsCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description:
    "Shows what containers have printed: their standard output on ours, their standard error on ours.",
  examples: ["logs -f --tail 20 web"],
  flags,
  args: { min: 0 },
  completes: { first: "containers" },
  async run(invocation) {
    const { ctx, flags: values, out } = invocation;
    const tail = tailOf(values.tail);
    const request = {
      follow: values.follow,
      ...(tail === undefined ? {} : { tail }),
      ...(values.since === undefined ? {} : { sinceMs: parseTimestamp(values.since) }),
      ...(values.until === undefined ? {} : { untilMs: parseTimestamp(values.until) }),
    };
    const engine = await invocation.engine();
    const containers = await names(engine, invocation.args, values.latest);
    const { logs } = await import("../../engine/logs.ts");
    const { resolveContainer } = await import("../../engine/list.ts");
    const records = containers.map((container) => resolveContainer(engine, container));
    const prefix = { names: values.names, color: values.color, several: records.length > 1 };
    const readers = records.map(async (record, index) => {
      const writer = new LineWriter(out, prefixOf(record, index, prefix), values.timestamps);
      for await (const line of logs(ctx, engine, { container: record.id, ...request })) writer.write(line);
    });
    try {
      await Promise.all(readers);
    } catch (error) {
      if (!isKind(error, "canceled")) throw error;
    }
  },
});
