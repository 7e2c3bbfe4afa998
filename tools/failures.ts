/** The failed tests, once more for the end of `scripts/test.sh`: in the file named by BERTH_FAILURES, a line each. */
import { appendFileSync } from "node:fs";

/** `lines` are those of `bun test`; the ones that say "(fail)" count. */
export function noteFailures(where: string, lines: string[]): void {
  const file = process.env["BERTH_FAILURES"];
  if (file === undefined) return;
  for (const line of new Set(lines))
    if (line.startsWith("(fail)")) appendFileSync(file, `${where}: ${line}\n`);
}
