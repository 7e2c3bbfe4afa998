/** push: an image of the store to a registry. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { shortId } from "../core/id.ts";
import { digestHex } from "../image/digest.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { isForeignLayerType } from "../image/media-types.ts";
import { formatReference, parseReference, repositoryName } from "../image/reference.ts";
import type { RegistryClient, RegistryOptions } from "../registry/registry.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { layerBlob, manifestOver, type StoredManifest, type StoredRequest } from "./image-source-stored.ts";
import { destinationOf, registryOptions } from "./pull.ts";

export interface PushRequest {
  image: string;
  /** Where to; the image's own name when absent. */
  destination?: string;
  registry: RegistryOptions;
}

const CONCURRENCY = 4;

/**
 * The digest the registry knows the image by from now on; the store remembers it. Blobs that are there already are not
 * sent. Errors: not-found (image), invalid-argument (destination), and those of the registry.
 */
export async function push(ctx: Ctx, engine: Engine, request: PushRequest): Promise<{ digest: string }> {
  const record = engine.images.resolve(request.image);
  const reference = target(record, request);
  const { openRegistry } = await import("../registry/client.ts");
  const client = openRegistry(reference, registryOptions(engine, request.registry));
  using lease = engine.leases.take("pull");
  const stored = { record, lease, compress: true };
  const from = neighbour(record, reference);
  const pushed = await pushLayers(ctx, engine, { client, stored, from });
  const manifest = manifestOver(engine, record, pushed);
  await pushBlob(ctx, engine, client, { descriptor: manifest.manifest.config, from });
  const { mediaType } = manifest.manifest;
  const digest = await client.pushManifest(ctx, reference.tag as string, mediaType, manifest.bytes);
  remember(engine, { record, manifest, repoDigest: `${repositoryName(reference)}@${digest}` });
  engine.events.add({
    type: "image",
    action: "push",
    id: record.id,
    name: formatReference(reference),
    attributes: {},
  });
  return { digest };
}

function target(record: ImageRecord, { image, destination }: PushRequest): Reference {
  const reference = destinationOf(destination ?? nameOf(record, image));
  if (reference.tag !== undefined && reference.digest === undefined) return reference;
  throw fail("invalid-argument", `cannot push to a digest: "${destination ?? image}"`, {
    reason: "push-to-digest",
    hint: "name a repository and a tag",
  });
}

/** The name by which the image was asked for, or its only one. */
function nameOf(record: ImageRecord, image: string): string {
  const asked = askedName(record, image);
  const [only, ...more] = record.names;
  if (asked !== undefined) return asked;
  if (only !== undefined && more.length === 0) return only;
  throw fail("invalid-argument", `image "${image}" has ${only === undefined ? "no name" : "several names"}`, {
    reason: "no-destination",
    hint: `say where to push it: berth push ${image} REGISTRY/REPOSITORY:TAG`,
  });
}

/** The stored name that a text means; undefined for an id or a digest. */
export function askedName(record: ImageRecord, text: string): string | undefined {
  for (const candidate of [text, `localhost/${text}`]) {
    try {
      const full = formatReference({ tag: "latest", ...parseReference(candidate) });
      if (record.names.includes(full)) return full;
    } catch {
      // An id is not a name.
    }
  }
  return undefined;
}

/** A repository on the same registry that the image was pulled from or pushed to: its blobs can be mounted. */
function neighbour(record: ImageRecord, reference: Reference): string | undefined {
  const known = record.repoDigests.map((text) => parseReference(text));
  return known.find((one) => one.registry === reference.registry && one.repository !== reference.repository)
    ?.repository;
}

async function pushLayers(
  ctx: Ctx,
  engine: Engine,
  { client, stored, from }: { client: RegistryClient; stored: StoredRequest; from: string | undefined },
): Promise<Descriptor[]> {
  const { layers } = stored.record.manifest;
  // The same blob twice in one image is sent once.
  const inFlight = new Map<Digest, Promise<void>>();
  return await runOrdered(ctx, CONCURRENCY, layers, async (inner, _layer, index) => {
    const descriptor = await layerBlob(inner, engine, stored, index);
    if (isForeignLayerType(descriptor.mediaType)) return descriptor;
    let sending = inFlight.get(descriptor.digest);
    if (sending === undefined) {
      sending = pushBlob(inner, engine, client, { descriptor, from });
      inFlight.set(descriptor.digest, sending);
    }
    await sending;
    return descriptor;
  });
}

async function pushBlob(
  ctx: Ctx,
  engine: Engine,
  client: RegistryClient,
  { descriptor, from }: { descriptor: Descriptor; from: string | undefined },
): Promise<void> {
  const { digest, size: total } = descriptor;
  const id = shortId(digestHex(digest));
  ctx.progress({ id, status: "waiting", total });
  const open = async function* (): AsyncGenerator<Uint8Array> {
    let current = 0;
    for await (const chunk of engine.content.stream(digest)) {
      yield chunk;
      current += chunk.length;
      ctx.progress({ id, status: "uploading", current, total });
    }
  };
  const how = await client.pushBlob(ctx, descriptor, open, from);
  ctx.progress({ id, status: how === "uploaded" ? "done" : "exists", current: total, total });
}

/** A manifest with layers compressed here becomes the image's own, so that they are compressed once. */
function remember(
  engine: Engine,
  { record, manifest, repoDigest }: { record: ImageRecord; manifest: StoredManifest; repoDigest: string },
): void {
  if (!manifest.changed) {
    engine.images.addRepoDigest(record.id, repoDigest);
    return;
  }
  engine.images.put({
    manifestBytes: manifest.bytes,
    manifestDigest: manifest.digest,
    configBytes: engine.content.read(record.id),
    repoDigests: [repoDigest],
  });
}
