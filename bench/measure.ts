/** One command from its start to its end: how long it took, and the memory of all that worked for it. */
import { readdirSync, readFileSync } from "node:fs";

export interface Measured {
  /** Milliseconds. */
  wall: number;
  /** Bytes: the largest sum of the resident sets of the command, its descendants and the daemons at any look. */
  peak: number;
}

const LOOK_MS = 10;
const PAGE = 4096;

/** Throws with what was said unless the command exits 0. `daemons` are processes whose memory counts too, with their descendants. */
export async function measure(argv: string[], daemons: number[] = []): Promise<Measured> {
  const began = performance.now();
  const child = Bun.spawn(argv, { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  let peak = 0;
  const look = (): void => {
    peak = Math.max(peak, residentSum([child.pid, ...daemons]));
  };
  const timer = setInterval(look, LOOK_MS);
  look();
  const said = new Response(child.stderr).text();
  const code = await child.exited;
  const wall = performance.now() - began;
  clearInterval(timer);
  if (code !== 0) throw new Error(`${argv.join(" ")} exited ${code}: ${await said}`);
  return { wall, peak };
}

function residentSum(roots: number[]): number {
  const seen = new Set<number>();
  const open = [...roots];
  let sum = 0;
  for (let pid = open.pop(); pid !== undefined; pid = open.pop()) {
    if (seen.has(pid)) continue;
    seen.add(pid);
    open.push(...childrenOf(pid));
    sum += residentPages(pid) * PAGE;
  }
  return sum;
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    // It has ended.
    return [];
  }
}

function residentPages(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
  } catch {
    return 0;
  }
}

/** Lower quartile, median, upper quartile. */
export function quartiles(values: number[]): [number, number, number] {
  const sorted = values.toSorted((x, y) => x - y);
  const at = (part: number): number => sorted[Math.floor((sorted.length - 1) * part)] as number;
  return [at(0.25), at(0.5), at(0.75)];
}
