/** Manifests on one source: fetched with their digest checked, put, deleted. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestAlgorithm, digestOf, isDigest } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import { bareMediaType, MANIFEST_ACCEPT } from "../image/media-types.ts";
import { pushScopes } from "./upload-session.ts";
import type { FetchedManifest } from "./registry.ts";
import type { Transport } from "./transport.ts";

/** Errors: not-found, data-loss (another digest than asked for or than the registry names), resource-exhausted over 4 MiB. */
export async function fetchManifest(
  ctx: Ctx,
  transport: Transport,
  tagOrDigest: string,
): Promise<FetchedManifest> {
  const { registry, repository } = transport.source;
  const what = `manifest "${tagOrDigest}" of "${registry}/${repository}"`;
  const reply = await transport.request(ctx, {
    method: "GET",
    target: `/v2/${repository}/manifests/${tagOrDigest}`,
    headers: { Accept: MANIFEST_ACCEPT },
    scopes: [`repository:${repository}:pull`],
    what,
    accept: [200],
  });
  const bytes = await reply.bytes(MAX_MANIFEST_BYTES);
  const named = reply.headers.get("docker-content-digest") ?? "";
  const expected = isDigest(tagOrDigest) ? tagOrDigest : isDigest(named) ? named : undefined;
  const digest = digestOf(bytes, expected === undefined ? "sha256" : digestAlgorithm(expected));
  if (expected !== undefined && digest !== expected) {
    throw fail("data-loss", `${what}: its digest is "${digest}", not "${expected}"`, {
      reason: "manifest-digest",
    });
  }
  const mediaType = bareMediaType(reply.headers.get("content-type") ?? "");
  return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
}

export interface PutManifestRequest {
  tagOrDigest: string;
  mediaType: string;
  bytes: Uint8Array;
}

/** `subject` is what the registry says it has filed the manifest under (OCI-Subject); undefined where it files nothing. */
export async function putManifest(
  ctx: Ctx,
  transport: Transport,
  { tagOrDigest, mediaType, bytes }: PutManifestRequest,
): Promise<{ digest: Digest; subject?: string }> {
  const { registry, repository } = transport.source;
  const reply = await transport.request(ctx, {
    method: "PUT",
    target: `/v2/${repository}/manifests/${tagOrDigest}`,
    headers: { "Content-Type": mediaType },
    body: bytes,
    scopes: pushScopes(transport),
    what: `push of "${tagOrDigest}" to "${registry}/${repository}"`,
    accept: [200, 201, 202, 204],
  });
  await reply.discard();
  const said = reply.headers.get("docker-content-digest") ?? "";
  const known = isDigest(said) ? said : isDigest(tagOrDigest) ? tagOrDigest : undefined;
  const digest = digestOf(bytes, known === undefined ? "sha256" : digestAlgorithm(known));
  if (known !== undefined && known !== digest) {
    throw fail(
      "data-loss",
      `registry "${registry}" stored the manifest as "${known}" instead of "${digest}"`,
      { reason: "push-digest" },
    );
  }
  const subject = reply.headers.get("oci-subject");
  return subject === null ? { digest } : { digest, subject };
}

/** By digest only: what a tag stands for must be known first. Errors: not-found, permission-denied (the registry deletes nothing). */
export async function deleteManifest(ctx: Ctx, transport: Transport, digest: Digest): Promise<void> {
  const { registry, repository } = transport.source;
  const what = `deletion of "${digest}" from "${registry}/${repository}"`;
  const reply = await transport.request(ctx, {
    method: "DELETE",
    target: `/v2/${repository}/manifests/${digest}`,
    scopes: [`repository:${repository}:delete,pull`],
    what,
    accept: [200, 202, 204, 405],
  });
  await reply.discard();
  if (reply.status !== 405) return;
  throw fail("permission-denied", `registry "${registry}" does not let manifests be deleted`, {
    reason: "delete-forbidden",
    hint: "its operator decides; docker-registry wants storage.delete.enabled",
  });
}
