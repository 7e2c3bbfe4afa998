/** admit: whether the policy lets an image in (containers-policy.json(5)); asked before anything of it is stored. */
import type { Ctx } from "../core/ctx.ts";
import { readPolicy } from "../trust/policy.ts";
import { requirementsFor } from "../trust/scope.ts";
import type { Candidate, SignatureSource } from "../trust/trust.ts";
import type { Engine } from "./engine.ts";

export interface AdmitRequest {
  candidate: Candidate;
  /** Absent where the place has no signatures. */
  signatures?: SignatureSource;
}

/**
 * Returns if the image may be used; without a policy file all may. What is in the store was asked about when it came.
 * Errors: permission-denied "signature-policy" (the message names file, scope and requirement); unimplemented "signature-kind";
 * invalid-argument and others "policy-file" or "policy-key" for a policy that cannot be used; those of the registry.
 */
export async function admit(
  ctx: Ctx,
  engine: Engine,
  { candidate, signatures }: AdmitRequest,
): Promise<void> {
  if (engine.options.insecurePolicy === true) return;
  const policy = readPolicy(engine.options.policyFile);
  if (policy === undefined) return;
  const decision = requirementsFor(policy, candidate);
  ctx.log.debug(`${decision.where} of the policy "${policy.file}" decides`);
  if (decision.requirements.every(({ type }) => type === "insecureAcceptAnything")) return;
  const { checkRequirements } = await import("../trust/check.ts");
  await checkRequirements(ctx, { policy, decision, candidate, signatures });
}
