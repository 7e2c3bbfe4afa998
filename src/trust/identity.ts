/** `signedIdentity`: which name a signature must speak of to count for an image (containers-policy.json(5)). */
import { EngineError } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import { asObject, invalid } from "../image/document.ts";
import type { Reference } from "../image/image.ts";
import { formatReference, parseReference, repositoryName } from "../image/reference.ts";
import { exactObject, requiredString } from "./strict-json.ts";
import type { SignedIdentity } from "./trust.ts";

const WHAT = "policy";

/** host[:port], with or without a path below it. */
const PREFIX =
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;

/** Absent: matchRepoDigestOrExact. Errors: invalid-argument. */
export function parseIdentity(field: string, value: unknown): SignedIdentity {
  if (value === undefined) return { type: "matchRepoDigestOrExact" };
  const where = `${field}.signedIdentity`;
  const { type } = asObject(WHAT, where, value);
  const only = (...keys: string[]) => exactObject(WHAT, where, value, ["type", ...keys]);
  switch (type) {
    case "matchExact":
    case "matchRepoDigestOrExact":
    case "matchRepository":
      only();
      return { type };
    case "exactReference":
    case "exactRepository":
      return { type, reference: exactName(where, type, only) };
    case "remapIdentity": {
      const fields = only("prefix", "signedPrefix");
      return {
        type,
        prefix: prefixOf(`${where}.prefix`, fields["prefix"]),
        signedPrefix: prefixOf(`${where}.signedPrefix`, fields["signedPrefix"]),
      };
    }
    default:
      throw invalid(
        WHAT,
        `${where} has ${typeof type === "string" ? `the unknown type "${excerpt(type)}"` : "no type"}`,
      );
  }
}

function exactName(
  where: string,
  type: "exactReference" | "exactRepository",
  only: (...keys: string[]) => Record<string, unknown>,
): Reference {
  const key = type === "exactReference" ? "dockerReference" : "dockerRepository";
  const reference = parsed(requiredString(WHAT, `${where}.${key}`, only(key)[key]));
  if (reference === undefined) throw invalid(WHAT, `${where}.${key} is no image name`);
  if (type === "exactReference" && isNameOnly(reference)) {
    throw invalid(WHAT, `${where}.${key} has neither tag nor digest`);
  }
  return reference;
}

function prefixOf(field: string, value: unknown): string {
  const text = requiredString(WHAT, field, value);
  if (PREFIX.test(text)) return text;
  throw invalid(WHAT, `${field} is no host, name space or repository`);
}

function parsed(text: string): Reference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

function isNameOnly({ tag, digest }: Reference): boolean {
  return tag === undefined && digest === undefined;
}

function isSame(a: Reference, b: Reference): boolean {
  return formatReference(a) === formatReference(b);
}

function isSameRepository(a: Reference, b: Reference): boolean {
  return repositoryName(a) === repositoryName(b);
}

/**
 * What speaks against a signature that calls the image `signed` (undefined: it names none, as Sigstore bundles do) for the image that was
 * asked for as `wanted`; undefined if nothing does.
 *
 * A signature without a name vouches for the bytes alone. It counts where the policy lets the tag be anything (matchRepository, exactRepository),
 * and where the bytes are what was asked for (by digest); never where the tag is what must be signed.
 */
export function identityProblem(
  identity: SignedIdentity,
  signed: string | undefined,
  wanted: Reference | undefined,
): string | undefined {
  if (signed === undefined) return namelessProblem(identity, wanted);
  const name = parsed(signed);
  if (name === undefined) return `it is for "${excerpt(signed)}", which is no image name`;
  if (matches(identity, name, wanted)) return undefined;
  return `it is for "${formatReference(name)}"${isNameOnly(name) ? " without a tag" : ""}`;
}

function namelessProblem({ type }: SignedIdentity, wanted: Reference | undefined): string | undefined {
  if (type === "matchRepository" || type === "exactRepository") return undefined;
  const byDigest = wanted?.digest !== undefined;
  if (byDigest && (type === "matchRepoDigestOrExact" || type === "remapIdentity")) return undefined;
  return `it names no image, which is not enough for signedIdentity "${type}"${byDigest ? "" : " and a tag"}`;
}

function matches(identity: SignedIdentity, signed: Reference, wanted: Reference | undefined): boolean {
  if ("reference" in identity) {
    const { type, reference } = identity;
    return type === "exactReference" ? isSame(signed, reference) : isSameRepository(signed, reference);
  }
  // Without a name of its own (a directory, an unnamed archive) an image can only be compared with one the policy states.
  return wanted !== undefined && matchesWanted(identity, signed, withoutTagOfDigest(wanted));
}

function matchesWanted(
  identity: Exclude<SignedIdentity, { reference: Reference }>,
  signed: Reference,
  wanted: Reference,
): boolean {
  switch (identity.type) {
    case "matchRepository":
      return isSameRepository(signed, wanted);
    case "matchExact":
      return !isNameOnly(wanted) && isSame(signed, wanted);
    case "matchRepoDigestOrExact":
      return matchesRepoDigestOrExact(signed, wanted);
    case "remapIdentity":
      return matchesRepoDigestOrExact(signed, remapped(wanted, identity));
  }
}

/** A signature for a repository without a tag never counts here, not even for a digest: so podman has it. */
function matchesRepoDigestOrExact(signed: Reference, wanted: Reference): boolean {
  if (isNameOnly(signed)) return false;
  return wanted.tag === undefined
    ? wanted.digest !== undefined && isSameRepository(signed, wanted)
    : isSame(signed, wanted);
}

/** Where both are given the digest decides what is fetched, and the tag says nothing. */
function withoutTagOfDigest(reference: Reference): Reference {
  if (reference.digest === undefined) return reference;
  const { tag: _, ...rest } = reference;
  return rest;
}

/** Unchanged if it is not under the prefix, or would not be a name afterwards. */
function remapped(
  wanted: Reference,
  { prefix, signedPrefix }: { prefix: string; signedPrefix: string },
): Reference {
  const name = repositoryName(wanted);
  if (name !== prefix && !name.startsWith(`${prefix}/`)) return wanted;
  const { registry: _, repository: __, ...rest } = wanted;
  const moved = parsed(signedPrefix + name.slice(prefix.length));
  return moved === undefined ? wanted : { ...moved, ...rest };
}
