/** What is attached to a manifest, as a tree for people or as JSON. */
import { fail } from "../core/error.ts";
import type { Referrer } from "../engine/artifact-referrers.ts";
import { excerpt } from "../image/digest.ts";
import type { Invocation } from "./command.ts";
import { printJson } from "./object-format.ts";

/** `format` is "tree" or "json". Errors: invalid-argument. */
export async function printReferrers(
  to: Pick<Invocation, "out">,
  tree: Referrer,
  format: string,
): Promise<void> {
  if (format === "json") return await printJson(to, asJson(tree));
  if (format !== "tree") {
    throw fail("invalid-argument", `invalid format "${format}"`, { hint: 'choose "tree" or "json"' });
  }
  to.out.line(tree.reference);
  for (const line of linesOf(tree.referrers)) to.out.line(line);
}

function asJson({ reference, descriptor, referrers }: Referrer): object {
  return { reference, ...descriptor, referrers: referrers.map(asJson) };
}

/** One branch for each type, and in it one for each manifest. */
function linesOf(referrers: Referrer[]): string[] {
  const byType = new Map<string, Referrer[]>();
  for (const one of referrers) {
    // It comes from a registry and goes to a terminal.
    const type = excerpt(one.descriptor.artifactType ?? "", 255) || "<unknown>";
    byType.set(type, [...(byType.get(type) ?? []), one]);
  }
  return branches([...byType], ([type, ones]) => [
    type,
    ...branches(ones, (one) => [one.descriptor.digest, ...linesOf(one.referrers)]),
  ]);
}

function branches<T>(items: T[], linesFor: (item: T) => string[]): string[] {
  return items.flatMap((item, at) => {
    const isLast = at === items.length - 1;
    return linesFor(item).map((line, i) => {
      if (i === 0) return `${isLast ? "└── " : "├── "}${line}`;
      return `${isLast ? "    " : "│   "}${line}`;
    });
  });
}
