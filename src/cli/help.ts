/** `--help`, made from the command table and the flag tables. */
import type { AnyCommand } from "./command.ts";
import type { Category, EntryTable } from "./command-table.ts";
import type { FlagSpec, FlagTable, FlagType } from "./flags.ts";
import { globalFlags } from "./global-flags.ts";

const HEADINGS: Record<Category, string> = {
  containers: "Containers",
  images: "Images",
  networks: "Networks",
  system: "System",
};

const VALUE_WORD: Record<FlagType, string> = {
  bool: "",
  string: "TEXT",
  int: "N",
  float: "N",
  list: "TEXT",
  csv: "TEXT",
  map: "KEY=VALUE",
  duration: "DURATION",
  size: "SIZE",
};

const LONGEST_LINE = 110;

/** Between words; a line break of the author's stays. */
function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines = [""];
    for (const word of paragraph.split(" ")) {
      const line = lines.at(-1) as string;
      if (line === "") lines[lines.length - 1] = word;
      else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
      else lines.push(word);
    }
    return lines;
  });
}

/** Two columns, the second aligned. */
function columns(rows: [string, string][], indent = "  "): string[] {
  const width = Math.min(34, Math.max(0, ...rows.map(([left]) => left.length)));
  const margin = `\n${indent}${" ".repeat(width)}  `;
  return rows.map(([left, right]) => {
    const gap = left.length > width ? margin : `${" ".repeat(width - left.length)}  `;
    return `${indent}${left}${gap}${wrap(right, LONGEST_LINE - margin.length).join(margin)}`.trimEnd();
  });
}

/** The value's word, in brackets where it may be left out. */
export function flagValueWord(spec: FlagSpec): string {
  const word = spec.value ?? VALUE_WORD[spec.type];
  if (word === "") return "";
  return spec.noValue === undefined ? ` ${word}` : `[=${word}]`;
}

function flagLeft(name: string, spec: FlagSpec): string {
  const short = spec.short === undefined ? "    " : `-${spec.short}, `;
  return `${short}--${name}${flagValueWord(spec)}`;
}

/** The help text and the default, where there is one to speak of. */
export function flagHelp(spec: FlagSpec): string {
  const { default: fallback } = spec;
  if (fallback === undefined || fallback === false || fallback === "") return spec.help;
  return `${spec.help} (default ${typeof fallback === "string" ? `"${fallback}"` : fallback})`;
}

export function visibleFlags(table: FlagTable): [string, FlagSpec][] {
  return Object.entries(table)
    .filter(([, spec]) => spec.hidden !== true && spec.unsupported !== true && spec.deprecated === undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function flagLines(table: FlagTable): string[] {
  return columns(visibleFlags(table).map(([name, spec]) => [flagLeft(name, spec), flagHelp(spec)]));
}

function entryLines(table: EntryTable, category?: Category): string[] {
  const rows = Object.entries(table)
    .filter(([, entry]) => entry.hidden !== true && (category === undefined || entry.category === category))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, entry]): [string, string] => [name, entry.summary]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, summary]) => `  ${name.padEnd(width)}  ${summary}`);
}

/** Help of the program (`path` empty) or of a group. */
export function groupHelp(program: string, path: string[], table: EntryTable): string {
  const name = [program, ...path].join(" ");
  const lines: string[] = [];
  if (path.length > 0) {
    lines.push(`Usage: ${name} COMMAND`, "", "Commands:", ...entryLines(table));
  } else {
    lines.push(`Usage: ${name} [options] COMMAND`, "");
    lines.push("One container engine: images, containers and networks, without a daemon.");
    for (const [category, heading] of Object.entries(HEADINGS)) {
      const entries = entryLines(table, category as Category);
      if (entries.length > 0) lines.push("", `${heading}:`, ...entries);
    }
    lines.push("", "Options:", ...flagLines(globalFlags));
  }
  lines.push("", `'${name} COMMAND --help' tells more about a command.`);
  return `${lines.join("\n")}\n`;
}

export function commandHelp(program: string, path: string[], command: AnyCommand): string {
  const lines = [`Usage: ${[program, ...path, command.usage].join(" ").trimEnd()}`, ""];
  lines.push(...wrap(command.description, LONGEST_LINE));
  if (visibleFlags(command.flags).length > 0) lines.push("", "Options:", ...flagLines(command.flags));
  const examples = command.examples ?? [];
  if (examples.length > 0)
    lines.push("", "Examples:", ...examples.map((example) => `  ${program} ${example}`));
  return `${lines.join("\n")}\n`;
}
