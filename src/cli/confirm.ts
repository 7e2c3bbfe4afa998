/** "Are you sure?" before something cannot be undone. */
import { writeAll } from "./output.ts";

/** True for an answer that begins with y; anything else, and the end of input, is a no. */
export async function confirm(warning: string): Promise<boolean> {
  writeAll(2, new TextEncoder().encode(`${warning}\nAre you sure you want to continue? [y/N] `));
  for await (const line of console) return /^y/i.test(line.trim());
  return false;
}
