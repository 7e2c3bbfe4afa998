/** Values of registries.conf: what they must be, and errors (plain; the reader adds the file) that name their key. */
import { messageOf } from "../core/error.ts";
import { isFullyQualified, parseReference } from "../image/reference.ts";

export function text(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new Error(`${name} is not a string`);
}

/** A place: "host[:port][/path]" without slashes at its end; "" when it was not given. */
export function trimmed(name: string, value: unknown): string {
  const given = value === undefined ? "" : text(name, value).replace(/\/+$/, "");
  if (/^[a-z]+:\/\//.test(given)) throw new Error(`${name} "${given}" must not have a scheme`);
  return given;
}

export function flag(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === "boolean") return value === true;
  throw new Error(`${name} is not true or false`);
}

export function strings(name: string, value: unknown): string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new Error(`${name} is not a list of strings`);
}

export function list(name: string, value: unknown): Record<string, unknown>[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null)) {
    return value as Record<string, unknown>[];
  }
  throw new Error(`${name} is not a list of tables`);
}

/** The value, if it may stand for the short name; "" says that the name is no alias. */
export function checkAlias(name: string, value: string): string {
  const short = plainName(`alias "${name}"`, name);
  if (isFullyQualified(short)) throw new Error(`alias "${name}" must not name a registry`);
  if (value === "") return value;
  const full = plainName(`aliases."${name}" "${value}"`, value);
  if (!isFullyQualified(full))
    throw new Error(`aliases."${name}" "${value}" must name registry and repository`);
  return value;
}

function plainName(what: string, name: string): string {
  let parsed: { tag?: string; digest?: string };
  try {
    parsed = parseReference(name);
  } catch (error) {
    throw new Error(`${what}: ${messageOf(error)}`, { cause: error });
  }
  if (parsed.tag !== undefined || parsed.digest !== undefined)
    throw new Error(`${what} must not have a tag or digest`);
  return name;
}
