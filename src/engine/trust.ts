/** image trust: what the policy says, and one entry of it changed. Needs no store. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import { parseReference, withDefaultTag } from "../image/reference.ts";
import { changedPolicy, writePolicy } from "../trust/edit.ts";
import { materialName, publicKeyOf } from "../trust/keys.ts";
import { parsePolicy, type PolicyBytes, policyBytes, SYSTEM_POLICY_FILE } from "../trust/policy.ts";
import { requirementsFor } from "../trust/scope.ts";
import type { Policy, Requirement } from "../trust/trust.ts";
import type { OpenOptions } from "./engine.ts";

/** One requirement of one scope. */
export interface TrustEntry {
  /** "all" for the default. */
  transport: string;
  /** The scope; "" for a transport's default, "default" for that of all. */
  scope: string;
  type: Requirement["type"];
  /** Files, or who: what a signature must be by. */
  signers: string[];
  /** Which name a signature must speak of. */
  identity?: string;
}

/** The file and what it says, or undefined where there is none and everything is allowed. */
export function trustFile(_ctx: Ctx, options: OpenOptions): PolicyBytes | undefined {
  return policyBytes(options.policyFile);
}

/** In the file's order, the default first; with `name` only the entry that decides for that image. Errors: those of the file, invalid-argument. */
export function trustEntries(_ctx: Ctx, found: PolicyBytes, name?: string): TrustEntry[] {
  const policy = parsePolicy(found);
  return name === undefined ? allEntries(policy) : decidingEntries(policy, name);
}

function allEntries(policy: Policy): TrustEntry[] {
  const entries = policy.default.map((requirement) => entryOf("all", "default", requirement));
  for (const [transport, scopes] of policy.transports) {
    for (const [scope, requirements] of scopes) {
      entries.push(...requirements.map((requirement) => entryOf(transport, scope, requirement)));
    }
  }
  return entries;
}

function decidingEntries(policy: Policy, name: string): TrustEntry[] {
  const reference = withDefaultTag(parseReference(name));
  const { transport, scope, requirements } = requirementsFor(policy, {
    transport: "docker",
    reference,
    documents: [],
  });
  return requirements.map((requirement) => entryOf(transport ?? "all", scope ?? "default", requirement));
}

function entryOf(transport: string, scope: string, requirement: Requirement): TrustEntry {
  const { type } = requirement;
  if (type !== "sigstoreSigned") return { transport, scope, type, signers: [] };
  const { keys, fulcio, identity } = requirement;
  const signers = fulcio === undefined ? keys.map(materialName) : [`"${fulcio.subjectEmail}"`];
  return { transport, scope, type, signers, identity: identity.type };
}

export interface SetTrustRequest {
  /** "default", or a scope of the transport "docker": a registry, a name space, a repository, an image. */
  scope: string;
  type: "accept" | "reject" | "sigstoreSigned";
  /** Files of public keys; absolute. */
  keys: string[];
  /** Any tag of the repository counts, as with signatures by cosign, which names no tag. */
  anyTag: boolean;
}

/** Writes the policy file in use, or the system's where there is none, and returns its path. Errors: invalid-argument, permission-denied. */
export function setTrust(ctx: Ctx, options: OpenOptions, request: SetTrustRequest): string {
  const found =
    options.policyFile === undefined || exists(options.policyFile) ? trustFile(ctx, options) : undefined;
  const file = found?.file ?? options.policyFile ?? SYSTEM_POLICY_FILE;
  checkScopeName(request.scope);
  const change = { scope: request.scope, requirements: [requirementOf(request)] };
  writePolicy({ file, bytes: changedPolicy(file, found?.bytes, change) });
  return file;
}

/** A scope that nothing is in would be passed over in silence, and with it what was meant. */
function checkScopeName(scope: string): void {
  if (/^[^\s/@]+(\/[^\s/@]+)*(@sha\d+:[0-9a-f]+)?$/.test(scope)) return;
  throw fail("invalid-argument", `"${excerpt(scope)}" is no registry, repository or image`, {
    reason: "policy-scope",
    hint: 'write it in full and without a scheme: "docker.io/library/alpine", or "default"',
  });
}

function exists(path: string): boolean {
  return process.getBuiltinModule("node:fs").existsSync(path);
}

function requirementOf({ type, keys, anyTag }: SetTrustRequest): object {
  if (type !== "sigstoreSigned") {
    if (keys.length > 0) throw fail("invalid-argument", `trust of type "${type}" takes no keys`);
    return { type: type === "accept" ? "insecureAcceptAnything" : "reject" };
  }
  if (keys.length === 0) {
    throw fail("invalid-argument", 'trust of type "sigstoreSigned" needs a public key', {
      hint: "name its file with --pubkeysfile",
    });
  }
  for (const path of keys) publicKeyOf({ path });
  return {
    type,
    ...(keys.length === 1 ? { keyPath: keys[0] } : { keyPaths: keys }),
    ...(anyTag ? { signedIdentity: { type: "matchRepository" } } : {}),
  };
}
