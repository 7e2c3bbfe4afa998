/** eq, ne, lt, le, gt, ge with Go's ideas of what may be compared. */
import { Formatter } from "./printf.ts";
import type { Shapes } from "./value.ts";

/** A function was given what it cannot take; eval.ts puts the place in front. */
export class TypeMismatch extends Error {}

function incompatible(shapes: Shapes, a: unknown, b: unknown): Error {
  const types = `${shapes.typeName(a)} and ${shapes.typeName(b)}`;
  return new TypeMismatch(`incompatible types for comparison: ${types}`);
}

const NUMBERS = new Set(["int", "float"]);

/** Errors: TypeMismatch for lists, maps and values of different kinds. nil equals only nil. */
export function isEqual(shapes: Shapes, a: unknown, b: unknown): boolean {
  const [kindA, kindB] = [shapes.kind(a), shapes.kind(b)];
  for (const [kind, value] of [
    [kindA, a],
    [kindB, b],
  ] as const) {
    if (kind === "list" || kind === "map" || kind === "func") {
      const text = new Formatter(shapes).value(value);
      throw new TypeMismatch(`non-comparable type ${text}: ${shapes.typeName(value)}`);
    }
  }
  if (kindA === "nil" || kindB === "nil") return kindA === kindB;
  if (kindA !== kindB && !(NUMBERS.has(kindA) && NUMBERS.has(kindB))) {
    throw incompatible(shapes, a, b);
  }
  return NUMBERS.has(kindA) ? Number(a) === Number(b) : a === b;
}

/** Negative, zero or positive. Errors: TypeMismatch for what has no order. */
export function compareOrder(shapes: Shapes, a: unknown, b: unknown): number {
  const [kindA, kindB] = [shapes.kind(a), shapes.kind(b)];
  if (NUMBERS.has(kindA) && NUMBERS.has(kindB)) return Number(a) - Number(b);
  if (kindA !== kindB) throw incompatible(shapes, a, b);
  if (kindA !== "string") throw new TypeMismatch("invalid type for comparison");
  return Buffer.compare(Buffer.from(a as string), Buffer.from(b as string));
}
