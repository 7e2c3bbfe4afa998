/** What a half-typed command line could go on with; the answer to `__complete`. */
import type { Ctx } from "../core/ctx.ts";
import type { Engine } from "../engine/engine.ts";
import type { AnyCommand, Completes } from "./command.ts";
import { commandTable, type EntryTable, findEntry } from "./command-table.ts";
import { type FlagSpec, type FlagTable, parseFlags } from "./flags.ts";
import { globalFlags } from "./global-flags.ts";
import { visibleFlags } from "./help.ts";

/** Tells the shell's script to add names of files. */
const FILES = ":files";

export interface CompletionSource {
  ctx: Ctx;
  engine: () => Promise<Engine>;
}

function described(word: string, text: string): string {
  return `${word}\t${text}`;
}

/** Flags that begin so, long ones first choice; with their help. */
function flagNames(table: FlagTable, prefix: string): string[] {
  return visibleFlags(table)
    .map(([name, spec]) => described(`--${name}`, spec.help))
    .filter((line) => line.startsWith(prefix));
}

function commandNames(table: EntryTable, prefix: string): string[] {
  return Object.entries(table)
    .filter(([name, entry]) => entry.hidden !== true && name.startsWith(prefix))
    .map(([name, entry]) => described(name, entry.summary));
}

async function objects(source: CompletionSource, kind: Completes): Promise<string[]> {
  const engine = await source.engine();
  const found: string[] = [];
  if (kind === "containers" || kind === "running" || kind === "objects") {
    const { list } = await import("../engine/list.ts");
    const all = list(source.ctx, engine, { all: kind !== "running", filters: [] });
    found.push(...all.map(({ record, status }) => described(record.name, status)));
  }
  if (kind === "images" || kind === "objects") {
    const names = [...engine.images.list(), ...engine.manifests.list()].flatMap((image) => image.names);
    // Short names as people type them.
    found.push(...names, ...names.map(shortName));
  }
  if (kind === "networks" || kind === "objects") found.push(...engine.network.list().map(({ name }) => name));
  return [...new Set(found)];
}

function shortName(name: string): string {
  return name.replace(/^(docker\.io\/library|docker\.io|localhost)\//, "");
}

/** The flag whose value is being typed, if the word before asks for one. */
function pendingFlag(table: FlagTable, before: string | undefined): FlagSpec | undefined {
  if (before === undefined || !before.startsWith("-") || before.includes("=")) return undefined;
  const name = before.replace(/^-+/, "");
  const isLong = before.startsWith("--");
  const found = Object.entries(table).find(([key, spec]) =>
    isLong ? key === name || spec.aliases?.includes(name) === true : spec.short === before.at(-1),
  );
  if (found === undefined || found[1].type === "bool" || found[1].noValue !== undefined) return undefined;
  return found[1];
}

function flagValues(spec: FlagSpec): string[] {
  if (spec.choices !== undefined) return [...spec.choices];
  return /FILE|DIR|PATH/.test(spec.value ?? "") ? [FILES] : [];
}

async function inCommand(command: AnyCommand, words: string[], source: CompletionSource): Promise<string[]> {
  const word = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const table: FlagTable = { ...globalFlags, ...command.flags };
  const interspersed = command.interspersed !== false;
  const { args } = parseFlags(table, before, { interspersed, lenient: true });
  const flagsAllowed = interspersed || args.length === 0;
  if (flagsAllowed) {
    const pending = pendingFlag(table, before.at(-1));
    if (pending !== undefined)
      return flagValues(pending).filter((value) => value === FILES || value.startsWith(word));
    if (word.startsWith("-")) return flagNames(command.flags, word);
  }
  const { first = "none", rest } = command.completes ?? {};
  return argumentsOf(args.length === 0 ? first : (rest ?? first), word, source);
}

async function argumentsOf(
  kind: Completes | readonly string[],
  word: string,
  source: CompletionSource,
): Promise<string[]> {
  if (typeof kind !== "string") return kind.filter((choice) => choice.startsWith(word));
  if (kind === "none" || kind === "commands") return [];
  if (kind === "files") return [FILES];
  return (await objects(source, kind)).filter((line) => line.startsWith(word));
}

/** `words` begin after the program's name; the last one is what is being typed, possibly empty. */
export async function candidates(words: readonly string[], source: CompletionSource): Promise<string[]> {
  let table: EntryTable = commandTable;
  const { args } = parseFlags(globalFlags, words.slice(0, -1), { interspersed: false, lenient: true });
  const word = words.at(-1) ?? "";
  for (const [index, name] of args.entries()) {
    const entry = findEntry(table, name)?.entry;
    if (entry === undefined) return [];
    if (entry.load !== undefined)
      return inCommand(await entry.load(), [...args.slice(index + 1), word], source);
    table = entry.commands ?? {};
  }
  const pending = args.length === 0 ? pendingFlag(globalFlags, words.at(-2)) : undefined;
  if (pending !== undefined)
    return flagValues(pending).filter((value) => value === FILES || value.startsWith(word));
  if (word.startsWith("-") && table === commandTable) return flagNames(globalFlags, word);
  return commandNames(table, word);
}
