/**
 * JSON documents from outside, read with limits: size, nesting, UTF-8, types. Nothing here trusts
 * a field; every reader names the document and the field in its error (`invalid-argument`).
 */
import { fail } from "../core/error.ts";
import { excerpt } from "./digest.ts";

export type JsonObject = Record<string, unknown>;

const MAX_DEPTH = 64;
/** Characters of an error that are shown. */
const MAX_PROBLEM = 500;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** What a reader complains about: "manifest", "image config". */
export interface Document {
  what: string;
  fields: JsonObject;
}

/** `problem` may quote what is in the document. */
export function invalid(what: string, problem: string, cause?: unknown): Error {
  return fail("invalid-argument", `invalid ${what}: ${excerpt(problem, MAX_PROBLEM)}`, {
    reason: `invalid-${what.replaceAll(" ", "-")}`,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Errors: resource-exhausted over `limit` bytes, invalid-argument for anything but one JSON object. */
export function parseDocument(what: string, bytes: Uint8Array, limit: number): Document {
  if (bytes.length > limit) {
    throw fail("resource-exhausted", `${what} is ${bytes.length} bytes, more than the limit of ${limit}`, {
      reason: "document-too-large",
    });
  }
  checkDepth(what, bytes);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalid(what, `not JSON in UTF-8 (${(error as Error).message})`, error);
  }
  return { what, fields: asObject(what, "document", value) };
}

/** Deep nesting is refused before the parser sees it, so that no recursion over the result can run out of stack. */
function checkDepth(what: string, bytes: Uint8Array): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) throw invalid(what, `nested deeper than ${MAX_DEPTH} levels`);
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
}

export function asObject(what: string, field: string, value: unknown): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw invalid(what, `${field} is not an object`);
}

export function optionalObject(what: string, field: string, value: unknown): JsonObject | undefined {
  return value === undefined || value === null ? undefined : asObject(what, field, value);
}

export function optionalString(what: string, field: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  throw invalid(what, `${field} is not a string`);
}

export function optionalNumber(what: string, field: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw invalid(what, `${field} is not a number`);
}

export function optionalList(what: string, field: string, value: unknown): unknown[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value)) return value;
  throw invalid(what, `${field} is not a list`);
}

export function optionalStrings(what: string, field: string, value: unknown): string[] | undefined {
  return optionalList(what, field, value)?.map((item) => {
    if (typeof item === "string") return item;
    throw invalid(what, `${field} has an item that is not a string`);
  });
}

export function optionalStringMap(
  what: string,
  field: string,
  value: unknown,
): Record<string, string> | undefined {
  const fields = optionalObject(what, field, value);
  if (fields === undefined) return undefined;
  // Without a prototype: a key such as "__proto__" is data like any other.
  const map = Object.create(null) as Record<string, string>;
  for (const [key, item] of Object.entries(fields)) {
    if (typeof item !== "string") throw invalid(what, `${field} "${key}" is not a string`);
    map[key] = item;
  }
  return map;
}

/** The object without its undefined members (`exactOptionalPropertyTypes`). */
export function defined<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  for (const key of Object.keys(fields) as (keyof T)[]) if (fields[key] === undefined) delete fields[key];
  return fields as T;
}
