/** Images where they lie, without taking them here: look at one, list a repository's tags, delete from a registry. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { MAX_CONFIG_BYTES } from "../image/config.ts";
import { asObject, type JsonObject, parseDocument } from "../image/document.ts";
import type { Descriptor, Digest, Manifest, Platform, Reference } from "../image/image.ts";
import { isIndex, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { isImageConfigType } from "../image/media-types.ts";
import { selectPlatform } from "../image/platform.ts";
import { formatReference, repositoryName } from "../image/reference.ts";
import type { FetchedManifest, RegistryOptions } from "../registry/registry.ts";
import type { Engine } from "./engine.ts";
import { readVerified } from "./image-source.ts";
import { registryOptions } from "./pull.ts";
import { entryDocument } from "./transfer/copying.ts";
import { openReader } from "./transfer/open.ts";
import type { ImageReader, Place } from "./transfer/transfer.ts";

export interface RemoteRequest {
  place: Place;
  registry: RegistryOptions;
  /** Of an index; this host's when absent. */
  platform?: Platform;
}

export interface RemoteLayer {
  MIMEType: string;
  Digest: Digest;
  Size: number;
  Annotations: Record<string, string> | null;
}

/** skopeo's words and order. */
export interface RemoteImage {
  Name?: string;
  /** Of what the name stands for: the index, where it is one. */
  Digest: Digest;
  RepoTags: string[];
  Created: string | null;
  DockerVersion: string;
  Labels: Record<string, string> | null;
  Architecture: string;
  Os: string;
  Layers: Digest[];
  LayersData: RemoteLayer[] | null;
  Env: string[] | null;
}

async function reading<T>(
  ctx: Ctx,
  engine: Engine,
  { place, registry }: RemoteRequest,
  body: (reader: ImageReader) => Promise<T>,
): Promise<T> {
  using lease = engine.leases.take("pull");
  await using reader = await openReader(ctx, engine, { place, registry, compress: false, lease });
  return await body(reader);
}

/** Byte for byte what the name stands for. Errors: those of the place. */
export function rawManifest(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<Uint8Array> {
  return reading(ctx, engine, request, async (reader) => (await reader.manifest(ctx)).bytes);
}

/** Byte for byte. Errors: those of the place; not-found (platform). */
export function rawConfig(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<Uint8Array> {
  return reading(ctx, engine, request, async (reader) => {
    const { config } = (await chosen(ctx, reader, await reader.manifest(ctx), request.platform)).manifest;
    return await readVerified(reader.blob(ctx, config), config, MAX_CONFIG_BYTES);
  });
}

/** `tags`: also list the repository's, where the place has such a list. Errors: those of the place; not-found (platform). */
export function inspectRemote(
  ctx: Ctx,
  engine: Engine,
  request: RemoteRequest & { tags: boolean },
): Promise<RemoteImage> {
  return reading(ctx, engine, request, async (reader) => {
    const top = await reader.manifest(ctx);
    const { manifest } = await chosen(ctx, reader, top, request.platform);
    const config = await configOf(ctx, reader, manifest);
    const { reference, transport } = request.place;
    const name = transport === "docker" ? repositoryName(reference as Reference) : undefined;
    const repoTags = request.tags && name !== undefined ? await tagsOf(ctx, engine, request) : [];
    return {
      ...(name === undefined ? {} : { Name: name }),
      Digest: top.descriptor.digest,
      RepoTags: repoTags,
      ...describeConfig(config),
      ...describeLayers(manifest),
      Env: (containerOf(config)["Env"] as string[] | undefined) ?? null,
    };
  });
}

/** Down from an index to the image. */
async function chosen(
  ctx: Ctx,
  reader: ImageReader,
  top: FetchedManifest,
  platform: Platform | undefined,
): Promise<{ manifest: Manifest }> {
  let at = top;
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    const document = parseManifest(at.bytes, at.descriptor.mediaType);
    if (!isIndex(document)) return { manifest: document };
    at = await entryDocument(ctx, reader, selectPlatform(document, platform));
  }
  throw fail("invalid-argument", `indexes are nested deeper than ${MAX_NESTING} levels`, {
    reason: "index-nesting",
  });
}

/** As JSON: fields that only others know are of interest too. An artifact's config is nobody's to read. */
async function configOf(ctx: Ctx, reader: ImageReader, { config }: Manifest): Promise<JsonObject> {
  if (!isImageConfigType(config.mediaType)) return {};
  const bytes = await readVerified(reader.blob(ctx, config), config, MAX_CONFIG_BYTES);
  return parseDocument("image config", bytes, MAX_CONFIG_BYTES).fields;
}

function containerOf(config: JsonObject): JsonObject {
  const { config: container } = config;
  return container === undefined || container === null ? {} : asObject("image config", "config", container);
}

function describeConfig(config: JsonObject) {
  const text = (key: string): string => {
    const value = config[key];
    return typeof value === "string" ? value : "";
  };
  return {
    Created: text("created") || null,
    DockerVersion: text("docker_version"),
    Labels: (containerOf(config)["Labels"] as Record<string, string> | undefined) ?? null,
    Architecture: text("architecture"),
    Os: text("os"),
  };
}

function describeLayers({ layers }: Manifest): Pick<RemoteImage, "Layers" | "LayersData"> {
  const data = layers.map((layer: Descriptor) => ({
    MIMEType: layer.mediaType,
    Digest: layer.digest,
    Size: layer.size,
    Annotations: layer.annotations ?? null,
  }));
  return { Layers: layers.map((layer) => layer.digest), LayersData: data.length === 0 ? null : data };
}

async function tagsOf(ctx: Ctx, engine: Engine, { place, registry }: RemoteRequest): Promise<string[]> {
  const { openRegistry } = await import("../registry/client.ts");
  return await openRegistry(place.reference as Reference, registryOptions(engine, registry)).tags(ctx);
}

/** All tags of a repository on a registry, or the names in a docker-archive. Errors: those of the place; invalid-argument for others. */
export async function listTags(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<string[]> {
  const { place } = request;
  if (place.transport === "docker") return await tagsOf(ctx, engine, request);
  if (place.transport !== "docker-archive") {
    throw fail("invalid-argument", `"${place.text}": only registries and docker-archives have tags`, {
      reason: "no-tags-there",
    });
  }
  const [{ TarFileLayout }, { findImages }] = await Promise.all([
    import("./transfer/tar-file-layout.ts"),
    import("./load-images.ts"),
  ]);
  using layout = await TarFileLayout.open(ctx, engine, place.path as string);
  return (await findImages(ctx, layout)).flatMap((image) => image.names);
}

export interface DeletedRemote {
  /** As asked for, in full. */
  name: string;
  digest: Digest;
}

/**
 * Deletes a manifest on its registry. A tag is resolved to its digest first, as the distribution specification wants it: other tags
 * of the same manifest go with it. Errors: not-found, permission-denied (the registry does not delete), invalid-argument.
 */
export async function deleteRemote(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<DeletedRemote> {
  const { place, registry } = request;
  const { reference } = place;
  if (place.transport !== "docker" || reference === undefined) {
    throw fail("invalid-argument", `"${place.text}": only images on a registry are deleted like this`, {
      reason: "not-a-registry",
    });
  }
  const { openRegistry } = await import("../registry/client.ts");
  const client = openRegistry(reference, registryOptions(engine, registry));
  const digest = reference.digest ?? (await client.manifest(ctx, reference.tag as string)).descriptor.digest;
  await client.deleteManifest(ctx, digest);
  return { name: formatReference(reference), digest };
}
