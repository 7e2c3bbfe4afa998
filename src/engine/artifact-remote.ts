/** A manifest on a registry, by whatever short or full name. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { artifactTypeOf, isArtifact } from "../image/artifact.ts";
import type { Descriptor, Digest, Manifest, Platform, Reference } from "../image/image.ts";
import { isIndex, parseManifest } from "../image/manifest.ts";
import { parsePlatform, selectPlatform } from "../image/platform.ts";
import { formatReference, withDefaultTag } from "../image/reference.ts";
import type { RegistryClient, RegistryOptions } from "../registry/registry.ts";
import type { Engine } from "./engine.ts";
import { registryOptions } from "./pull.ts";

export interface Remote {
  reference: Reference;
  client: RegistryClient;
  bytes: Uint8Array;
  /** With the media type that the document says or was served as. */
  descriptor: Descriptor;
}

export interface RemoteRequest {
  reference: string;
  /** Of an index: the manifest for this platform ("linux/arm64") in its place. */
  platform?: string | undefined;
  registry: RegistryOptions;
}

/** The manifest or index under the name. Errors: not-found, those of the registry. */
export async function openRemote(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<Remote> {
  const options = registryOptions(engine, request.registry);
  const wanted = request.platform === undefined ? undefined : parsePlatform(request.platform);
  const { openRegistry } = await import("../registry/client.ts");
  const { qualifiedNames } = await import("../registry/short-names.ts");
  let last: unknown;
  for (const candidate of qualifiedNames(request.reference.replace(/^docker:\/\//, ""), options)) {
    const reference = withDefaultTag(candidate);
    const client = openRegistry(reference, options);
    try {
      return await fetchTop(ctx, { client, reference, wanted });
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
      ctx.log.debug(`${formatReference(reference)}: ${messageOf(error)}`);
      last ??= error;
    }
  }
  throw last;
}

async function fetchTop(
  ctx: Ctx,
  {
    client,
    reference,
    wanted,
  }: { client: RegistryClient; reference: Reference; wanted: Platform | undefined },
): Promise<Remote> {
  const top = await client.manifest(ctx, reference.digest ?? (reference.tag as string));
  const document = parseManifest(top.bytes, top.descriptor.mediaType);
  if (wanted !== undefined && isIndex(document)) {
    const { digest } = selectPlatform(document, wanted);
    return await fetchTop(ctx, { client, reference: { ...reference, digest }, wanted });
  }
  const { digest, size } = top.descriptor;
  return { client, reference, bytes: top.bytes, descriptor: { mediaType: document.mediaType, digest, size } };
}

/** The manifest of an artifact. Errors: invalid-argument for an image or an index. */
export function artifactIn({ bytes, descriptor, reference }: Remote): Manifest {
  const document = parseManifest(bytes, descriptor.mediaType);
  if (!isIndex(document) && isArtifact(document)) return document;
  const kind = isIndex(document) ? "an index" : `an image (${artifactTypeOf(document)})`;
  throw fail("invalid-argument", `"${formatReference(reference)}" is ${kind}, not an artifact`, {
    reason: "not-an-artifact",
    hint: `pull it: berth pull ${formatReference(reference)}`,
  });
}

/** "repository@digest" of what was fetched. */
export function pinned({ reference }: Remote, digest: Digest): string {
  const { tag: _, ...rest } = reference;
  return formatReference({ ...rest, digest });
}
