/**
 * Flags as tables, and the parser with pflag's grammar (ADR 0002): `--name value`, `--name=value`,
 * `-n value`, `-nvalue`, `-n=value`, grouped booleans `-itv x`, `--`, and commands whose flags stop
 * at the first argument. The same table feeds parsing, help, completion and the man pages.
 */
import { fail } from "../core/error.ts";
import { parseDuration } from "../core/time.ts";
import { suggestion } from "./suggest.ts";
import { parseSize } from "./units.ts";

export type FlagType = "bool" | "string" | "int" | "float" | "list" | "csv" | "map" | "duration" | "size";

export interface FlagSpec {
  /**
   * `list` may be repeated; `csv` also splits at commas; `map` is repeated K=V; `duration` is in
   * milliseconds; `size` in bytes, counted in powers of 1024.
   */
  type: FlagType;
  short?: string;
  default?: boolean | string | number;
  /** Value when the flag stands without one; then a value needs "=". */
  noValue?: string;
  /** Word for the value in the help; the type's own by default. */
  value?: string;
  help: string;
  choices?: readonly string[];
  aliases?: readonly string[];
  hidden?: boolean;
  /** What to use instead; printed as a warning. */
  deprecated?: string;
  /** Known from docker or podman, but refused: nothing is silently ignored. */
  unsupported?: boolean;
}

export type FlagTable = Readonly<Record<string, FlagSpec>>;

interface ValueOfType {
  bool: boolean;
  string: string;
  int: number;
  float: number;
  list: string[];
  csv: string[];
  map: Record<string, string>;
  duration: number;
  size: number;
}
type Always = "bool" | "list" | "csv" | "map";
type ValueOf<F extends FlagSpec> = F["type"] extends Always
  ? ValueOfType[F["type"]]
  : F extends { default: string | number }
    ? ValueOfType[F["type"]]
    : ValueOfType[F["type"]] | undefined;
export type FlagValues<T extends FlagTable> = { -readonly [K in keyof T]: ValueOf<T[K]> };

export interface ParsedFlags {
  values: Record<string, unknown>;
  args: string[];
  changed: Set<string>;
  /** Lines for stderr about deprecated flags. */
  warnings: string[];
  /** `--help` or `-h` where nothing else claims it was among the flags. */
  help: boolean;
}

export interface ParseOptions {
  interspersed?: boolean;
  /** For completion: ignore what is wrong. */
  lenient?: boolean;
}

/** How a flag is named in messages: "-t, --time". */
function label(name: string, spec: FlagSpec): string {
  return spec.short === undefined ? `--${name}` : `-${spec.short}, --${name}`;
}

function invalid(name: string, spec: FlagSpec, value: string, why: string): Error {
  return fail("invalid-argument", `invalid argument "${value}" for "${label(name, spec)}" flag: ${why}`, {
    reason: "flag-value",
  });
}

function parseBool(name: string, spec: FlagSpec, value: string): boolean {
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw invalid(name, spec, value, 'must be "true" or "false"');
}

function parseNumber(name: string, spec: FlagSpec, value: string): number {
  if (spec.type === "int" && !/^[+-]?\d+$/.test(value))
    throw invalid(name, spec, value, "not a whole number");
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value)) throw invalid(name, spec, value, "not a number");
  const number = Number(value);
  if (!Number.isFinite(number) || (spec.type === "int" && !Number.isSafeInteger(number))) {
    throw invalid(name, spec, value, "number out of range");
  }
  return number;
}

/** Splits at commas as a line of CSV: a quoted part keeps its commas. */
export function splitCsv(text: string): string[] {
  if (text === "") return [];
  const parts: string[] = [];
  let part = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c === '"' && quoted && text[i + 1] === '"') {
      part += text[++i];
    } else if (c === '"' && (quoted || part === "")) {
      quoted = !quoted;
    } else if (c === "," && !quoted) {
      parts.push(part);
      part = "";
    } else {
      part += c;
    }
  }
  parts.push(part);
  return parts;
}

function assign(parsed: ParsedFlags, name: string, spec: FlagSpec, value: string): void {
  const { values } = parsed;
  if (spec.choices !== undefined && !spec.choices.includes(value)) {
    throw invalid(name, spec, value, `must be one of ${spec.choices.join(", ")}`);
  }
  try {
    values[name] = convert(values[name], name, spec, value);
  } catch (error) {
    if (error instanceof Error && "reason" in error && error.reason === "flag-value") throw error;
    throw invalid(name, spec, value, error instanceof Error ? error.message : String(error));
  }
}

function convert(old: unknown, name: string, spec: FlagSpec, value: string): unknown {
  switch (spec.type) {
    case "bool":
      return parseBool(name, spec, value);
    case "int":
    case "float":
      return parseNumber(name, spec, value);
    case "duration":
      return parseDuration(value);
    case "size":
      return parseSize(value);
    case "list":
      return [...(old as string[]), value];
    case "csv":
      return [...(old as string[]), ...splitCsv(value)];
    case "map":
      return { ...(old as Record<string, string>), ...keyValue(name, spec, value) };
    case "string":
      return value;
  }
}

function keyValue(name: string, spec: FlagSpec, value: string): Record<string, string> {
  const equals = value.indexOf("=");
  if (equals <= 0) throw invalid(name, spec, value, "must be KEY=VALUE");
  return { [value.slice(0, equals)]: value.slice(equals + 1) };
}

function startValue(spec: FlagSpec): unknown {
  if (spec.type === "list" || spec.type === "csv") return [];
  if (spec.type === "map") return {};
  return spec.default ?? (spec.type === "bool" ? false : undefined);
}

/** One pass over the arguments; holds the position because a flag may take the next one. */
class FlagParser {
  readonly parsed: ParsedFlags = { values: {}, args: [], changed: new Set(), warnings: [], help: false };
  readonly #table: FlagTable;
  readonly #argv: readonly string[];
  readonly #lenient: boolean;
  #next = 0;

  constructor(table: FlagTable, argv: readonly string[], lenient: boolean) {
    this.#table = table;
    this.#argv = argv;
    this.#lenient = lenient;
    for (const name in table) this.parsed.values[name] = startValue(table[name] as FlagSpec);
  }

  run(interspersed: boolean): ParsedFlags {
    const { args } = this.parsed;
    while (this.#next < this.#argv.length) {
      const arg = this.#argv[this.#next++] as string;
      if (arg === "--") break;
      if (arg.startsWith("--")) {
        this.#tolerant(() => this.#long(arg));
      } else if (arg.startsWith("-") && arg !== "-") {
        this.#tolerant(() => this.#shorts(arg));
      } else {
        args.push(arg);
        if (!interspersed) break;
      }
    }
    for (; this.#next < this.#argv.length; this.#next++) args.push(this.#argv[this.#next] as string);
    return this.parsed;
  }

  #tolerant(body: () => void): void {
    try {
      body();
    } catch (error) {
      if (!this.#lenient) throw error;
    }
  }

  #long(arg: string): void {
    const equals = arg.indexOf("=");
    const given = arg.slice(2, equals < 0 ? undefined : equals);
    const name = this.#find(given);
    if (name === undefined) {
      if (given === "help") return void (this.parsed.help = true);
      throw unknownFlag(given, this.#table);
    }
    const spec = this.#table[name] as FlagSpec;
    if (equals >= 0) return this.#set(name, spec, arg.slice(equals + 1));
    this.#set(name, spec, impliedValue(spec) ?? this.#take(`flag needs an argument: --${given}`));
  }

  /** `-itv x`: booleans may be grouped; the first flag with a value takes the rest. */
  #shorts(arg: string): void {
    for (let i = 1; i < arg.length; i++) {
      const letter = arg[i] as string;
      const name = this.#findShort(letter);
      if (name === undefined) {
        if (letter === "h") return void (this.parsed.help = true);
        throw fail("invalid-argument", `unknown shorthand flag: '${letter}' in ${arg}`, {
          reason: "unknown-flag",
        });
      }
      const spec = this.#table[name] as FlagSpec;
      const rest = arg.slice(i + 1);
      if (rest.startsWith("=")) return this.#set(name, spec, rest.slice(1));
      const implied = impliedValue(spec);
      if (implied === undefined) {
        const value = rest === "" ? this.#take(`flag needs an argument: '${letter}' in ${arg}`) : rest;
        return this.#set(name, spec, value);
      }
      this.#set(name, spec, implied);
    }
  }

  #take(message: string): string {
    const value = this.#argv[this.#next++];
    if (value === undefined) throw fail("invalid-argument", message, { reason: "flag-needs-value" });
    return value;
  }

  #set(name: string, spec: FlagSpec, value: string): void {
    const { changed, warnings } = this.parsed;
    if (spec.unsupported === true) {
      throw fail("unimplemented", `"--${name}" is not supported yet`, { reason: "flag-unsupported" });
    }
    if (spec.deprecated !== undefined && !changed.has(name)) {
      warnings.push(`Flag --${name} has been deprecated, ${spec.deprecated}`);
    }
    assign(this.parsed, name, spec, value);
    changed.add(name);
  }

  #find(name: string): string | undefined {
    if (Object.hasOwn(this.#table, name)) return name;
    for (const key in this.#table) if (this.#table[key]?.aliases?.includes(name) === true) return key;
    return undefined;
  }

  #findShort(letter: string): string | undefined {
    for (const key in this.#table) if (this.#table[key]?.short === letter) return key;
    return undefined;
  }
}

function impliedValue(spec: FlagSpec): string | undefined {
  return spec.noValue ?? (spec.type === "bool" ? "true" : undefined);
}

function unknownFlag(name: string, table: FlagTable): Error {
  const names = Object.keys(table).filter((key) => table[key]?.hidden !== true);
  const near = suggestion(name, names);
  return fail("invalid-argument", `unknown flag: --${name}`, {
    reason: "unknown-flag",
    ...(near === undefined ? {} : { hint: `did you mean --${near}?` }),
  });
}

/** Errors: invalid-argument for what the grammar or a type refuses, unimplemented for flags berth only knows by name. */
export function parseFlags(
  table: FlagTable,
  argv: readonly string[],
  options: ParseOptions = {},
): ParsedFlags {
  return new FlagParser(table, argv, options.lenient === true).run(options.interspersed !== false);
}
