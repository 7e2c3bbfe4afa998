/**
 * The image that a stored index means, for this host or another platform: unpacked from the blobs that are here, or pulled by
 * its digest from where it is known to be.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Descriptor, Digest, Manifest, Platform } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "../image/manifest.ts";
import { selectPlatform } from "../image/platform.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import { imageOfManifest, platformEntry } from "../storage/index-entry.ts";
import type { ImageRecord, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { storeLayers } from "./image-source.ts";
import { sourcesOf } from "./manifest-reader.ts";

export interface IndexImageRequest {
  /** Name, digest or beginning of a digest. */
  name: string;
  platform?: Platform;
  /** Where what is missing may be fetched; absent: nothing may. */
  registry?: RegistryOptions;
}

/** Undefined if the name means no index. Errors: not-found (nothing for the platform, not here and not to be fetched), those of pull. */
export async function imageOfIndex(
  ctx: Ctx,
  engine: Engine,
  request: IndexImageRequest,
): Promise<ImageRecord | undefined> {
  const index = engine.manifests.find(request.name);
  if (index === undefined || !isIndex(index.document)) return undefined;
  const entry = platformEntry(engine.store, index.digest, request.platform);
  // Says what there is instead.
  if (entry === undefined) {
    selectPlatform(index.document, request.platform);
    throw fail("not-found", `${request.name}: no image for the platform in an index within it`, {
      reason: "no-matching-platform",
    });
  }
  const id = imageOfManifest(engine, entry.digest);
  if (id !== undefined) return engine.images.get(id);
  const manifest = keptManifest(engine, entry);
  if (manifest !== undefined) return await unpack(ctx, engine, { index, entry, manifest });
  if (request.registry !== undefined)
    return await fetch(ctx, engine, { index, digest: entry.digest, registry: request.registry });
  throw fail("not-found", `${request.name}: image not known`, {
    reason: "image-not-known",
    hint: `the manifest list is here without its image "${entry.digest}"; pull it: berth pull ${request.name}`,
  });
}

/** Undefined unless all its blobs are here. */
function keptManifest({ content }: Engine, entry: Descriptor): Manifest | undefined {
  if (!content.has(entry.digest) || content.size(entry.digest) !== entry.size) return undefined;
  const document = parseManifest(content.read(entry.digest, MAX_MANIFEST_BYTES), entry.mediaType);
  if (isIndex(document)) return undefined;
  return [document.config, ...document.layers].every(({ digest }) => content.has(digest))
    ? document
    : undefined;
}

async function unpack(
  ctx: Ctx,
  engine: Engine,
  { index, entry, manifest }: { index: ManifestRecord; entry: Descriptor; manifest: Manifest },
): Promise<ImageRecord> {
  using lease = engine.leases.take("pull");
  const source = {
    manifest,
    manifestBytes: engine.content.read(entry.digest, MAX_MANIFEST_BYTES),
    manifestDigest: entry.digest,
    what: index.names[0] ?? index.digest,
    blob: (_: Ctx, descriptor: Descriptor) => engine.content.stream(descriptor.digest),
  };
  const repositories = index.repoDigests.map((text) => text.slice(0, text.lastIndexOf("@")));
  const known = [...new Set([...engine.manifests.sources(entry.digest), ...repositories])];
  const repoDigests = known.map((repository) => `${repository}@${entry.digest}`);
  return engine.images.put(await storeLayers(ctx, engine, source, { names: [], repoDigests, lease }));
}

async function fetch(
  ctx: Ctx,
  engine: Engine,
  { index, digest, registry }: { index: ManifestRecord; digest: Digest; registry: RegistryOptions },
): Promise<ImageRecord> {
  const { pull } = await import("./pull.ts");
  let last: unknown;
  for (const repository of sourcesOf(engine, index, digest)) {
    try {
      return await pull(ctx, engine, { reference: `${repository}@${digest}`, policy: "always", registry });
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      last ??= error;
    }
  }
  if (last instanceof Error) throw last;
  const name = index.names[0] ?? index.digest;
  throw fail("not-found", `image "${digest}" of manifest list "${name}" is not in the store`, {
    reason: "sparse-index",
    hint: "it is not known where it could be pulled from",
  });
}
