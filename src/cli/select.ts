/** Which containers a verb is meant for: by name, --all, --latest, --filter or --cidfile. */
import { fail } from "../core/error.ts";
import type { Engine } from "../engine/engine.ts";
import type { ContainerSummary } from "../engine/list.ts";
import type { Invocation } from "./command.ts";
import { parseFilters } from "./filters.ts";
import type { FlagTable } from "./flags.ts";

export const latestFlag = {
  latest: { type: "bool", short: "l", help: "The container created last" },
} as const satisfies FlagTable;

export const selectFlags = {
  ...latestFlag,
  all: { type: "bool", short: "a", help: "All containers it makes sense for" },
  cidfile: { type: "list", value: "FILE", help: "Read the container's ID from a file" },
  filter: { type: "list", short: "f", value: "KEY=VALUE", help: "Containers this is true for" },
} as const satisfies FlagTable;

interface SelectValues {
  latest?: boolean;
  all?: boolean;
  cidfile?: string[];
  filter?: string[];
  ignore?: boolean;
}

/** First line of each file. A missing file is an error unless `ignore`. */
function readIds(files: readonly string[], ignore: boolean): string[] {
  if (files.length === 0) return [];
  const { readFileSync } = process.getBuiltinModule("node:fs");
  return files.flatMap((file) => {
    try {
      return [(readFileSync(file, "utf8").split("\n")[0] as string).trim()];
    } catch (cause) {
      if (ignore) return [];
      throw fail("invalid-argument", `cannot read the ID from "${file}"`, { cause });
    }
  });
}

function checkCombination(values: SelectValues, args: readonly string[]): void {
  const wholesale = [
    values.all === true ? "--all" : "",
    values.latest === true ? "--latest" : "",
    (values.filter ?? []).length > 0 ? "--filter" : "",
  ].filter((name) => name !== "");
  const given = args.length + (values.cidfile ?? []).length;
  const conflict = (message: string): Error => fail("invalid-argument", message, { reason: "arguments" });
  if (wholesale.length > 1 && wholesale.includes("--latest")) {
    throw conflict(`${wholesale.join(" and ")} cannot be used together`);
  }
  if (wholesale.length > 0 && given > 0) throw conflict(`${wholesale[0]} and names cannot be used together`);
  if (wholesale.length === 0 && given === 0) {
    throw fail("invalid-argument", "you must provide at least one name or id", { reason: "arguments" });
  }
}

/**
 * Names and ids to act on, in order. `fits` chooses among all of them for --all. Errors:
 * invalid-argument for combinations that contradict each other and for nothing at all.
 */
export async function selectContainers(
  invocation: Invocation,
  engine: Engine,
  fits: (container: ContainerSummary) => boolean = () => true,
): Promise<string[]> {
  const values = invocation.flags as SelectValues;
  checkCombination(values, invocation.args);
  const named = [...readIds(values.cidfile ?? [], values.ignore === true), ...invocation.args];
  if (named.length > 0 || (values.cidfile ?? []).length > 0) return named;
  const { list, latest } = await import("../engine/list.ts");
  if (values.latest === true) return [latest(engine).id];
  const filters = parseFilters(values.filter ?? []);
  return list(invocation.ctx, engine, { all: true, filters })
    .filter((container) => filters.length > 0 || fits(container))
    .map((container) => container.record.id);
}

/** The one container of a verb that takes exactly one: an argument or --latest. */
export async function oneContainer(
  invocation: Invocation,
  engine: Engine,
): Promise<{ container: string; rest: string[] }> {
  const [first, ...rest] = invocation.args;
  if ((invocation.flags as SelectValues).latest === true) {
    const { latest } = await import("../engine/list.ts");
    return { container: latest(engine).id, rest: invocation.args };
  }
  if (first === undefined) {
    throw fail("invalid-argument", "you must provide a container name or id, or --latest", {
      reason: "arguments",
    });
  }
  return { container: first, rest };
}
