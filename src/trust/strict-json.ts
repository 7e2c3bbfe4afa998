/** JSON for documents that decide about trust: an object's key stands once, and no key is passed over. */
import { asObject, invalid, type JsonObject, parseDocument } from "../image/document.ts";
import { excerpt } from "../image/digest.ts";

/** Two readers must not see two documents in one: which of two equal keys counts is nowhere said. Errors: invalid-argument, resource-exhausted. */
export function parseStrict(what: string, bytes: Uint8Array, limit: number): JsonObject {
  const { fields } = parseDocument(what, bytes, limit);
  const twice = repeatedKey(new TextDecoder().decode(bytes));
  if (twice !== undefined) throw invalid(what, `the key "${excerpt(twice)}" stands twice in one object`);
  return fields;
}

/** In text that is known to be JSON. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/gs)) {
    if (token === "{" || token === "[") open.push(token === "{" ? new Set() : undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const key = JSON.parse(last) as string;
      const keys = open.at(-1);
      if (keys?.has(key) === true) return key;
      keys?.add(key);
    } else last = token;
  }
  return undefined;
}

/** The object of a field, if it has no other keys than these. Errors: invalid-argument. */
export function exactObject(
  what: string,
  field: string,
  value: unknown,
  known: readonly string[],
): JsonObject {
  const fields = asObject(what, field, value);
  const odd = Object.keys(fields).find((key) => !known.includes(key));
  if (odd !== undefined) throw invalid(what, `${field} has an unknown key "${excerpt(odd)}"`);
  return fields;
}

/** Errors: invalid-argument for anything but a string that is not empty. */
export function requiredString(what: string, field: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw invalid(what, `${field} is ${value === undefined ? "missing" : "not a text, or empty"}`);
}
