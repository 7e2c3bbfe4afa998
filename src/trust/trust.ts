/**
 * Which images may be used: containers-policy.json(5) and the signatures it asks for.
 *
 * Vocabulary: a *scope* is a place in a transport's name space ("docker.io/library/alpine:3", "docker.io/library",
 * "*.example.com"), the most specific one that the policy has for an image decides. A *requirement* is one entry of its list; all must hold.
 * A *signature* is a claim over a manifest's digest, and an *identity* the name it speaks of. Knows neither registry nor store:
 * signatures come through {@link SignatureSource}, which engine/signatures.ts makes of a registry client.
 *
 * Worked example: policy {"default":[{"type":"reject"}],"transports":{"docker":{"localhost:5000":[{"type":"sigstoreSigned","keyPath":"/k.pub"}]}}}
 * → `readPolicy` → `requirementsFor` gives scope "localhost:5000" → `checkRequirements`: one signature over the digest by that key,
 * naming the same repository and tag → nothing is thrown, the image may be used.
 */
import type { Ctx } from "../core/ctx.ts";
import type { Digest, Reference } from "../image/image.ts";

/** The image somebody wants to use. */
export interface Candidate {
  transport:
    | "docker"
    | "oci"
    | "oci-archive"
    | "docker-archive"
    | "dir"
    | "atomic"
    | "tarball"
    | "docker-daemon";
  /** docker, docker-archive: what was asked for, fully qualified. */
  reference?: Reference;
  /** oci, oci-archive, dir: absolute path without links; absent for what comes through a pipe. */
  path?: string;
  /** oci: the name within the layout. */
  refName?: string;
  /**
   * The manifest that would be used, then the indexes it was chosen from, innermost first; every digest is verified. A signature over
   * any of them admits the image, because each lists the one before.
   */
  documents: SignedDocument[];
}

export interface SignedDocument {
  digest: Digest;
  bytes: Uint8Array;
}

/** What somebody has attached to a digest; nothing in it is believed yet. */
export type FoundSignature =
  /** Cosign's: a layer with simple signing JSON, and the annotations of that layer. */
  | { kind: "attachment"; payload: Uint8Array; annotations: Record<string, string> }
  /** A Sigstore bundle, JSON. */
  | { kind: "bundle"; bytes: Uint8Array }
  /** One that could not be fetched, or that there are too many of. */
  | { kind: "unusable"; problem: string };

/** Where signatures are looked for. */
export interface SignatureSource {
  /** Newest first, fetched as they are asked for, at most a few hundred. Errors: those of the place, unless it just has none. */
  find(ctx: Ctx, digest: Digest): AsyncIterable<FoundSignature>;
}

export interface Policy {
  /** For messages. */
  file: string;
  default: Requirement[];
  /** Transport → scope → requirements. */
  transports: Map<string, Map<string, Requirement[]>>;
}

export type Requirement =
  | { type: "insecureAcceptAnything" }
  | { type: "reject" }
  /** OpenPGP signatures, which berth does not verify: refused when asked, so that other scopes of the file work. */
  | { type: "signedBy" | "signedBaseLayer" }
  | SigstoreSigned;

export interface SigstoreSigned {
  type: "sigstoreSigned";
  /** One of these is enough; empty with `fulcio` or `pki`. */
  keys: Material[];
  fulcio?: Fulcio;
  /** Certificates of one's own authority; parsed, not supported. */
  pki: boolean;
  /** With any of them the signature must be in the log of one of these. */
  rekorKeys: Material[];
  identity: SignedIdentity;
}

/** Certificates of this authority, for this person. */
export interface Fulcio {
  ca: Material;
  oidcIssuer: string;
  subjectEmail: string;
}

/** PEM in a file, read when it is needed, or in the policy itself. */
export type Material = { path: string } | { data: Uint8Array };

export type SignedIdentity =
  | { type: "matchExact" | "matchRepoDigestOrExact" | "matchRepository" }
  | { type: "exactReference" | "exactRepository"; reference: Reference }
  | { type: "remapIdentity"; prefix: string; signedPrefix: string };

/** What `cosign sign` states of an image. Other predicates (a bill of materials, a test report) say something about it, not that it may be used. */
export const SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1";
