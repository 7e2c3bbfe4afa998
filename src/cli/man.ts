/** Manual pages (section 1) in roff, from the command table: what `tools/docs.ts` writes to docs/man. */
import type { AnyCommand } from "./command.ts";
import { canonicalPath, commandTable, type Entry, type EntryTable } from "./command-table.ts";
import type { FlagTable } from "./flags.ts";
import { globalFlags } from "./global-flags.ts";
import { flagHelp, flagValueWord, visibleFlags } from "./help.ts";

export interface ManPage {
  /** "berth-image-prune.1" */
  file: string;
  text: string;
}

/** Backslashes, hyphens and a dot or quote at the beginning of a line mean something to roff. */
function escape(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .split("\n")
    .map((line) => line.replace(/^([.'])/, "\\&$1"))
    .join("\n");
}

function head(path: string[], summary: string): string[] {
  const name = ["berth", ...path].join("-");
  return [
    `.TH "${escape(name.toUpperCase())}" "1" "" "berth" "User Commands"`,
    ".SH NAME",
    `${escape(name)} \\- ${escape(summary.charAt(0).toLowerCase() + summary.slice(1))}`,
  ];
}

function options(title: string, table: FlagTable): string[] {
  const flags = visibleFlags(table);
  if (flags.length === 0) return [];
  const entries = flags.flatMap(([name, spec]) => {
    const short = spec.short === undefined ? "" : `\\fB\\-${spec.short}\\fR, `;
    const value = flagValueWord(spec);
    return [
      ".TP",
      `${short}\\fB\\-\\-${escape(name)}\\fR${value === "" ? "" : `\\fI${escape(value)}\\fR`}`,
      escape(flagHelp(spec)),
    ];
  });
  return [`.SH ${title}`, ...entries];
}

function examples(command: AnyCommand): string[] {
  if (command.examples === undefined) return [];
  const lines = command.examples.flatMap((example) => [".PP", ".EX", escape(`$ berth ${example}`), ".EE"]);
  return [".SH EXAMPLES", ...lines];
}

const EXIT_STATUS = [
  ".SH EXIT STATUS",
  "0 for success, 125 for an error of berth itself, 126 and 127 for a command in a container that cannot be executed",
  "or found, 130 after Ctrl\\-C; \\fBrun\\fR, \\fBexec\\fR and \\fBstart \\-\\-attach\\fR give the status of the command.",
  "\\fBrm\\fR and \\fBrmi\\fR give 1 when there is no such thing and 2 when it is in use.",
];

function seeAlso(path: string[]): string[] {
  const parent = ["berth", ...path.slice(0, -1)].join("-");
  return [".SH SEE ALSO", `\\fB${escape(parent)}\\fR(1)`];
}

function commandPage(path: string[], entry: Entry, command: AnyCommand): ManPage {
  const lines = [
    ...head(path, entry.summary),
    ".SH SYNOPSIS",
    `\\fB${escape(["berth", ...path].join(" "))}\\fR ${escape(command.usage)}`.trimEnd(),
    ".SH DESCRIPTION",
    escape(command.description),
    ...options("OPTIONS", command.flags),
    ...examples(command),
    ...seeAlso(path),
  ];
  return { file: `${["berth", ...path].join("-")}.1`, text: `${lines.join("\n")}\n` };
}

function listing(path: string[], table: EntryTable): string[] {
  const rows = Object.entries(table)
    .filter(([, entry]) => entry.hidden !== true)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, entry]) => {
      const page = ["berth", ...canonicalPath([...path, name], entry)].join("-");
      return [".TP", `\\fB${escape(page)}\\fR(1)`, escape(entry.summary)];
    });
  return [".SH COMMANDS", ...rows];
}

function groupPage(path: string[], entry: Entry): ManPage {
  const lines = [
    ...head(path, entry.summary),
    ".SH SYNOPSIS",
    `\\fB${escape(["berth", ...path].join(" "))}\\fR COMMAND`,
    ...listing(path, entry.commands ?? {}),
    ...seeAlso(path),
  ];
  return { file: `${["berth", ...path].join("-")}.1`, text: `${lines.join("\n")}\n` };
}

function mainPage(): ManPage {
  const lines = [
    ...head([], "one container engine"),
    ".SH SYNOPSIS",
    "\\fBberth\\fR [options] COMMAND",
    ".SH DESCRIPTION",
    "Images, containers and networks without a daemon, in one program. Linked as docker or podman it keeps that",
    "command\\(aqs habits.",
    ...options("OPTIONS", globalFlags),
    ...listing([], commandTable),
    ".SH ENVIRONMENT",
    ".TP",
    "\\fBBERTH_ROOT\\fR, \\fBBERTH_RUN\\fR, \\fBBERTH_RUNTIME\\fR",
    "Used where \\fB\\-\\-root\\fR, \\fB\\-\\-run\\fR and \\fB\\-\\-runtime\\fR are not given.",
    ".TP",
    "\\fBBERTH_LOG_LEVEL\\fR, \\fBBERTH_DEBUG\\fR, \\fBBERTH_TRACE\\fR",
    "The log level; areas whose debug messages are printed whatever the level (registry,storage or all); 1 for \\fB\\-\\-trace\\fR.",
    ".TP",
    "\\fBREGISTRY_AUTH_FILE\\fR, \\fBCONTAINERS_REGISTRIES_CONF\\fR",
    "Used where \\fB\\-\\-authfile\\fR and \\fB\\-\\-registries\\-conf\\fR are not given.",
    ".TP",
    "\\fBNO_COLOR\\fR",
    "No colours.",
    ...EXIT_STATUS,
  ];
  return { file: "berth.1", text: `${lines.join("\n")}\n` };
}

async function pagesOf(table: EntryTable, path: string[]): Promise<ManPage[]> {
  const nested = Object.entries(table)
    .filter(([, entry]) => entry.hidden !== true)
    .map(async ([name, entry]) => {
      const here = [...path, name];
      if (canonicalPath(here, entry).length < here.length) return [];
      if (entry.load !== undefined) return [commandPage(here, entry, await entry.load())];
      return [groupPage(here, entry), ...(await pagesOf(entry.commands ?? {}, here))];
    });
  return (await Promise.all(nested)).flat();
}

/** All pages, in order of their file names. */
export async function manPages(): Promise<ManPage[]> {
  const pages = [mainPage(), ...(await pagesOf(commandTable, []))];
  return pages.sort((a, b) => (a.file < b.file ? -1 : 1));
}
