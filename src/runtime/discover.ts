/**
 * Which low-level runtime and which monitor to use. A name is looked up in PATH, a path is taken as it is. The default is
 * crun where it works, else runc; "works" is proven once per boot and per binary by running a tiny container.
 */
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { fail, messageOf } from "../core/error.ts";
import { bootId } from "../sys/host.ts";
import { run, which } from "../sys/spawn.ts";
import { unifiedInTheWay } from "./hybrid.ts";
import { probeRuntime } from "./probe.ts";
import type { RuntimeInfo } from "./runtime.ts";

export interface RuntimeConfiguration {
  path?: string;
  flags?: string[];
}

export interface DiscoverRequest {
  /** "crun", "/usr/local/bin/crun", or "" for the default. */
  name: string;
  /** The store's run directory; gets `runtimes/`. */
  runDir: string;
  /** Flags of the command line (`--runtime-flag`), for whichever runtime is used. */
  flags?: string[];
  /** From the configuration file, by name. */
  configured?: Record<string, RuntimeConfiguration>;
}

/** In order of preference for the default. */
const DEFAULTS = ["crun", "runc"] as const;

/** What `info` shows, in this order. */
const KNOWN_RUNTIMES = ["crun", "runc", "runsc"] as const;

const PACKAGE: Record<string, string> = {
  crun: "crun",
  runc: "runc",
  runsc: "runsc",
  youki: "youki",
};

function find(request: DiscoverRequest, name: string): RuntimeInfo | undefined {
  const configured = request.configured?.[name];
  const path = which(configured?.path ?? name);
  if (path === undefined) return undefined;
  const base = basename(name);
  return {
    name: base,
    path,
    version: "",
    flags: [...(configured?.flags ?? []), ...(request.flags ?? [])],
    hybridWrapper: isCrun(path) && unifiedInTheWay() !== undefined,
  };
}

/** By the file's name: a crun under another name must be called by its path ".../crun". */
function isCrun(path: string): boolean {
  return basename(path).startsWith("crun");
}

/**
 * The runtime of this name, or the default. Errors: not-found (the hint names the package); unavailable when the only ones
 * found do not work here.
 */
export function discoverRuntime(ctx: Ctx, request: DiscoverRequest): RuntimeInfo {
  if (request.name !== "") {
    const found = find(request, request.name);
    if (found === undefined) throw unknownRuntime(request.name);
    return found;
  }
  const reasons: string[] = [];
  for (const name of DEFAULTS) {
    const found = find(request, name);
    if (found === undefined) continue;
    const reason = whyNot(ctx, request.runDir, found);
    if (reason === undefined) return found;
    reasons.push(reason);
  }
  if (reasons.length === 0) {
    throw fail("not-found", "no OCI runtime found", {
      reason: "no-runtime",
      hint: "install one: apt-get install crun",
    });
  }
  throw fail("unavailable", `no OCI runtime works on this host: ${reasons.join("; ")}`, {
    reason: "no-working-runtime",
    hint: "see what it says, or name another one with --runtime",
  });
}

function unknownRuntime(name: string): Error {
  const missing = PACKAGE[name];
  const hint =
    missing === undefined
      ? "give the name of a program in PATH (crun, runc, runsc) or an absolute path"
      : `install it: apt-get install ${missing}`;
  return fail("not-found", `runtime "${name}" not found`, { reason: "runtime-not-found", hint });
}

/** Path of conmon. Errors: not-found with the package to install. */
export function findMonitor(path = "conmon"): string {
  const found = which(path);
  if (found !== undefined) return found;
  throw fail("not-found", `monitor "${path}" not found`, {
    reason: "monitor-not-found",
    hint: "install it: apt-get install conmon",
  });
}

/** "1.8.1" of a program that prints `NAME version X` (crun, runc, runsc, conmon); "" if it does not. */
function programVersion(ctx: Ctx, path: string): string {
  const { stdout, stderr } = run(ctx, [path, "--version"], { timeoutMs: 5000 });
  return /version:?\s+(\S+)/.exec(`${stdout}\n${stderr}`)?.[1] ?? "";
}

/** All known runtimes that are installed, with their versions: for `info`. */
export function listRuntimes(ctx: Ctx, request: Omit<DiscoverRequest, "name">): RuntimeInfo[] {
  const names = new Set<string>([...KNOWN_RUNTIMES, ...Object.keys(request.configured ?? {})]);
  return [...names]
    .map((name) => find({ ...request, name }, name))
    .filter((info) => info !== undefined)
    .map((info) => ({ ...info, version: programVersion(ctx, info.path) }));
}

interface Verdict {
  /** Of the binary: modification time and size. */
  binary: string;
  boot: string;
  /** Why it does not work; absent if it does. */
  reason?: string;
}

function readVerdicts(file: string): Record<string, Verdict> {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, Verdict>;
  } catch {
    // Absent, or cut short by a crash: it is only a cache.
    return {};
  }
}

/** Why the runtime does not work here, or undefined if it does. */
function whyNot(ctx: Ctx, runDir: string, info: RuntimeInfo): string | undefined {
  const file = `${runDir}/runtimes/probed.json`;
  const { mtimeMs, size } = statSync(info.path);
  const key = { binary: `${mtimeMs}/${size}`, boot: bootId() };
  const verdicts = readVerdicts(file);
  const known = verdicts[info.path];
  if (known !== undefined && known.binary === key.binary && known.boot === key.boot) return known.reason;
  ctx.log.debug(`trying whether "${info.path}" works`);
  let verdict: Verdict = key;
  try {
    probeRuntime(ctx, runDir, info);
  } catch (error) {
    verdict = { ...key, reason: messageOf(error) };
    ctx.log.debug(`"${info.path}" does not work: ${messageOf(error)}`);
  }
  mkdirSync(`${runDir}/runtimes`, { recursive: true, mode: 0o700 });
  const aside = `${file}.${process.pid}`;
  writeFileSync(aside, JSON.stringify({ ...readVerdicts(file), [info.path]: verdict }), { mode: 0o600 });
  renameSync(aside, file);
  return verdict.reason;
}
