/** Commands on several objects: each in turn, every failure told, the last one's exit code kept. */
import { isKind } from "../core/error.ts";
import type { Invocation } from "./command.ts";
import { exitCodeOf, printError } from "./errors.ts";

/**
 * Runs `action` for each name and prints what it returns on a line of stdout. What is already as
 * wanted (not-modified) counts as done. Returns the exit code.
 */
export async function forEach(
  invocation: Invocation,
  names: readonly string[],
  action: (name: string) => Promise<string | void> | string | void,
): Promise<number> {
  const { out, personality, path, ctx } = invocation;
  let code = 0;
  for (const name of names) {
    try {
      const line = await action(name);
      if (line !== undefined) out.line(line);
    } catch (error) {
      if (isKind(error, "not-modified")) {
        out.line(name);
        continue;
      }
      if (ctx.signal.aborted) throw error;
      code = exitCodeOf(error, path, personality);
      printError(error, { out, personality, path, trace: false });
    }
  }
  return code;
}
