/**
 * The command of a container: argv, environment, working directory and limits, joined from image and request by
 * the rules of `docker run`.
 */
import { fail } from "../core/error.ts";
import type { ImageConfig } from "../image/image.ts";
import type { ContainerSpec, Ulimit } from "./container.ts";
import type { HostFacts, Limit } from "./spec-input.ts";
import { type OciRlimit, UNLIMITED } from "./spec-oci.ts";
import { absolutePath, checkLine, checkNul, cleanPath, quote } from "./spec-text.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What a process gets when nothing else is asked for: Podman's values, lowered to what the host allows. */
const DEFAULT_ULIMITS: readonly Ulimit[] = [
  { name: "nofile", soft: 1048576, hard: 1048576 },
  { name: "nproc", soft: 1048576, hard: 1048576 },
];

/** Names of --ulimit; the runtime's are RLIMIT_ and the upper case. */
const ULIMIT_NAMES: readonly string[] = [
  "as",
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
];

/**
 * argv = entrypoint + command. Without an entrypoint in the request the image's is used; without a command the image's
 * Cmd, unless the request has an entrypoint of its own. `[""]` (--entrypoint "") clears the image's entrypoint
 * and Cmd; `[]` (an empty list in the Docker API) clears the entrypoint only.
 * Errors: invalid-argument when nothing is left.
 */
export function processArgs(spec: ContainerSpec, image: ImageConfig | undefined): string[] {
  const config = image?.config;
  const cleared = spec.entrypoint?.length === 1 && spec.entrypoint[0] === "";
  const entrypoint = cleared ? [] : (spec.entrypoint ?? config?.Entrypoint ?? []);
  const inherits = spec.entrypoint === undefined || spec.entrypoint.length === 0;
  const command = spec.command.length === 0 && inherits ? (config?.Cmd ?? []) : spec.command;
  const args = [...entrypoint, ...command];
  if (args.length === 0) {
    throw fail("invalid-argument", "no command specified", {
      reason: "no-command",
      hint: "the image has no entrypoint and no command: give one after the image name",
    });
  }
  for (const arg of args) checkNul("argument", arg);
  return args;
}

export interface EnvironmentInput {
  spec: ContainerSpec;
  image: ImageConfig | undefined;
  hostEnv: Record<string, string | undefined>;
  home: string;
  hostname: string;
}

/**
 * Engine defaults < image < request. `NAME` alone takes the caller's value, and removes the variable when the
 * caller has none. `container=oci` is what tools (systemd among them) test to know that they run in a container.
 */
export function processEnv(input: EnvironmentInput): string[] {
  const env = new Map<string, string>([
    ["PATH", DEFAULT_PATH],
    ["container", "oci"],
  ]);
  if (input.spec.terminal) env.set("TERM", "xterm");
  env.set("HOSTNAME", input.hostname);
  env.set("HOME", input.home);
  for (const entry of input.image?.config.Env ?? []) setVariable(env, entry, {});
  for (const entry of input.spec.env) setVariable(env, entry, input.hostEnv);
  // Programs write these two into files of lines (CVE-2022-4318: a HOME that added a line to passwd).
  for (const name of ["HOME", "HOSTNAME"]) checkLine(`environment variable ${name}`, env.get(name) ?? "");
  return [...env].map(([name, value]) => `${name}=${value}`);
}

function setVariable(
  env: Map<string, string>,
  entry: string,
  hostEnv: Record<string, string | undefined>,
): void {
  checkNul("environment variable", entry);
  const equals = entry.indexOf("=");
  const name = equals === -1 ? entry : entry.slice(0, equals);
  if (name === "") throw fail("invalid-argument", `environment variable ${quote(entry)} has no name`);
  checkLine("environment variable name", name);
  const value = equals === -1 ? hostEnv[name] : entry.slice(equals + 1);
  if (value === undefined) env.delete(name);
  else env.set(name, checkNul(`environment variable ${quote(name)}`, value));
}

/** Descriptors and roots behind /proc would lead out of the container (CVE-2024-21626). */
const MAGIC_DIRECTORY = /^\/proc\/(self|thread-self|[0-9]+)(\/|$)/;

/** Absolute and clean; the image's may be relative to "/", the request's may not. */
export function workingDirectory(spec: ContainerSpec, image: ImageConfig | undefined): string {
  if (spec.workdir) return requestedDirectory(spec.workdir);
  return insideOnly(cleanPath("working directory", image?.config.WorkingDir ?? ""));
}

/** `--workdir` of run and exec: absolute, clean, and not by way of /proc. Errors: invalid-argument. */
export function requestedDirectory(path: string): string {
  return insideOnly(absolutePath("working directory", path));
}

function insideOnly(path: string): string {
  if (!MAGIC_DIRECTORY.test(path)) return path;
  throw fail(
    "invalid-argument",
    `working directory ${quote(path)} is not inside the container's file system`,
    {
      reason: "magic-directory",
    },
  );
}

/** The request's limits over the defaults, each clamped to what the host lets us give. */
export function processLimits(requested: readonly Ulimit[], host: HostFacts, notes: string[]): OciRlimit[] {
  const wanted = new Map<string, Limit>();
  for (const { name, soft, hard } of DEFAULT_ULIMITS)
    wanted.set(name, clampDefault(name, { soft, hard }, host));
  for (const limit of requested) {
    const name = checkUlimit(limit);
    wanted.set(name, clampRequested(name, limit, host, notes));
  }
  return [...wanted]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, limit]) => ({
      type: `RLIMIT_${name.toUpperCase()}`,
      soft: limit.soft === -1 ? UNLIMITED : limit.soft,
      hard: limit.hard === -1 ? UNLIMITED : limit.hard,
    }));
}

/** Errors: invalid-argument. Returns the name as --ulimit has it: "nofile". */
export function checkUlimit(limit: Ulimit): string {
  const name = limit.name.toLowerCase().replace(/^rlimit_/, "");
  if (!ULIMIT_NAMES.includes(name)) {
    throw fail("invalid-argument", `unknown ulimit ${quote(name)}`, {
      hint: `known: ${ULIMIT_NAMES.join(", ")}`,
    });
  }
  for (const value of [limit.soft, limit.hard]) {
    if (!Number.isSafeInteger(value) || value < -1) {
      throw fail("invalid-argument", `invalid value ${value} of ulimit ${quote(name)}`);
    }
  }
  if (least(limit.soft, limit.hard) !== limit.soft) {
    throw fail(
      "invalid-argument",
      `ulimit ${quote(name)}: the soft limit ${limit.soft} is above the hard limit ${limit.hard}`,
    );
  }
  return name;
}

/** A default that cannot be reached is lowered silently: nobody asked for its value. */
function clampDefault(name: string, limit: Limit, host: HostFacts): Limit {
  const own = host.limits[name];
  if (host.canRaise || own === undefined) return limit;
  const hard = least(limit.hard, own.hard);
  return { soft: least(limit.soft, hard), hard };
}

function clampRequested(name: string, limit: Limit, host: HostFacts, notes: string[]): Limit {
  const own = host.limits[name];
  if (host.canRaise || own === undefined || least(limit.hard, own.hard) === limit.hard) {
    return { soft: limit.soft, hard: limit.hard };
  }
  notes.push(`ulimit ${name} ${limit.soft}:${limit.hard} lowered to the host's hard limit ${own.hard}`);
  return { soft: least(limit.soft, own.hard), hard: own.hard };
}

function least(a: number, b: number): number {
  if (a === -1) return b;
  return b === -1 ? a : Math.min(a, b);
}

/** Without CAP_SYS_RESOURCE a process may not go below its own value. */
export function oomScoreAdjust(
  wanted: number | undefined,
  host: HostFacts,
  notes: string[],
): number | undefined {
  if (wanted === undefined) return undefined;
  if (!Number.isInteger(wanted) || wanted < -1000 || wanted > 1000) {
    throw fail("invalid-argument", `invalid oom score adjustment ${wanted}`, { hint: "use -1000 to 1000" });
  }
  if (host.canRaise || wanted >= host.oomScoreAdj) return wanted;
  notes.push(`oom score adjustment ${wanted} raised to the host's ${host.oomScoreAdj}`);
  return host.oomScoreAdj;
}
