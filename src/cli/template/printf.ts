/** Go's fmt for the values templates meet: Sprint, Sprintln, Sprintf with flags, width, precision, `*` and `[n]`. */
import { quote } from "./quote.ts";
import { isObject, type Shapes, sortedEntries } from "./value.ts";

interface Spec {
  plus: boolean;
  minus: boolean;
  sharp: boolean;
  space: boolean;
  zero: boolean;
  width: number | undefined;
  precision: number | undefined;
  verb: string;
  /** %+v: names of fields instead of signs. */
  named: boolean;
}

const PLAIN: Spec = {
  plus: false,
  minus: false,
  sharp: false,
  space: false,
  zero: false,
  width: undefined,
  precision: undefined,
  verb: "v",
  named: false,
};

function pad(text: string, spec: Spec, zeroAllowed = true): string {
  const missing = (spec.width ?? 0) - Array.from(text).length;
  if (missing <= 0) return text;
  if (spec.minus) return text + " ".repeat(missing);
  if (!spec.zero || !zeroAllowed) return " ".repeat(missing) + text;
  const sign = /^[+-]/.exec(text)?.[0] ?? "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

function signed(negative: boolean, digits: string, spec: Spec): string {
  const sign = negative ? "-" : spec.plus ? "+" : spec.space ? " " : "";
  return sign + digits;
}

const PREFIX: Record<string, string> = { x: "0x", X: "0X", o: "0", b: "0b" };
const BASE: Record<string, number> = { d: 10, v: 10, b: 2, o: 8, O: 8, x: 16, X: 16 };

function formatInt(value: number | bigint, spec: Spec): string | undefined {
  const { verb } = spec;
  if (verb === "c") return pad(String.fromCodePoint(Number(value)), spec);
  if (verb === "q") return pad(quote(String.fromCodePoint(Number(value)), "'"), spec);
  if (verb === "U") return pad(`U+${Number(value).toString(16).toUpperCase().padStart(4, "0")}`, spec);
  const base = BASE[verb];
  if (base === undefined) return undefined;
  const negative = value < 0;
  let digits = (negative ? -BigInt(value) : BigInt(value)).toString(base);
  if (verb === "X") digits = digits.toUpperCase();
  if (spec.precision !== undefined) digits = digits.padStart(spec.precision, "0");
  if (verb === "O") digits = `0o${digits}`;
  if (spec.sharp) digits = (PREFIX[verb] ?? "") + digits;
  return pad(signed(negative, digits, spec), spec, spec.precision === undefined);
}

/** From this power of ten on %v and %g write an exponent: strconv decides so when it has many digits. */
const SHORTEST_LIMIT = 6;

/** Go writes at least two digits of exponent. */
function exponent(text: string): string {
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

function general(value: number, precision: number | undefined, sharp: boolean): string {
  const scientific = value.toExponential(precision === undefined ? undefined : Math.max(precision - 1, 0));
  const power = Number(scientific.slice(scientific.indexOf("e") + 1));
  // Without a precision the shortest digits are written, but the exponent is decided as for six.
  if (power < -4 || power >= (precision === undefined ? SHORTEST_LIMIT : Math.max(precision, 1))) {
    return exponent(sharp ? scientific : scientific.replace(/\.?0+e/, "e"));
  }
  const plain = value.toFixed(Math.max(0, (precision ?? 17) - 1 - power));
  if (precision === undefined) return decimal(value);
  return sharp || !plain.includes(".") ? plain : plain.replace(/\.?0+$/, "");
}

/** As toFixed, but a value just between two goes to the even one, as in Go and C. */
function fixed(value: number, digits: number): string {
  const rounded = value.toFixed(digits);
  // All digits of a double that can be a tie: one more than asked for, then only zeros.
  // oxlint-disable-next-line number-arg-out-of-range -- the limit is 100 since ES2018
  const exact = value.toFixed(100);
  const tail = exact.slice(exact.indexOf(".") + 1 + digits);
  const isTie = digits < 100 && /^50*$/.test(tail);
  if (!isTie) return rounded;
  const below = exact.slice(0, exact.length - tail.length).replace(/\.$/, "");
  return Number(below.at(-1)) % 2 === 0 ? below : rounded;
}

/** Shortest decimal without an exponent. */
function decimal(value: number): string {
  const text = String(value);
  const match = /^(\d)(?:\.(\d+))?e-(\d+)$/.exec(text);
  if (match === null) return text;
  return `0.${"0".repeat(Number(match[3]) - 1)}${match[1]}${match[2] ?? ""}`;
}

function formatFloat(value: number, spec: Spec): string | undefined {
  const size = Math.abs(value);
  let text: string;
  switch (spec.verb) {
    case "v":
    case "g":
    case "G":
      text = general(size, spec.precision, spec.sharp);
      break;
    case "e":
    case "E":
      text = exponent(size.toExponential(spec.precision ?? 6));
      break;
    case "f":
    case "F":
      text = fixed(size, spec.precision ?? 6);
      break;
    default:
      return undefined;
  }
  if (spec.verb === "E" || spec.verb === "G") text = text.toUpperCase();
  return pad(signed(value < 0, text, spec), spec);
}

function formatString(value: string, spec: Spec): string | undefined {
  const cut = spec.precision === undefined ? value : Array.from(value).slice(0, spec.precision).join("");
  switch (spec.verb) {
    case "v":
      return pad(spec.sharp ? quote(cut) : cut, spec);
    case "s":
      return pad(cut, spec);
    case "q":
      return pad(spec.sharp && !cut.includes("`") ? `\`${cut}\`` : quote(cut, '"', spec.plus), spec);
    case "x":
    case "X": {
      const hex = Buffer.from(cut).toString("hex");
      return pad(spec.verb === "X" ? hex.toUpperCase() : hex, spec);
    }
    default:
      return undefined;
  }
}

const INT_TYPE: Record<string, string> = { bool: "bool", int: "int", float: "float64", string: "string" };

export class Formatter {
  readonly #shapes: Shapes;

  constructor(shapes: Shapes) {
    this.#shapes = shapes;
  }

  /** Operands side by side; a space where neither neighbour is text. */
  print(values: unknown[]): string {
    let text = "";
    for (const [index, value] of values.entries()) {
      if (index > 0 && typeof value !== "string" && typeof values[index - 1] !== "string") text += " ";
      text += this.value(value);
    }
    return text;
  }

  println(values: unknown[]): string {
    return `${values.map((value) => this.value(value)).join(" ")}\n`;
  }

  /** %v. */
  value(value: unknown): string {
    return this.#format(value, PLAIN);
  }

  printf(format: string, values: unknown[]): string {
    return new Sprintf(format, values, (value, spec) => this.#format(value, spec)).run();
  }

  #format(value: unknown, spec: Spec): string {
    const kind = this.#shapes.kind(value);
    const text = this.#known(kind, value, spec);
    if (text !== undefined) return text;
    if (kind === "nil") return `%!${spec.verb}(<nil>)`;
    return `%!${spec.verb}(${INT_TYPE[kind] ?? kind}=${this.value(value)})`;
  }

  #known(kind: string, value: unknown, spec: Spec): string | undefined {
    switch (kind) {
      case "nil":
        return spec.verb === "v" ? pad("<nil>", spec) : undefined;
      case "bool":
        return "tv".includes(spec.verb) ? pad(String(value), spec) : undefined;
      case "int":
        return formatInt(value as number | bigint, spec);
      case "float":
        return formatFloat(value as number, spec);
      case "string":
        return formatString(value as string, spec);
      case "list":
        return `[${(value as unknown[]).map((item) => this.#format(item, spec)).join(" ")}]`;
      case "map":
        return `map[${this.#pairs(sortedEntries(value as object), spec, true)}]`;
      case "struct":
        return `{${this.#pairs(Object.entries(value as object), spec, spec.named)}}`;
      default:
        return "func";
    }
  }

  #pairs(entries: [string, unknown][], spec: Spec, named: boolean): string {
    const parts = entries.map(([key, value]) => {
      const text = this.#format(isObject(value) ? this.#shapes.reached(key, value) : value, spec);
      return named ? `${key}:${text}` : text;
    });
    return parts.join(" ");
  }
}

const DIRECTIVE =
  /%([+\-# 0]*)(?:(\[\d+\])?(\*)|(\d+))?(?:(\.)(?:(\[\d+\])?(\*)|(\d+))?)?(\[\d+\])?([^]|$)/uy;

/** One run over a format string; holds the number of the next argument. */
class Sprintf {
  readonly #format: string;
  readonly #values: unknown[];
  readonly #one: (value: unknown, spec: Spec) => string;
  #next = 0;
  #reordered = false;

  constructor(format: string, values: unknown[], one: (value: unknown, spec: Spec) => string) {
    this.#format = format;
    this.#values = values;
    this.#one = one;
  }

  run(): string {
    let text = "";
    let offset = 0;
    for (;;) {
      const percent = this.#format.indexOf("%", offset);
      if (percent < 0) break;
      text += this.#format.slice(offset, percent);
      DIRECTIVE.lastIndex = percent;
      const match = DIRECTIVE.exec(this.#format) as RegExpExecArray;
      text += this.#directive(match);
      offset = percent + match[0].length;
    }
    text += this.#format.slice(offset);
    return text + this.#extra();
  }

  #directive(match: RegExpExecArray): string {
    const [, flags = "", widthIndex, widthStar, width, dot, precisionIndex, precisionStar, precision, index] =
      match;
    const verb = match[10] as string;
    if (verb === "") return "%!(NOVERB)";
    const spec: Spec = {
      plus: flags.includes("+") && verb !== "v",
      named: verb === "v" && /[+#]/.test(flags),
      minus: flags.includes("-"),
      sharp: flags.includes("#"),
      space: flags.includes(" "),
      zero: flags.includes("0"),
      width: widthStar === undefined ? number(width) : this.#star(widthIndex),
      precision:
        precisionStar === undefined
          ? number(dot === undefined ? undefined : (precision ?? "0"))
          : this.#star(precisionIndex),
      verb,
    };
    if (spec.width !== undefined && spec.width < 0) {
      spec.minus = true;
      spec.width = -spec.width;
    }
    if (verb === "%") return "%";
    this.#jump(index);
    if (this.#next >= this.#values.length)
      return index === undefined ? `%!${verb}(MISSING)` : `%!${verb}(BADINDEX)`;
    const value = this.#values[this.#next++];
    return verb === "T" ? typeOf(value) : this.#one(value, spec);
  }

  #jump(index: string | undefined): void {
    if (index === undefined) return;
    this.#reordered = true;
    const wanted = Number(index.slice(1, -1)) - 1;
    this.#next = wanted < 0 ? this.#values.length : wanted;
  }

  #star(index: string | undefined): number | undefined {
    this.#jump(index);
    const value = this.#values[this.#next++];
    return typeof value === "number" && Number.isInteger(value) ? value : undefined;
  }

  #extra(): string {
    if (this.#reordered || this.#next >= this.#values.length) return "";
    const rest = this.#values.slice(this.#next).map((value) => `${typeOf(value)}=${this.#one(value, PLAIN)}`);
    return `%!(EXTRA ${rest.join(", ")})`;
  }
}

function typeOf(value: unknown): string {
  if (value === null || value === undefined) return "<nil>";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float64";
  if (typeof value === "bigint") return "int64";
  if (typeof value === "string") return "string";
  return Array.isArray(value) ? "[]interface {}" : "map[string]interface {}";
}

function number(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Math.min(Number(text), 1_000_000);
}
