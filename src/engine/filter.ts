/**
 * `--filter` as docker and podman mean it: the same key given twice is one of them (OR), different
 * keys must all hold (AND), and `label` must hold each time it is given.
 */
import { fail } from "../core/error.ts";
import type { Filter } from "./engine.ts";

export type Test<T> = (value: string, item: T) => boolean;

/** Keys that must hold every time they are given. */
const CONJUNCTIVE = new Set(["label", "annotation"]);

/**
 * One predicate out of all filters. `tests` names the known keys. Errors: invalid-argument for
 * another key, naming those that are known.
 */
export function matcher<T>(filters: Filter[], tests: Record<string, Test<T>>): (item: T) => boolean {
  const groups = new Map<string, Filter[]>();
  for (const filter of filters) {
    if (tests[filter.key] === undefined) {
      throw fail("invalid-argument", `invalid filter "${filter.key}"`, {
        reason: "unknown-filter",
        hint: `known filters: ${Object.keys(tests).sort().join(", ")}`,
      });
    }
    groups.set(filter.key, [...(groups.get(filter.key) ?? []), filter]);
  }
  return (item) =>
    [...groups].every(([key, group]) => {
      const holds = (filter: Filter): boolean =>
        (tests[key] as Test<T>)(filter.value, item) !== (filter.negate ?? false);
      return CONJUNCTIVE.has(key) ? group.every(holds) : group.some(holds);
    });
}

/** `label=key` or `label=key=value` against a set of labels. */
export function hasLabel(wanted: string, labels: Record<string, string>): boolean {
  const at = wanted.indexOf("=");
  if (at < 0) return wanted in labels;
  return labels[wanted.slice(0, at)] === wanted.slice(at + 1);
}

/** A name filter: a regular expression, or plain text if it is not one. */
export function nameMatches(pattern: string, name: string): boolean {
  try {
    return new RegExp(pattern).test(name);
  } catch {
    return name.includes(pattern);
  }
}

export function parseBoolean(key: string, value: string): boolean {
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw fail("invalid-argument", `invalid value "${value}" for filter "${key}": want true or false`);
}
