/** Cosign 2's signatures: simple signing JSON as a layer, everything else in the annotations of that layer (cosign SIGNATURE_SPEC). */
import { messageOf } from "../core/error.ts";
import { digestAlgorithm, digestOf, excerpt, isDigest } from "../image/digest.ts";
import { asObject, type JsonObject } from "../image/document.ts";
import { isSignedBy, spkiOf } from "./keys.ts";
import type { Roots } from "./roots.ts";
import { parseSimpleSigning } from "./simple-signing.ts";
import { exactObject, parseStrict, requiredString } from "./strict-json.ts";
import type { FoundSignature, SignedDocument } from "./trust.ts";

const SIGNATURE = "dev.cosignproject.cosign/signature";
const CERTIFICATE = "dev.sigstore.cosign/certificate";
const CHAIN = "dev.sigstore.cosign/chain";
const LOG_ENTRY = "dev.sigstore.cosign/bundle";

const RECORD = "log entry";
const MAX_ANNOTATION_BYTES = 1024 * 1024;

type Attachment = Extract<FoundSignature, { kind: "attachment" }>;

/** Whether it is a signature over the document by one of the roots; `name` is the image it names. */
export async function checkAttachment(
  attachment: Attachment,
  document: SignedDocument,
  roots: Roots,
): Promise<{ problem: string } | { name: string }> {
  try {
    const problem = await signatureProblem(attachment, roots);
    if (problem !== undefined) return { problem };
    const { digest, reference } = parseSimpleSigning(attachment.payload);
    const isOurs = isDigest(digest) && digestOf(document.bytes, digestAlgorithm(digest)) === digest;
    return isOurs ? { name: reference } : { problem: `it is for the digest "${excerpt(digest)}"` };
  } catch (error) {
    return { problem: excerpt(messageOf(error), 300) };
  }
}

async function signatureProblem(attachment: Attachment, roots: Roots): Promise<string | undefined> {
  const { payload, annotations } = attachment;
  const signature = annotations[SIGNATURE];
  if (signature === undefined) return `it lacks the annotation "${SIGNATURE}"`;
  if (roots.fulcio === undefined && roots.rekorKeys.length === 0) {
    const bytes = Buffer.from(signature, "base64");
    const isRight = roots.keys.some((key) => isSignedBy(key, payload, bytes));
    return isRight ? undefined : "it is not by a key of the policy";
  }
  const problem = recordProblem(annotations, roots);
  if (problem !== undefined) return problem;
  const leaf = roots.fulcio === undefined ? undefined : await leafOf(annotations);
  const recorded = recordedSigner(annotations[LOG_ENTRY] as string);
  const signers = leaf === undefined ? roots.keys.map(spkiOf) : [leaf];
  if (!signers.some((signer) => signer.equals(recorded)))
    return "its record is of another key or certificate";
  // Much code, that plain keys do without.
  const { bundleFromJSON } = await import("@sigstore/bundle");
  const { signatureProblem: bundleProblem } = await import("./bundle.ts");
  const bundle = bundleFromJSON(asBundle(attachment, signature, leaf));
  return bundleProblem({ bundle, artifact: payload, intermediates: await chainOf(annotations) }, roots);
}

function recordProblem(annotations: Record<string, string>, { fulcio }: Roots): string | undefined {
  const needed = fulcio === undefined ? [LOG_ENTRY] : [LOG_ENTRY, CERTIFICATE];
  for (const key of needed) {
    const value = annotations[key];
    if (value === undefined) return `it lacks the annotation "${key}"`;
    if (value.length > MAX_ANNOTATION_BYTES) return `its annotation "${key}" is too large`;
  }
  return undefined;
}

/** The same facts as a bundle of version 0.1, which is what cosign 2 knew. */
function asBundle({ payload, annotations }: Attachment, signature: string, leaf: Buffer | undefined): object {
  const entry = logEntry(annotations[LOG_ENTRY] as string);
  const signer =
    leaf === undefined
      ? { publicKey: { hint: "" } }
      : { x509CertificateChain: { certificates: [{ rawBytes: leaf.toString("base64") }] } };
  return {
    mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1",
    verificationMaterial: { ...signer, tlogEntries: [entry] },
    messageSignature: {
      messageDigest: {
        algorithm: "SHA2_256",
        digest: Buffer.from(digestOf(payload).slice("sha256:".length), "hex").toString("base64"),
      },
      signature,
    },
  };
}

interface LoggedPayload {
  fields: JsonObject;
  /** Base64, as it is signed. */
  body: string;
  /** What is recorded: a "hashedrekord". */
  entry: JsonObject;
  set: unknown;
}

function loggedPayload(text: string): LoggedPayload {
  const top = exactObject(RECORD, "document", parseStrict(RECORD, Buffer.from(text), MAX_ANNOTATION_BYTES), [
    "SignedEntryTimestamp",
    "Payload",
  ]);
  const fields = exactObject(RECORD, "Payload", top["Payload"], [
    "body",
    "integratedTime",
    "logIndex",
    "logID",
  ]);
  const body = requiredString(RECORD, "body", fields["body"]);
  const entry = asObject(RECORD, "body", JSON.parse(Buffer.from(body, "base64").toString("utf8")));
  return { fields, body, entry, set: top["SignedEntryTimestamp"] };
}

/** Rekor's signed entry timestamp with what it is over. */
function logEntry(text: string): object {
  const { fields, body, entry, set } = loggedPayload(text);
  return {
    logIndex: String(fields["logIndex"]),
    logId: { keyId: Buffer.from(requiredString(RECORD, "logID", fields["logID"]), "hex").toString("base64") },
    kindVersion: { kind: entry["kind"], version: entry["apiVersion"] },
    integratedTime: String(fields["integratedTime"]),
    inclusionPromise: { signedEntryTimestamp: requiredString(RECORD, "SignedEntryTimestamp", set) },
    canonicalizedBody: body,
  };
}

/** DER of the key or certificate that the record names; whether the log has signed that is seen to later. */
function recordedSigner(text: string): Buffer {
  let at: unknown = loggedPayload(text).entry;
  for (const field of ["spec", "signature", "publicKey", "content"]) at = asObject(RECORD, field, at)[field];
  const pem = Buffer.from(requiredString(RECORD, "publicKey", at), "base64").toString("latin1");
  return Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64");
}

async function leafOf(annotations: Record<string, string>): Promise<Buffer> {
  const { parseCertificates } = await import("./certificate.ts");
  const [leaf, ...others] = parseCertificates("its certificate", annotations[CERTIFICATE] as string);
  if (leaf === undefined || others.length > 0)
    throw new Error("it has several certificates where one belongs");
  return leaf.root.toDER();
}

async function chainOf(annotations: Record<string, string>): Promise<Uint8Array[]> {
  const chain = annotations[CHAIN];
  if (chain === undefined || chain.trim() === "") return [];
  if (chain.length > MAX_ANNOTATION_BYTES) throw new Error("its certificate chain is too large");
  const { parseCertificates } = await import("./certificate.ts");
  return parseCertificates("its certificate chain", chain).map((certificate) => certificate.root.toDER());
}
