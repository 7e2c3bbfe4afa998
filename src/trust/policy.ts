/** policy.json: which file counts, and what it says (containers-policy.json(5)). */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { EngineError, fail, ioText } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import { asObject, invalid } from "../image/document.ts";
import { hasCode } from "../sys/errno.ts";
import { parseRequirements } from "./requirement.ts";
import { checkScope } from "./scope.ts";
import { exactObject, parseStrict } from "./strict-json.ts";
import type { Policy, Requirement } from "./trust.ts";

const MAX_POLICY_BYTES = 4 * 1024 * 1024;

export const SYSTEM_POLICY_FILE = "/etc/containers/policy.json";

export interface PolicyBytes {
  file: string;
  bytes: Uint8Array;
}

/**
 * Of the given file, else the user's, else the system's; undefined where there is none of the latter two, which means that
 * everything is accepted. Errors: not-found for a given file; permission-denied and others where one is there that cannot be read.
 */
export function policyBytes(given?: string): PolicyBytes | undefined {
  for (const file of given === undefined ? [userPolicyFile(), SYSTEM_POLICY_FILE] : [given]) {
    try {
      return { file, bytes: readFileSync(file) };
    } catch (error) {
      if (given === undefined && hasCode(error, "ENOENT", "ENOTDIR")) continue;
      throw unreadable(file, error);
    }
  }
  return undefined;
}

/** Where one that is for this user alone lies. */
function userPolicyFile(): string {
  return `${process.env["HOME"] || homedir()}/.config/containers/policy.json`;
}

function unreadable(file: string, cause: unknown): Error {
  const kind = hasCode(cause, "ENOENT") ? "not-found" : "permission-denied";
  return fail(kind, `cannot read the policy "${file}": ${ioText(cause)}`, {
    reason: "policy-file",
    hint: "no image is used while it is unknown what is allowed",
    cause,
  });
}

/** What {@link policyBytes} finds, understood. Errors: those, and invalid-argument that names the file for anything unknown or said twice. */
export function readPolicy(given?: string): Policy | undefined {
  const found = policyBytes(given);
  return found === undefined ? undefined : parsePolicy(found);
}

/** Errors: invalid-argument that names the file. */
export function parsePolicy({ file, bytes }: PolicyBytes): Policy {
  try {
    const top = exactObject("policy", "document", parseStrict("policy", bytes, MAX_POLICY_BYTES), [
      "default",
      "transports",
    ]);
    return {
      file,
      default: parseRequirements("default", top["default"]),
      transports: parseTransports(top["transports"]),
    };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw fail(error.kind, `"${file}": ${error.message}`, {
      reason: "policy-file",
      hint: "mend it (containers-policy.json(5)): no image is used while it is unknown what is allowed",
      cause: error,
    });
  }
}

function parseTransports(value: unknown): Policy["transports"] {
  const transports: Policy["transports"] = new Map();
  if (value === undefined) return transports;
  for (const [name, scopes] of Object.entries(asObject("policy", "transports", value))) {
    transports.set(name, parseScopes(name, scopes));
  }
  return transports;
}

function parseScopes(transport: string, value: unknown): Map<string, Requirement[]> {
  const scopes = new Map<string, Requirement[]>();
  for (const [scope, list] of Object.entries(
    asObject("policy", `transport "${excerpt(transport)}"`, value),
  )) {
    if (/\p{Cc}/u.test(scope)) throw invalid("policy", `"${excerpt(scope)}" is no scope`);
    checkScope(transport, scope);
    scopes.set(scope, parseRequirements(`transports.${excerpt(transport)}."${excerpt(scope)}"`, list));
  }
  return scopes;
}
