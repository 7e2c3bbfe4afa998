/** What is to become an entry of a manifest list, wherever it is: its descriptors, and what of it the store must keep. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "../image/config.ts";
import type { Descriptor, Digest, ImageConfig, Manifest, Platform } from "../image/image.ts";
import { isIndex, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { isImageConfigType } from "../image/media-types.ts";
import { hostPlatform, selectPlatform } from "../image/platform.ts";
import { repositoryName } from "../image/reference.ts";
import type { FetchedManifest, RegistryOptions } from "../registry/registry.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { ImageRecord, Lease, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { readVerified } from "./image-source.ts";
import { settleManifest } from "./image-source-stored.ts";
import { openReader } from "./transfer/open.ts";
import { parsePlace } from "./transfer/place.ts";
import { entryDocument } from "./transfer/copying.ts";
import type { ImageReader, Place } from "./transfer/transfer.ts";

export interface AdditionRequest {
  /** A name, id or digest of the store, else a reference; or "transport:place". */
  image: string;
  /** Of an index: all that it lists, instead of the one for the platform. */
  all: boolean;
  /** Chooses from an index; this host's when absent. */
  platform?: Partial<Platform>;
  registry: RegistryOptions;
  lease: Lease;
}

export interface Addition {
  entries: Descriptor[];
  /** "repo@digest": where entries are whose blobs are not kept here. */
  sources: string[];
}

/** Errors: not-found, invalid-argument, those of the place. */
export async function additionOf(ctx: Ctx, engine: Engine, request: AdditionRequest): Promise<Addition> {
  const stored = storedOf(engine, request.image);
  if (stored !== undefined && "id" in stored) return await ofImage(ctx, engine, stored, request.lease);
  if (stored !== undefined) return ofList(engine, stored, request);
  return await ofPlace(ctx, engine, remotePlace(request.image), request);
}

/** "docker:24" is an image, "oci:dir" is not. */
export function isReference(text: string): boolean {
  return !/^(docker:\/\/|(oci|oci-archive|docker-archive|dir|berth|containers-storage):)/.test(text);
}

/** A text without a transport is a reference. Errors: invalid-argument. */
export function remotePlace(text: string): Place {
  return parsePlace(isReference(text) ? `docker://${text}` : text);
}

/** An image or a list of the store, by its name alone or as "containers-storage:NAME". Errors: conflict. */
function storedOf(engine: Engine, text: string): ImageRecord | ManifestRecord | undefined {
  const transport = /^(?:containers-storage|berth):/.exec(text)?.[0] ?? "";
  const name = text.slice(transport.length);
  const found = engine.manifests.find(name) ?? engine.images.find(name);
  if (found !== undefined || transport === "") return found;
  throw fail("not-found", `${name}: image not known`, { reason: "image-not-known" });
}

/** Its layers become blobs now, so that what the list says of it is what will be pushed. */
async function ofImage(ctx: Ctx, engine: Engine, record: ImageRecord, lease: Lease): Promise<Addition> {
  const { bytes, digest, manifest } = await settleManifest(ctx, engine, { record, lease });
  const platform = platformFields(record.config);
  return {
    entries: [{ mediaType: manifest.mediaType, digest, size: bytes.length, platform }],
    sources: [],
  };
}

/** As manifest lists have it: variant and version only where there is one. */
function platformFields(config: ImageConfig): Platform {
  const { architecture, os, variant } = config;
  const version = config["os.version"];
  return {
    architecture,
    os,
    ...(version === undefined ? {} : { "os.version": version }),
    ...(variant === undefined ? {} : { variant }),
  };
}

function ofList(engine: Engine, list: ManifestRecord, request: AdditionRequest): Addition {
  const { document, digest, mediaType } = list;
  request.lease.protect("blob", digest);
  if (!isIndex(document)) {
    const artifactType = list.artifactType === undefined ? {} : { artifactType: list.artifactType };
    return {
      entries: [{ mediaType, digest, size: engine.content.size(digest), ...artifactType }],
      sources: list.repoDigests,
    };
  }
  const entries = request.all ? document.manifests : [selectPlatform(document, wantedOf(request))];
  const sources = entries.flatMap((entry) =>
    engine.manifests.sources(entry.digest).map((repository) => `${repository}@${entry.digest}`),
  );
  for (const repoDigest of list.repoDigests) {
    const repository = repoDigest.slice(0, repoDigest.lastIndexOf("@"));
    for (const entry of entries) sources.push(`${repository}@${entry.digest}`);
  }
  return { entries, sources: [...new Set(sources)] };
}

function wantedOf({ platform }: AdditionRequest): Platform | undefined {
  return platform === undefined ? undefined : { ...hostPlatform(), ...platform };
}

async function ofPlace(ctx: Ctx, engine: Engine, place: Place, request: AdditionRequest): Promise<Addition> {
  const { registry, lease, all } = request;
  await using reader = await openReader(ctx, engine, {
    place,
    registry,
    compress: true,
    lease,
    note: (change) => ctx.log.debug(change),
  });
  const top = await reader.manifest(ctx);
  const document = parseManifest(top.bytes, top.descriptor.mediaType);
  const entries = isIndex(document)
    ? all
      ? document.manifests
      : [selectPlatform(document, wantedOf(request))]
    : [await describedImage(ctx, reader, { ...top, manifest: document })];
  if (place.transport !== "docker") {
    for (const entry of entries) await keep(ctx, engine, { reader, entry, lease });
    return { entries, sources: [] };
  }
  const repository = repositoryName(place.reference as NonNullable<Place["reference"]>);
  return { entries, sources: entries.map((entry) => `${repository}@${entry.digest}`) };
}

/** Says what it is built for, which only its config knows; an artifact says its type. */
async function describedImage(
  ctx: Ctx,
  reader: ImageReader,
  { descriptor, manifest }: FetchedManifest & { manifest: Manifest },
): Promise<Descriptor> {
  const { mediaType, digest, size } = descriptor;
  const { config } = manifest;
  if (!isImageConfigType(config.mediaType)) {
    return { mediaType, digest, size, artifactType: manifest.artifactType ?? config.mediaType };
  }
  const bytes = await readVerified(reader.blob(ctx, config), config, MAX_CONFIG_BYTES);
  return { mediaType, digest, size, platform: platformFields(parseConfig(bytes)) };
}

/** All blobs of what an archive or a directory has: it may be gone when the list is pushed. */
async function keep(
  ctx: Ctx,
  engine: Engine,
  {
    reader,
    entry,
    lease,
    depth = 0,
  }: { reader: ImageReader; entry: Descriptor; lease: Lease; depth?: number },
): Promise<void> {
  const { bytes, descriptor } = await entryDocument(ctx, reader, entry);
  const document = parseManifest(bytes, descriptor.mediaType);
  if (isIndex(document)) {
    if (depth === MAX_NESTING) throw fail("invalid-argument", "indexes are nested too deep");
    for (const child of document.manifests)
      await keep(ctx, engine, { reader, entry: child, lease, depth: depth + 1 });
  } else {
    const unique = new Map<Digest, Descriptor>();
    for (const blob of [document.config, ...document.layers]) unique.set(blob.digest, blob);
    await runOrdered(ctx, 4, [...unique.values()], (inner, blob) =>
      engine.content.ingest(inner, reader.blob(inner, blob), blob, lease),
    );
  }
  const { digest } = descriptor;
  await engine.content.ingest(ctx, once(bytes), { digest, size: bytes.length }, lease);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
