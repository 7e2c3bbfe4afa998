/**
 * Named places where a test can make the engine fail, die or wait: `failpoint("storage.commit")`.
 *
 * BERTH_FAILPOINTS holds `name=action` terms joined with `;`. Actions: `error`, `exit` (as if by
 * kill -9), `sleep(MS)`, each with an optional count of hits to let pass first: `name=2*off->exit`.
 * Read only when BERTH_FAILPOINTS is set; costs one property look-up otherwise.
 */
import { fail } from "./error.ts";

interface Term {
  skip: number;
  action: string;
}

let terms: Map<string, Term> | undefined;

function parse(text: string): Map<string, Term> {
  const parsed = new Map<string, Term>();
  for (const part of text.split(";")) {
    const match = /^([a-z0-9.-]+)=(?:(\d+)\*off->)?(.+)$/.exec(part.trim());
    if (match === null) continue;
    parsed.set(match[1] as string, { skip: Number(match[2] ?? 0), action: match[3] as string });
  }
  return parsed;
}

export function failpoint(name: string): void {
  const text = process.env["BERTH_FAILPOINTS"];
  if (text === undefined) return;
  terms ??= parse(text);
  const term = terms.get(name);
  if (term === undefined || term.skip-- > 0) return;
  if (term.action === "exit") process.kill(process.pid, "SIGKILL");
  const pause = /^sleep\((\d+)\)$/.exec(term.action);
  if (pause !== null) Bun.sleepSync(Number(pause[1]));
  if (term.action === "error") throw fail("internal", `failpoint "${name}"`, { reason: "failpoint" });
}
