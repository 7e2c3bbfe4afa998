/**
 * Certificates of keyless signatures: from the pinned authority, valid when the log says that the signature was made,
 * for the person the policy names. Signed certificate timestamps are not looked at: a policy has no place for the keys of those
 * logs, and the certificate is in the signature's own log entry.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { ASN1Obj, X509Certificate } from "@sigstore/core";
import { fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";

const KEY_USAGE = "2.5.29.15";
const ALT_NAME = "2.5.29.17";
const BASIC_CONSTRAINTS = "2.5.29.19";
const EXTENDED_KEY_USAGE = "2.5.29.37";
const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const UNDERSTOOD = new Set([KEY_USAGE, ALT_NAME, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE]);
const FULCIO_ISSUER = "1.3.6.1.4.1.57264.1.1";
const FULCIO_ISSUER_V2 = "1.3.6.1.4.1.57264.1.8";
const EMAIL_TAG = 1;
const MAX_CHAIN = 8;

export interface Person {
  oidcIssuer: string;
  subjectEmail: string;
}

/** All certificates of a PEM text. Errors: invalid-argument where there is none, or something that is none. */
export function parseCertificates(what: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw malformed(what);
  return blocks.map((block) =>
    parseCertificate(what, Buffer.from(block.replace(/-----[^-]+-----/g, ""), "base64")),
  );
}

/** DER. Errors: invalid-argument. */
export function parseCertificate(what: string, der: Uint8Array): X509Certificate {
  try {
    const certificate = new X509Certificate(ASN1Obj.parseBuffer(Buffer.from(der)));
    // The parts are read when they are asked for, and may fail then.
    void [
      certificate.issuer,
      certificate.subject,
      certificate.notBefore,
      certificate.notAfter,
      certificate.extensions,
    ];
    void certificate.publicKey;
    return certificate;
  } catch (error) {
    throw malformed(what, error);
  }
}

function malformed(what: string, cause?: unknown): Error {
  return fail("invalid-argument", `${what} is no certificate in PEM`, { reason: "certificate", cause });
}

export interface ChainRequest {
  leaf: X509Certificate;
  /** What came with the signature; not believed. */
  intermediates: X509Certificate[];
  /** Pinned by the policy; need not be self-signed. */
  authorities: X509Certificate[];
  at: Date;
}

/** What is wrong with the way from the leaf to a pinned authority; undefined if nothing is. */
export function chainProblem({ leaf, intermediates, authorities, at }: ChainRequest): string | undefined {
  if (!leaf.validForDate(at)) return "its certificate was not valid when it was made";
  if (hasUnknownCritical(leaf)) return "its certificate has a critical extension that is not understood";
  if (!isForCodeSigning(leaf)) return "its certificate is not for signing code";
  const untrusted = intermediates.slice(0, MAX_CHAIN);
  const isAnchored = (certificate: X509Certificate, below: number): boolean => {
    const issues = (issuer: X509Certificate) => mayIssue({ issuer, certificate, below, at });
    if (authorities.some(issues)) return true;
    return below < MAX_CHAIN && untrusted.some((issuer) => issues(issuer) && isAnchored(issuer, below + 1));
  };
  return isAnchored(leaf, 0) ? undefined : "its certificate is not from the pinned authority";
}

/** `below` counts the authorities between the issuer and the leaf. */
function mayIssue(way: {
  issuer: X509Certificate;
  certificate: X509Certificate;
  below: number;
  at: Date;
}): boolean {
  const { issuer, certificate, below, at } = way;
  const room = issuer.extBasicConstraints?.pathLenConstraint;
  return (
    issuer.subject.equals(certificate.issuer) &&
    issuer.isCA &&
    issuer.validForDate(at) &&
    !hasUnknownCritical(issuer) &&
    (room === undefined || room >= BigInt(below)) &&
    certificate.verify(issuer)
  );
}

/** Name constraints among them: what limits an authority must not be passed over. */
function hasUnknownCritical(certificate: X509Certificate): boolean {
  return oids(certificate).some(
    (oid) => !UNDERSTOOD.has(oid) && certificate.extension(oid)?.critical === true,
  );
}

function oids(certificate: X509Certificate): string[] {
  return certificate.extensions.map((extension) => extension.subs[0]?.toOID() ?? "");
}

function isForCodeSigning(certificate: X509Certificate): boolean {
  return membersOf(certificate, EXTENDED_KEY_USAGE).some((usage) => usage.toOID() === CODE_SIGNING);
}

/** What is wrong with whom the certificate is for; undefined if it is the policy's person. */
export function personProblem(leaf: X509Certificate, person: Person): string | undefined {
  const all = oids(leaf);
  if (new Set(all).size !== all.length) return "its certificate has an extension twice";
  const issuers = [issuerV2(leaf), leaf.extension(FULCIO_ISSUER)?.value.toString("utf8")].filter(
    (issuer) => issuer !== undefined,
  );
  const wrong = issuers.find((issuer) => issuer !== person.oidcIssuer);
  if (issuers.length === 0) return "its certificate does not say who vouches for the signer";
  if (wrong !== undefined) return `its signer is vouched for by "${excerpt(wrong)}"`;
  const emails = membersOf(leaf, ALT_NAME)
    .filter((name) => name.tag.isContextSpecific(EMAIL_TAG))
    .map((name) => name.value.toString("utf8"));
  if (emails.includes(person.subjectEmail)) return undefined;
  return `its signer is ${emails.map((email) => `"${excerpt(email)}"`).join(", ") || "no person with an address"}`;
}

/** A UTF8String within the extension's value. */
function issuerV2(leaf: X509Certificate): string | undefined {
  return valueOf(leaf, FULCIO_ISSUER_V2)?.value.toString("utf8");
}

function valueOf(certificate: X509Certificate, oid: string): ASN1Obj | undefined {
  const extension = certificate.extension(oid);
  return extension === undefined ? undefined : ASN1Obj.parseBuffer(Buffer.from(extension.value));
}

function membersOf(certificate: X509Certificate, oid: string): ASN1Obj[] {
  return valueOf(certificate, oid)?.subs ?? [];
}

export function certificateKey(leaf: X509Certificate): KeyObject {
  return createPublicKey({ key: leaf.publicKey, format: "der", type: "spki" });
}
