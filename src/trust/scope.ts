/** Scopes of a policy: which of them an image has, most specific first, and which a file may name. */
import { posix } from "node:path";
import { invalid } from "../image/document.ts";
import type { Reference } from "../image/image.ts";
import { repositoryName } from "../image/reference.ts";
import type { Candidate, Policy, Requirement } from "./trust.ts";

export interface Decision {
  /** For messages: "the default", `scope "localhost:5000" of transport "docker"`. */
  where: string;
  /** Absent: the default of all. */
  transport?: string;
  scope?: string;
  requirements: Requirement[];
}

/** Those of the most specific scope, then of the transport as a whole (""), then of all. */
export function requirementsFor(policy: Policy, candidate: Candidate): Decision {
  const transport = policy.transports.get(candidate.transport);
  for (const scope of [...scopesOf(candidate), ""]) {
    const requirements = transport?.get(scope);
    if (requirements === undefined) continue;
    const where = scope === "" ? "the default scope" : `scope "${scope}"`;
    const name = candidate.transport;
    return { where: `${where} of transport "${name}"`, transport: name, scope, requirements };
  }
  return { where: "the default", requirements: policy.default };
}

/** Most specific first; none for what only the transport's default applies to. */
export function scopesOf({ transport, reference, path, refName }: Candidate): string[] {
  switch (transport) {
    case "docker":
    case "atomic":
      return reference === undefined ? [] : referenceScopes(reference);
    case "oci":
      if (path === undefined) return [];
      return [...(refName === undefined ? [] : [`${path}:${refName}`]), ...pathScopes(path)];
    case "oci-archive":
    case "dir":
      return path === undefined ? [] : pathScopes(path);
    case "docker-archive":
    case "docker-daemon":
    case "tarball":
      return [];
  }
}

function referenceScopes(reference: Reference): string[] {
  const name = repositoryName(reference);
  const { tag, digest, registry } = reference;
  const scopes: string[] = [];
  if (digest !== undefined) scopes.push(`${name}@${digest}`);
  else if (tag !== undefined) scopes.push(`${name}:${tag}`);
  for (let at = name; ; at = at.slice(0, at.lastIndexOf("/"))) {
    scopes.push(at);
    if (!at.includes("/")) break;
  }
  // Wildcards stand for whole labels of a host, and have no port.
  const labels = registry.replace(/:\d+$/, "").split(".");
  for (let i = 1; i < labels.length; i++) scopes.push(`*.${labels.slice(i).join(".")}`);
  return scopes;
}

/** The path and the directories above it, "/" left out: that is the transport's default. */
function pathScopes(path: string): string[] {
  const scopes: string[] = [];
  for (let at = path; at !== "/" && at !== ""; at = at.slice(0, at.lastIndexOf("/"))) scopes.push(at);
  return scopes;
}

/** Scopes of transports that are not known are left alone: the file is for other programs too. Errors: invalid-argument. */
export function checkScope(transport: string, scope: string): void {
  if (scope === "") return;
  const say = (problem: string) =>
    invalid("policy", `scope "${scope}" of transport "${transport}" ${problem}`);
  if (transport === "docker-archive" || transport === "tarball") {
    throw say('cannot be: only the default "" is possible there');
  }
  if (transport !== "dir" && transport !== "oci" && transport !== "oci-archive") return;
  const path = transport === "oci" ? scope.replace(/:[^/:]*$/, "") : scope;
  if (!path.startsWith("/")) throw say("is not an absolute path");
  if (path === "/") throw say('cannot be: the default is written ""');
  if (posix.normalize(path) !== path || path.endsWith("/")) throw say("is not a path in its shortest form");
}
