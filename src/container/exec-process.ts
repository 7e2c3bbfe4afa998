/** The OCI `process` of a command that joins a running container: the container's own, with what was asked for in its place. */
import { readFileSync } from "node:fs";
import { fail } from "../core/error.ts";
import { Rooted } from "../sys/rooted.ts";
import { userOf } from "./bundle.ts";
import { capabilitySets } from "./capabilities.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { hostFacts } from "./host-facts.ts";
import { processLimits, requestedDirectory } from "./process.ts";
import type { OciProcess, OciSpec } from "./spec-oci.ts";
import { checkNul } from "./spec-text.ts";
import type { ResolvedUser } from "./users.ts";

export interface ExecProcessRequest {
  command: string[];
  /** "K=V", or "K" for the caller's value. */
  env: string[];
  workdir?: string;
  user?: string;
  privileged: boolean;
  terminal: boolean;
  /** Window of the new terminal; the monitor can only set it later. */
  size?: { rows: number; columns: number };
}

/** Errors: invalid-argument (empty command, user, working directory), not-found (user). */
export function execProcess(
  deps: ContainerDeps,
  record: ContainerRecord,
  request: ExecProcessRequest,
): OciProcess {
  if (request.command.length === 0) throw fail("invalid-argument", "no command was given to exec");
  for (const argument of request.command) checkNul("argument", argument);
  const own = containerProcess(deps, record);
  using root = Rooted.open(deps.sys, deps.paths.merged(record.id));
  const user = request.user === undefined ? undefined : userOf(root, request.user, record.spec.groupAdd);
  const uid = user?.uid ?? own.user.uid;
  const cwd = request.workdir === undefined ? own.cwd : requestedDirectory(request.workdir);
  return {
    ...own,
    terminal: request.terminal,
    ...(request.size === undefined
      ? {}
      : { consoleSize: { height: request.size.rows, width: request.size.columns } }),
    args: request.command,
    env: mergeEnv(own.env, request, user),
    cwd,
    user:
      user === undefined ? own.user : { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    capabilities: capabilitiesFor(deps, record, {
      own,
      uid,
      changed: user !== undefined,
      privileged: request.privileged,
    }),
    rlimits: processLimits(record.spec.ulimits, hostFacts(deps.sys), []),
  };
}

function containerProcess(deps: ContainerDeps, record: ContainerRecord): OciProcess {
  const path = `${deps.paths.runContainer(record.id)}/config.json`;
  return (JSON.parse(readFileSync(path, "utf8")) as OciSpec).process;
}

interface Wanted {
  own: OciProcess;
  uid: number;
  changed: boolean;
  privileged: boolean;
}

function capabilitiesFor(
  deps: ContainerDeps,
  record: ContainerRecord,
  wanted: Wanted,
): OciProcess["capabilities"] {
  if (!wanted.changed && !wanted.privileged) return wanted.own.capabilities;
  const { spec } = record;
  const privileged = wanted.privileged || spec.privileged;
  const available = hostFacts(deps.sys).capabilities;
  return capabilitySets({ add: spec.capAdd, drop: spec.capDrop, privileged, uid: wanted.uid, available }, []);
}

function mergeEnv(own: string[], request: ExecProcessRequest, user: ResolvedUser | undefined): string[] {
  const env = new Map(own.map((entry) => split(entry)));
  if (user !== undefined) env.set("HOME", user.home);
  if (request.terminal && !env.has("TERM")) env.set("TERM", "xterm");
  for (const entry of request.env) {
    checkNul("environment variable", entry);
    const [name, value] = entry.includes("=") ? split(entry) : [entry, process.env[entry]];
    if (name === "") throw fail("invalid-argument", `environment variable "${entry}" has no name`);
    if (value === undefined) env.delete(name);
    else env.set(name, value);
  }
  return [...env].map(([name, value]) => `${name}=${value}`);
}

function split(entry: string): [string, string] {
  const at = entry.indexOf("=");
  return [entry.slice(0, at), entry.slice(at + 1)];
}
