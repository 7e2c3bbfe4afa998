/** Keys and certificates that a `sigstoreSigned` requirement names, read from where they are when they are needed. */
import type { KeyObject } from "node:crypto";
import type { X509Certificate } from "@sigstore/core";
import { publicKeyOf, readMaterial } from "./keys.ts";
import type { SigstoreSigned } from "./trust.ts";

export interface Roots {
  keys: KeyObject[];
  fulcio?: { authorities: X509Certificate[]; oidcIssuer: string; subjectEmail: string };
  rekorKeys: KeyObject[];
}

/** Errors: invalid-argument that names the file: a key that cannot be read makes no signature count, not even one by another key. */
export async function readRoots({ keys, fulcio, rekorKeys }: SigstoreSigned): Promise<Roots> {
  const roots: Roots = { keys: keys.map(publicKeyOf), rekorKeys: rekorKeys.map(publicKeyOf) };
  if (fulcio === undefined) return roots;
  const { parseCertificates } = await import("./certificate.ts");
  const what = "path" in fulcio.ca ? `"${fulcio.ca.path}"` : "caData of the policy";
  const authorities = parseCertificates(what, readMaterial(fulcio.ca));
  return { ...roots, fulcio: { ...fulcio, authorities } };
}
