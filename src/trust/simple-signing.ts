/**
 * The payload that cosign 2, podman and skopeo sign (containers-signature(5), cosign SIGNATURE_SPEC): which manifest, under
 * which name. Ours alone: it is a dozen lines, and every field of it decides.
 */
import { asObject, invalid } from "../image/document.ts";
import { excerpt } from "../image/digest.ts";
import { exactObject, parseStrict } from "./strict-json.ts";

const MAX_PAYLOAD_BYTES = 1024 * 1024;

const WHAT = "signature payload";
const TYPE = "cosign container image signature";

interface SimpleSigning {
  /** As written. */
  digest: string;
  reference: string;
}

/** Only for bytes whose signature is right. Errors: invalid-argument, resource-exhausted. */
export function parseSimpleSigning(bytes: Uint8Array): SimpleSigning {
  const top = exactObject(WHAT, "document", parseStrict(WHAT, bytes, MAX_PAYLOAD_BYTES), [
    "critical",
    "optional",
  ]);
  // Free for the signer's notes; null where there are none.
  if (top["optional"] !== null && top["optional"] !== undefined) asObject(WHAT, "optional", top["optional"]);
  const critical = exactObject(WHAT, "critical", top["critical"], ["type", "image", "identity"]);
  if (critical["type"] !== TYPE) throw invalid(WHAT, `its type is "${excerpt(String(critical["type"]))}"`);
  const image = exactObject(WHAT, "image", critical["image"], ["docker-manifest-digest"]);
  const identity = exactObject(WHAT, "identity", critical["identity"], ["docker-reference"]);
  return {
    digest: text("docker-manifest-digest", image["docker-manifest-digest"]),
    reference: text("docker-reference", identity["docker-reference"]),
  };
}

function text(field: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw invalid(WHAT, `${field} is not a text`);
}
