/** The functions of a template: Go's built-in ones and those docker and podman add. */
import { escapeHtml, escapeJs, escapeQuery } from "./escape.ts";
import { compareOrder, isEqual, TypeMismatch } from "./compare.ts";
import { Formatter } from "./printf.ts";
import { isMapField, isObject, isTrue, mapGet, type Shapes, sizeOfMap, sortedEntries } from "./value.ts";

export interface TemplateFunction {
  min: number;
  max: number;
  call(shapes: Shapes, args: unknown[]): unknown;
}

const ANY = Number.POSITIVE_INFINITY;

function fn(min: number, max: number, call: TemplateFunction["call"]): TemplateFunction {
  return { min, max, call };
}

function text(shapes: Shapes, value: unknown): string {
  if (typeof value === "string") return value;
  throw new TypeMismatch(`wrong type for value; expected string; got ${shapes.typeName(value)}`);
}

function integer(shapes: Shapes, value: unknown): number {
  if (typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value)))
    return Number(value);
  throw new TypeMismatch(`wrong type for value; expected int; got ${shapes.typeName(value)}`);
}

interface JsonLook {
  indent?: string;
  /** The value itself is a map. */
  isMap?: boolean;
}

/** JSON as Go's encoder writes it without HTML escaping: maps have their keys in order, 64-bit numbers stay numbers. */
export function toJson(value: unknown, { indent, isMap = false }: JsonLook = {}): string {
  const json = JSON.stringify(
    value ?? null,
    (key, item: unknown) => {
      if (typeof item === "bigint") return Number(item);
      if (!isObject(item) || Array.isArray(item)) return item;
      const sorts = item instanceof Map || isMapField(key) || (key === "" && isMap);
      return sorts ? Object.fromEntries(sortedEntries(item)) : item;
    },
    indent,
  );
  return json ?? "null";
}

function length(shapes: Shapes, value: unknown): number {
  const kind = shapes.kind(value);
  if (kind === "string") return Buffer.byteLength(value as string);
  if (kind === "list") return (value as unknown[]).length;
  if (kind === "map") return sizeOfMap(value as object);
  throw new TypeMismatch(kind === "nil" ? "len of nil pointer" : `len of type ${shapes.typeName(value)}`);
}

function outOfRange(index: number): Error {
  return new TypeMismatch(`index out of range: ${index}`);
}

/** A missing key of a map of strings gives "", as Go's zero value does; of other maps nothing. */
function missing(map: object): unknown {
  const values = map instanceof Map ? [...map.values()] : Object.values(map);
  return values.every((value) => typeof value === "string") ? "" : undefined;
}

function indexOne(shapes: Shapes, value: unknown, key: unknown): unknown {
  const kind = shapes.kind(value);
  if (kind === "map" || kind === "struct") {
    const map = value as object;
    const found = mapGet(map, shapes.kind(key) === "int" ? String(key) : text(shapes, key));
    return found === undefined ? missing(map) : found;
  }
  if (kind === "nil") throw new TypeMismatch("index of untyped nil");
  if (kind !== "string" && kind !== "list")
    throw new TypeMismatch(`can't index item of type ${shapes.typeName(value)}`);
  if (shapes.kind(key) !== "int")
    throw new TypeMismatch(`cannot index slice/array with type ${shapes.typeName(key)}`);
  const list = kind === "string" ? Buffer.from(value as string) : (value as unknown[]);
  const at = Number(key);
  if (at < 0 || at >= list.length) throw outOfRange(at);
  return list[at];
}

function slice(shapes: Shapes, args: unknown[]): unknown {
  const [value, ...bounds] = args;
  const kind = shapes.kind(value);
  if (kind !== "string" && kind !== "list")
    throw new TypeMismatch(`can't slice item of type ${shapes.typeName(value)}`);
  if (kind === "string" && bounds.length === 3) throw new TypeMismatch("cannot 3-index slice a string");
  const list = kind === "string" ? Buffer.from(value as string) : (value as unknown[]);
  const [from = 0, to = list.length] = bounds.map((bound) => integer(shapes, bound));
  for (const bound of [from, to]) if (bound < 0 || bound > list.length) throw outOfRange(bound);
  if (from > to) throw new TypeMismatch(`invalid slice index: ${from} > ${to}`);
  return Buffer.isBuffer(list) ? list.toString("utf8", from, to) : list.slice(from, to);
}

function title(words: string): string {
  return words.replace(
    /(^|[^\p{L}\p{N}_'])(\p{L})/gu,
    (_all, before: string, first: string) => before + first.toUpperCase(),
  );
}

function join(shapes: Shapes, list: unknown, separator: unknown): string {
  if (list === null || list === undefined) return "";
  if (!Array.isArray(list))
    throw new TypeMismatch(`wrong type for value; expected []string; got ${shapes.typeName(list)}`);
  return list
    .map((item) => (typeof item === "string" ? item : new Formatter(shapes).value(item)))
    .join(text(shapes, separator));
}

function order(operator: (difference: number) => boolean): TemplateFunction {
  return fn(2, 2, (shapes, [a, b]) => operator(compareOrder(shapes, a, b)));
}

const FUNCTIONS: Record<string, TemplateFunction> = {
  // "and" and "or" are evaluated in eval.ts, which stops at the first argument that decides.
  and: fn(1, ANY, (shapes, args) => args.find((arg) => !isTrue(shapes, arg)) ?? args.at(-1)),
  or: fn(1, ANY, (shapes, args) => args.find((arg) => isTrue(shapes, arg)) ?? args.at(-1)),
  not: fn(1, 1, (shapes, [value]) => !isTrue(shapes, value)),
  len: fn(1, 1, (shapes, [value]) => length(shapes, value)),
  index: fn(1, ANY, (shapes, [value, ...keys]) => {
    return keys.reduce((item, key) => indexOne(shapes, item, key), value);
  }),
  slice: fn(1, 4, slice),
  print: fn(0, ANY, (shapes, args) => new Formatter(shapes).print(args)),
  println: fn(0, ANY, (shapes, args) => new Formatter(shapes).println(args)),
  printf: fn(1, ANY, (shapes, [format, ...args]) => new Formatter(shapes).printf(text(shapes, format), args)),
  html: fn(0, ANY, (shapes, args) => escapeHtml(new Formatter(shapes).print(args))),
  js: fn(0, ANY, (shapes, args) => escapeJs(new Formatter(shapes).print(args))),
  urlquery: fn(0, ANY, (shapes, args) => escapeQuery(new Formatter(shapes).print(args))),
  eq: fn(2, ANY, (shapes, [first, ...rest]) => rest.some((item) => isEqual(shapes, first, item))),
  ne: fn(2, 2, (shapes, [a, b]) => !isEqual(shapes, a, b)),
  lt: order((difference) => difference < 0),
  le: order((difference) => difference <= 0),
  gt: order((difference) => difference > 0),
  ge: order((difference) => difference >= 0),

  json: fn(1, 1, (shapes, [value]) => toJson(value, { isMap: isObject(value) && shapes.isMap(value) })),
  join: fn(2, 2, (shapes, [list, separator]) => join(shapes, list, separator)),
  lower: fn(1, 1, (shapes, [value]) => text(shapes, value).toLowerCase()),
  upper: fn(1, 1, (shapes, [value]) => text(shapes, value).toUpperCase()),
  split: fn(2, 2, (shapes, [value, separator]) => text(shapes, value).split(text(shapes, separator))),
  title: fn(1, 1, (shapes, [value]) => title(text(shapes, value))),
  pad: fn(3, 3, (shapes, [value, before, after]) => {
    const body = text(shapes, value);
    return body === "" ? "" : " ".repeat(integer(shapes, before)) + body + " ".repeat(integer(shapes, after));
  }),
  truncate: fn(2, 2, (shapes, [value, max]) =>
    text(shapes, value).slice(0, Math.max(0, integer(shapes, max))),
  ),
};

export function isFunction(name: string): boolean {
  return Object.hasOwn(FUNCTIONS, name);
}

export function templateFunction(name: string): TemplateFunction {
  return FUNCTIONS[name] as TemplateFunction;
}
