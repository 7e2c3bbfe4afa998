/** `--filter key=value` and `key!=value` as written on the command line. */
import { fail } from "../core/error.ts";
import type { Filter } from "../engine/engine.ts";

/** Errors: invalid-argument for text without "=". */
export function parseFilters(texts: readonly string[]): Filter[] {
  return texts.map((text) => {
    const equals = text.indexOf("=");
    const key = text.slice(0, Math.max(equals, 0)).trim().toLowerCase();
    if (equals <= 0 || key === "" || key === "!") {
      throw fail("invalid-argument", `invalid filter "${text}"`, {
        reason: "flag-value",
        hint: 'write it as KEY=VALUE, for example "status=running"',
      });
    }
    const value = text.slice(equals + 1);
    return key.endsWith("!") ? { key: key.slice(0, -1), value, negate: true } : { key, value };
  });
}
