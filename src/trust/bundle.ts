/**
 * Sigstore bundles: what cosign 3 attaches to an image, and the form cosign 2's signatures are brought into where a log or a
 * certificate has to be looked at. Structure, transparency log and time are `@sigstore/verify`'s work (docs/adr/0006); which key, which
 * certificate, which manifest and which statement count is decided here.
 */
import type { KeyObject } from "node:crypto";
import { type Bundle, bundleFromJSON } from "@sigstore/bundle";
import { dsse } from "@sigstore/core";
import { type SignedEntity, toSignedEntity, Verifier } from "@sigstore/verify";
import { messageOf } from "../core/error.ts";
import { digestAlgorithm, digestHex, digestOf, excerpt } from "../image/digest.ts";
import { asObject } from "../image/document.ts";
import { certificateKey, chainProblem, parseCertificate, personProblem } from "./certificate.ts";
import { isSignedBy, keyProblem, logIds } from "./keys.ts";
import type { Roots } from "./roots.ts";
import { parseStrict } from "./strict-json.ts";
import { SIGN_PREDICATE, type SignedDocument } from "./trust.ts";

const MAX_BUNDLE_BYTES = 1024 * 1024;

const STATEMENT_PAYLOAD = "application/vnd.in-toto+json";
const STATEMENT_TYPES = new Set(["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"]);

const ALWAYS = { start: new Date(0), end: new Date(8_640_000_000_000_000) };

/** More of anything than an honest bundle has. */
const MAX_LOG_ENTRIES = 8;

type Checked = { problem: string } | { name: string | undefined };

/** Whether the bundle is a signature over the document by one of the roots; `name` is the image it names, if it does. */
export function checkBundle(bytes: Uint8Array, document: SignedDocument, roots: Roots): Checked {
  try {
    const bundle = bundleFromJSON(parseStrict("bundle", bytes, MAX_BUNDLE_BYTES));
    const problem = signatureProblem({ bundle, artifact: document.bytes, intermediates: [] }, roots);
    return problem === undefined ? statementOf(bundle, document) : { problem };
  } catch (error) {
    return { problem: excerpt(messageOf(error), 300) };
  }
}

interface SignedBundle {
  bundle: Bundle;
  /** What a message signature is over. */
  artifact: Uint8Array;
  /** PEM of certificates between the signer's and the authority's; not believed. */
  intermediates: Uint8Array[];
}

/** What is wrong with the signature itself; undefined if one of the roots has made it, in time and on record where the policy asks for that. */
export function signatureProblem(signed: SignedBundle, roots: Roots): string | undefined {
  const { bundle, artifact } = signed;
  const entity = toSignedEntity(bundle, Buffer.from(artifact));
  if (!isOverArtifact(bundle, artifact)) return "it is over other bytes";
  const claim: Claim = {
    entity,
    bytes: signedBytes(bundle, artifact),
    record: pinnedRecord(entity, roots.rekorKeys),
    needsRecord: roots.rekorKeys.length > 0,
  };
  if (roots.fulcio !== undefined) return certificateProblem(signed, claim, roots.fulcio);
  if (entity.key.$case !== "public-key") return "it is by a certificate, not by a key";
  const problems = roots.keys.map((key) => entityProblem(claim, key, false));
  return problems.includes(undefined) ? undefined : problems[0];
}

/** A bundle's parts, with what of them is believed if the signature is right. */
interface Claim {
  entity: SignedEntity;
  /** What the signature must be over. */
  bytes: Uint8Array;
  record: LogRecord;
  needsRecord: boolean;
}

function certificateProblem(
  { intermediates }: SignedBundle,
  claim: Claim,
  fulcio: NonNullable<Roots["fulcio"]>,
): string | undefined {
  const { entity, record } = claim;
  if (entity.key.$case !== "certificate") return "it is by a key, not by a certificate";
  const leaf = entity.key.certificate;
  const key = certificateKey(leaf);
  const problem = keyProblem(key) ?? personProblem(leaf, fulcio) ?? entityProblem(claim, key, true);
  if (problem !== undefined) return problem;
  const chain = {
    leaf,
    intermediates: intermediates.map((der) => parseCertificate("an intermediate", der)),
    authorities: fulcio.authorities,
  };
  // The log's word for these times has been checked.
  return record.times.map((at) => chainProblem({ ...chain, at })).find((one) => one !== undefined);
}

/** A message signature says of which bytes; the signature is checked over ours, and so is what it says. */
function isOverArtifact({ content }: Bundle, artifact: Uint8Array): boolean {
  if (content?.$case !== "messageSignature") return true;
  const { messageDigest } = content.messageSignature;
  if (messageDigest === undefined) return false;
  const algorithm = messageDigest.digest.length === 64 ? "sha512" : "sha256";
  return messageDigest.digest.toString("hex") === digestHex(digestOf(artifact, algorithm));
}

/** By this key, in the log of one of the pinned ones if there are any, and (`timed`) with that log's word for when. */
function entityProblem(claim: Claim, key: KeyObject, timed: boolean): string | undefined {
  const { bytes, record } = claim;
  const given = claim.entity.signature;
  const checked: SignedEntity = {
    // The verifier looks signers up by name; here there is one.
    key: { $case: "public-key", hint: "" },
    signature: {
      signature: given.signature,
      compareSignature: (other) => given.compareSignature(other),
      compareDigest: (other) => given.compareDigest(other),
      compareSignedDigest: (other) => given.compareSignedDigest(other),
      // Which hash goes with which key is not the bundle's affair.
      verifySignature: (by) => isSignedBy(by, bytes, given.signature),
    },
    tlogEntries: record.entries,
    timestamps: timed ? record.entries.map((tlogEntry) => ({ $case: "transparency-log", tlogEntry })) : [],
  };
  const trust = {
    certificateAuthorities: [],
    timestampAuthorities: [],
    ctlogs: [],
    tlogs: record.authorities,
    publicKey: () => ({ publicKey: key, validFor: () => true }),
  };
  const thresholds = {
    ctlogThreshold: 0,
    tlogThreshold: claim.needsRecord ? 1 : 0,
    timestampThreshold: timed ? 1 : 0,
  };
  try {
    new Verifier(trust, thresholds).verify(checked);
    return undefined;
  } catch (error) {
    return excerpt(messageOf(error), 200);
  }
}

interface LogRecord {
  entries: SignedEntity["tlogEntries"];
  authorities: ConstructorParameters<typeof Verifier>[0]["tlogs"];
  /** Of entries whose time the log vouches for (by a signed entry timestamp). */
  times: Date[];
}

/** Entries of the pinned logs, others left out: a bundle may be on record in more places than the policy knows. */
function pinnedRecord({ tlogEntries }: SignedEntity, rekorKeys: readonly KeyObject[]): LogRecord {
  const record: LogRecord = { entries: [], authorities: [], times: [] };
  for (const entry of tlogEntries.slice(0, MAX_LOG_ENTRIES)) {
    const note = entry.inclusionProof?.checkpoint?.envelope ?? "";
    const origin = note.slice(0, Math.max(0, note.indexOf("\n")));
    const logID = Buffer.from(entry.logId.keyId);
    const publicKey = rekorKeys.find((key) => logIds(key, origin).some((id) => id.equals(logID)));
    if (publicKey === undefined) continue;
    record.entries.push(entry);
    // The verifier wants the name a note is signed under in the log's address. The key is pinned, so any name will do.
    record.authorities.push({ logID, baseURL: note, publicKey, validFor: ALWAYS });
    if (entry.inclusionPromise !== undefined)
      record.times.push(new Date(Number(entry.integratedTime) * 1000));
  }
  return record;
}

function signedBytes({ content }: Bundle, artifact: Uint8Array): Uint8Array {
  if (content?.$case !== "dsseEnvelope") return artifact;
  const { payloadType, payload } = content.dsseEnvelope;
  return dsse.preAuthEncoding(payloadType, payload);
}

/** Of a bundle whose signature is right. */
function statementOf({ content }: Bundle, document: SignedDocument): Checked {
  if (content?.$case !== "dsseEnvelope") return { name: undefined };
  const { payloadType, payload } = content.dsseEnvelope;
  if (payloadType !== STATEMENT_PAYLOAD) return { problem: `it is over "${excerpt(payloadType)}"` };
  const statement = parseStrict("statement", payload, MAX_BUNDLE_BYTES);
  if (!STATEMENT_TYPES.has(String(statement["_type"]))) return { problem: "it is over no in-toto statement" };
  if (statement["predicateType"] !== SIGN_PREDICATE) {
    return { problem: `it states "${excerpt(String(statement["predicateType"]))}", which is no signature` };
  }
  const subjects = Array.isArray(statement["subject"]) ? (statement["subject"] as unknown[]) : [];
  const subject = subjects
    .map((item) => asObject("statement", "subject", item))
    .find((item) => isOf(item["digest"], document));
  if (subject === undefined) return { problem: "it is for another digest" };
  const { name } = subject;
  return { name: typeof name === "string" && name !== "" ? name : undefined };
}

function isOf(digests: unknown, { digest, bytes }: SignedDocument): boolean {
  const fields = asObject("statement", "digest", digests);
  const algorithm = digestAlgorithm(digest);
  if (fields[algorithm] !== undefined) return fields[algorithm] === digestHex(digest);
  return algorithm !== "sha256" && fields["sha256"] === digestHex(digestOf(bytes));
}
