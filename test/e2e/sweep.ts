/**
 * Kill -9, or a failing system call, at every state-changing system call of a command, and what the next command makes of it.
 *
 * strace without -f traces the main thread alone, where all our system calls and SQLite run; a SIGKILL injected there ends the whole
 * berth process and nothing else, so monitors, runtimes and unpackers outlive it as they would in life.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Box } from "./box.ts";
import type { Census } from "./census.ts";
import { footprint, leftovers } from "./footprint.ts";

/** What changes something outside the process, and what it waits in while others change something. */
const CHANGES = [
  "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,mknod,mknodat",
  "mount,umount2,fsconfig,fsmount,move_mount,setns,unshare,kill,pidfd_send_signal,flock",
  "fsync,fdatasync,syncfs,pwrite64,write,ftruncate,fallocate,copy_file_range",
  "chmod,fchmod,fchmodat,chown,fchown,fchownat,lsetxattr,setxattr,fsetxattr,utimensat",
  "connect,bind,sendto,sendmsg,clone,clone3,fork,vfork",
];
const WAITS = "wait4,waitid,poll,ppoll,epoll_wait,epoll_pwait,epoll_pwait2";
const CALLS = [...CHANGES, WAITS].join(",");

export interface Verb {
  name: string;
  args: string[];
  /** Makes what the command works on; before every point. */
  before?: (box: Box) => void;
  /** What must hold right after that and one `ps`. */
  check?: (box: Box, how: "killed" | "failed") => void | Promise<void>;
  /** The same once more, to its end. Default: the command must succeed. */
  again?: (box: Box) => void | Promise<void>;
  /** Takes away what the command made, so that the footprint is as before. Containers go anyway. */
  after?: (box: Box) => void;
}

export interface SweepResult {
  verb: string;
  /** Calls seen in one whole run. */
  calls: number;
  /** Points at which the command was killed (or made to fail). */
  hit: number;
  /** Points that were tried and lay behind the command's end. */
  missed: number;
  /** What was wrong, with the point. */
  problems: string[];
}

interface Point {
  /** Place among all calls that were looked at. */
  at: number;
  call: string;
  name: string;
  /** The n-th of this name: strace counts each kind of call for itself. */
  n: number;
}

const isFull = process.env["BERTH_SWEEP"] === "full";

/** At most this many points of a command unless BERTH_SWEEP=full. */
const SAMPLE = Number(process.env["BERTH_SWEEP_POINTS"] ?? 12);

export async function sweepKills(box: Box, verb: Verb): Promise<SweepResult> {
  let clean = footprint(box);
  const calls = await recordCalls(box, verb, clean);
  const points = isFull ? calls : sample(calls, SAMPLE);
  const result: SweepResult = { verb: verb.name, calls: calls.length, hit: 0, missed: 0, problems: [] };
  for (const point of points) {
    const outcome = await attempt(box, verb, { ...point, fault: `signal=KILL:when=${point.n}` }, clean);
    clean = outcome.clean;
    // A run with more or fewer waits than the first one may be over before the point.
    if (outcome.code === undefined) result.hit++;
    else result.missed++;
    note(result, outcome.problems, `${verb.name} killed at ${place(point)}`);
  }
  return result;
}

export interface Failure {
  calls: string;
  errno: string;
}

/** Every n-th call of a kind fails instead; the command must say so, and leave nothing. */
export async function sweepFailures(box: Box, verb: Verb, failures: Failure[]): Promise<SweepResult> {
  const result: SweepResult = { verb: verb.name, calls: 0, hit: 0, missed: 0, problems: [] };
  let clean = footprint(box);
  for (const { calls, errno } of failures) {
    const points = (await recordCalls(box, verb, clean, calls)).filter((point) => !isWakeUp(point));
    result.calls += points.length;
    for (const point of isFull ? points : sample(points, Math.ceil(SAMPLE / 4))) {
      const outcome = await attempt(box, verb, { ...point, fault: `error=${errno}:when=${point.n}` }, clean);
      clean = outcome.clean;
      result.hit++;
      const where = `${verb.name} with ${errno} at ${place(point)}`;
      if (outcome.code === undefined) outcome.problems.push("ended by a signal");
      if (
        outcome.code !== 0 &&
        !/^\S*(Error|error|berth): /m.test(outcome.stderr) &&
        outcome.stderr.trim() === ""
      )
        outcome.problems.push("failed without a word");
      if (/\bat \S+ \(|TypeError|undefined is not/.test(outcome.stderr))
        outcome.problems.push(`not one of our errors: ${outcome.stderr}`);
      note(result, outcome.problems, where);
    }
  }
  return result;
}

/** Eight bytes to an eventfd: the JavaScript engine wakes one of its threads, and has no answer to a failure of that. */
function isWakeUp({ name, call }: Point): boolean {
  return name === "write" && /\(\d+, "\\1\\0\\0\\0\\0\\0\\0\\0", 8\)/.test(call);
}

/** Said at once: a full sweep takes its time. */
function note(result: SweepResult, problems: string[], where: string): void {
  for (const text of problems) {
    console.warn(`${where}: ${text}`);
    result.problems.push(`${where}: ${text}`);
  }
}

export function report({ verb, calls, hit, missed, problems }: SweepResult): string {
  return `sweep ${verb}: ${calls} calls, ${hit} points hit, ${missed} behind its end, ${problems.length} problems`;
}

/** One life of the command under strace, and everything after it. */
async function attempt(
  box: Box,
  verb: Verb,
  { name, fault }: Point & { fault: string },
  clean: Census,
): Promise<Traced & { problems: string[]; clean: Census }> {
  verb.before?.(box);
  const outcome = strace(box, verb, ["-e", `trace=${name}`, "-e", `inject=${name}:${fault}`]);
  const problems: string[] = [];
  const step = async (what: string, body: () => void | Promise<void>): Promise<void> => {
    try {
      const started = performance.now();
      await body();
      const took = performance.now() - started;
      if (took > 10_000) problems.push(`${what} took ${Math.round(took)} ms`);
    } catch (error) {
      problems.push(`${what}: ${(error as Error).message}`);
    }
  };
  await step("ps", () => quiet(box, ["ps"]));
  await step("check", () => verb.check?.(box, fault.startsWith("error=") ? "failed" : "killed"));
  await step("again", () => (verb.again === undefined ? void box.ok(verb.args) : verb.again(box)));
  await step("cleaning up", () => {
    box.ok(["rm", "-f", "-t", "0", "-a"]);
    verb.after?.(box);
  });
  await step("system check", () => quiet(box, ["system", "check"]));
  await step("census", () => compare(box, clean));
  const now = problems.length > 0 ? await resetTo(box, clean) : clean;
  if (outcome.stderr.includes("[did not end")) problems.unshift("the command hung");
  return { ...outcome, problems, clean: now };
}

/** A command that succeeds and has nothing to complain of. */
function quiet(box: Box, args: string[]): void {
  const outcome = box.berth(args, { timeout: 20_000 });
  const words = outcome.stderr.replace("nothing is wrong\n", "");
  if (outcome.code !== 0 || words !== "")
    throw new Error(`exit code ${outcome.code}: ${outcome.stdout}${words}`);
}

async function compare(box: Box, clean: Census): Promise<void> {
  const found = await leftovers(box, clean);
  if (found.length > 0) throw new Error(`\n    ${found.join("\n    ")}`);
}

/** After a problem: the next point must not suffer from it. */
async function resetTo(box: Box, clean: Census): Promise<Census> {
  for (const line of await leftovers(box, clean, 0)) {
    const pid = /^processes: \+ (\d+) /.exec(line)?.[1];
    if (pid !== undefined) process.kill(Number(pid), "SIGKILL");
  }
  box.berth(["rm", "-f", "-t", "0", "-a"]);
  box.berth(["system", "check", "--repair"]);
  await leftovers(box, clean);
  return footprint(box);
}

interface Traced {
  /** Undefined when SIGKILL ended it: strace ends in the way its child did. */
  code: number | undefined;
  stderr: string;
}

function strace(box: Box, verb: Verb, options: string[], log = "/dev/null"): Traced {
  const started = performance.now();
  const child = Bun.spawnSync(["strace", "-qq", "-o", log, ...options, ...box.argv, ...verb.args], {
    stdin: "ignore",
    timeout: 30_000,
    killSignal: "SIGTERM",
  });
  const hung = performance.now() - started > 29_000 ? "\n[did not end within 30 s]" : "";
  return { code: child.exitCode ?? undefined, stderr: child.stderr.toString() + hung };
}

/** The calls of one undisturbed run, in order. */
async function recordCalls(box: Box, verb: Verb, clean: Census, calls = CALLS): Promise<Point[]> {
  const log = join(box.dir, "strace.log");
  verb.before?.(box);
  const outcome = strace(box, verb, ["-e", `trace=${calls}`, "-e", "signal=none"], log);
  if (outcome.code !== 0) throw new Error(`${verb.name} exited ${outcome.code}: ${outcome.stderr}`);
  const lines = readFileSync(log, "latin1").split("\n");
  rmSync(log);
  box.berth(["rm", "-f", "-t", "0", "-a"]);
  verb.after?.(box);
  const left = await leftovers(box, clean);
  if (left.length > 0) throw new Error(`${verb.name} undisturbed leaves ${left.join("\n")}`);
  const seen = new Map<string, number>();
  return lines
    .filter((line) => /^[a-z0-9_]+\(/.test(line))
    .map((line, i) => {
      const name = line.slice(0, line.indexOf("("));
      const n = (seen.get(name) ?? 0) + 1;
      seen.set(name, n);
      return { at: i + 1, call: line.slice(0, 110), name, n };
    });
}

function place({ at, name, n, call }: Point): string {
  return `call ${at}, ${name} no. ${n}: ${call}`;
}

/** Spread over the whole run, and one of every kind of call; of calls that repeat the first and the last. */
function sample(points: Point[], most: number): Point[] {
  const edges = points.filter(
    (point, i) => points[i - 1]?.name !== point.name || points[i + 1]?.name !== point.name,
  );
  const chosen = new Set<Point>();
  for (let i = 0; i < most; i++) {
    const at = edges[Math.floor(((i + 0.5) * edges.length) / most)];
    if (at !== undefined) chosen.add(at);
  }
  return [...chosen];
}
