/** Whether an image meets the requirements of a policy. */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { formatReference } from "../image/reference.ts";
import { identityProblem } from "./identity.ts";
import { materialName } from "./keys.ts";
import { readRoots, type Roots } from "./roots.ts";
import type { Decision } from "./scope.ts";
import type {
  Candidate,
  FoundSignature,
  Policy,
  SignatureSource,
  SignedDocument,
  SigstoreSigned,
} from "./trust.ts";

export interface CheckRequest {
  policy: Policy;
  decision: Decision;
  candidate: Candidate;
  /** None: the place has no way to keep signatures. */
  signatures: SignatureSource | undefined;
}

/** Reasons told in one message. */
const MAX_REASONS = 3;

/**
 * Returns if the image may be used. Errors: permission-denied "signature-policy" that names file, scope and requirement;
 * unimplemented "signature-kind" for what cannot be verified here; invalid-argument for keys of the policy that cannot be read; those of
 * the place the signatures come from.
 */
export async function checkRequirements(ctx: Ctx, request: CheckRequest): Promise<void> {
  const places = new Map<SignedDocument, Remembered<FoundSignature>>();
  for (const requirement of request.decision.requirements) {
    switch (requirement.type) {
      case "insecureAcceptAnything":
        break;
      case "reject":
        throw refused(request, "rejects it", "another scope or another place may allow it");
      case "signedBy":
      case "signedBaseLayer":
        throw unsupported(request, `"${requirement.type}" (OpenPGP signatures)`);
      case "sigstoreSigned":
        if (requirement.pki) throw unsupported(request, '"sigstoreSigned" with "pki"');
        await checkSigned(ctx, request, { requirement, places });
    }
  }
}

function nameOf({ reference, path, transport, refName }: Candidate): string {
  if (reference !== undefined) return formatReference(reference);
  if (path === undefined) return `an image from a ${transport}`;
  return refName === undefined ? path : `${path}:${refName}`;
}

function refused({ policy, decision, candidate }: CheckRequest, why: string, hint: string): Error {
  const message = `"${nameOf(candidate)}" is not allowed: ${decision.where} in the policy "${policy.file}" ${why}`;
  return fail("permission-denied", message, {
    reason: "signature-policy",
    hint,
    data: { policy: policy.file, where: decision.where },
  });
}

function unsupported({ policy, decision, candidate }: CheckRequest, what: string): Error {
  const message = `"${nameOf(candidate)}" is not allowed: ${decision.where} in the policy "${policy.file}" demands ${what}, which berth cannot verify`;
  return fail("unimplemented", message, {
    reason: "signature-kind",
    hint: 'let that scope ask for "sigstoreSigned" with a key or fulcio, or for "insecureAcceptAnything", or use another file with --signature-policy',
    data: { policy: policy.file, where: decision.where },
  });
}

interface Wanted {
  requirement: SigstoreSigned;
  /** What was fetched for one requirement is there for the next. */
  places: Map<SignedDocument, Remembered<FoundSignature>>;
}

async function checkSigned(ctx: Ctx, request: CheckRequest, { requirement, places }: Wanted): Promise<void> {
  const roots = await readRoots(requirement);
  const problems = new Map<string, number>();
  let nameless = false;
  // The outermost document first: it is what people sign.
  for (const document of request.candidate.documents.toReversed()) {
    for await (const signature of found(ctx, request, { document, places })) {
      checkCanceled(ctx);
      const problem = await signatureProblem(signature, { request, requirement, roots, document });
      if (problem === undefined) return;
      nameless ||= /^it names no image|without a tag$/.test(problem);
      problems.set(problem, (problems.get(problem) ?? 0) + 1);
    }
  }
  const hint = nameless
    ? 'cosign signs no tag: let the policy say {"type":"matchRepository"} if that key signs nothing else; bundles also count for images by digest'
    : "have it signed by them, for example with cosign sign, or change the policy";
  throw refused(request, `demands a signature by ${signers(requirement)}, and ${summary(problems)}`, hint);
}

function signers({ keys, fulcio, rekorKeys }: SigstoreSigned): string {
  const who =
    fulcio === undefined
      ? [...new Set(keys.map(materialName))].join(" or ")
      : `"${fulcio.subjectEmail}" of "${fulcio.oidcIssuer}"`;
  return rekorKeys.length === 0 ? who : `${who}, on record`;
}

function summary(problems: Map<string, number>): string {
  if (problems.size === 0) return "it has none";
  const count = [...problems.values()].reduce((sum, one) => sum + one, 0);
  const told = [...problems.keys()].slice(0, MAX_REASONS);
  const rest = problems.size - told.length;
  const reasons = [...told, ...(rest > 0 ? [`and ${rest} more`] : [])].join("; ");
  return count === 1 ? `its only one does not count: ${reasons}` : `none of its ${count} counts: ${reasons}`;
}

function found(
  ctx: Ctx,
  { signatures }: CheckRequest,
  { document, places }: { document: SignedDocument; places: Wanted["places"] },
): AsyncIterable<FoundSignature> | FoundSignature[] {
  if (signatures === undefined) return [];
  let place = places.get(document);
  if (place === undefined) {
    place = new Remembered(signatures.find(ctx, document.digest));
    places.set(document, place);
  }
  return place;
}

interface Question {
  request: CheckRequest;
  requirement: SigstoreSigned;
  roots: Roots;
  document: SignedDocument;
}

async function signatureProblem(
  signature: FoundSignature,
  { request, requirement, roots, document }: Question,
): Promise<string | undefined> {
  const checked = await checkSignature(signature, document, roots);
  if ("problem" in checked) return checked.problem;
  return identityProblem(requirement.identity, checked.name, request.candidate.reference);
}

async function checkSignature(
  signature: FoundSignature,
  document: SignedDocument,
  roots: Roots,
): Promise<{ problem: string } | { name: string | undefined }> {
  switch (signature.kind) {
    case "unusable":
      return { problem: signature.problem };
    case "attachment": {
      const { checkAttachment } = await import("./attachment.ts");
      return await checkAttachment(signature, document, roots);
    }
    case "bundle": {
      const { checkBundle } = await import("./bundle.ts");
      return checkBundle(signature.bytes, document, roots);
    }
  }
}

/** Asks the source for each item once, however often it is gone through. */
class Remembered<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  readonly #source: AsyncIterator<T>;

  constructor(source: AsyncIterable<T>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (let i = 0; ; i++) {
      if (i === this.#items.length) {
        const next = await this.#source.next();
        if (next.done === true) return;
        this.#items.push(next.value);
      }
      yield this.#items[i] as T;
    }
  }
}
