/**
 * Which images may be used: containers-policy.json(5) and the signatures it asks for.
 *
 * Vocabulary: a *scope* is a place in a transport's name space ("docker.io/library/alpine:3", "docker.io/library",
 * "*.example.com"), the most specific one that the policy has for an image decides. A *requirement* is one entry of its list; all must hold.
 * A *signature* is a claim over a manifest's digest, and an *identity* the name it speaks of. Knows neither registry nor store:
 * signatures come through {@link SignatureSource}, which engine/admit.ts makes of a registry client.
 *
 * Worked example: policy {"default":[{"type":"reject"}],"transports":{"docker":{"localhost:5000":[{"type":"sigstoreSigned","keyPath":"/k.pub"}]}}}
 * → scope "localhost:5000" → one signature over the digest by that key, naming the same repository → allowed.
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
  /** oci, oci-archive, dir, tarball: absolute path without links. */
  path?: string;
  /** Of the document that would be used; and of the index it was chosen from, if there was one. */
  manifestDigest: Digest;
  indexDigest?: Digest;
}

/** What is attached to a digest where the image lies. */
export interface SignatureSource {
  /** Cosign's layers under the tag `sha256-HEX.sig`: payload (simple signing JSON) and the annotations of its layer. */
  attachments(
    ctx: Ctx,
    digest: Digest,
  ): Promise<{ payload: Uint8Array; annotations: Record<string, string> }[]>;
  /** Sigstore bundles (JSON) attached as referrers, artifactType "application/vnd.dev.sigstore.bundle.v0.3+json". */
  bundles(ctx: Ctx, digest: Digest): Promise<Uint8Array[]>;
}
