/** push: an image, an index with all it lists, or an artifact of the store to a registry. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { type Converted, type ImageFormat, imageFormat, layerCompression } from "../image/convert.ts";
import type { Digest, Reference } from "../image/image.ts";
import { parsePlatform } from "../image/platform.ts";
import { formatReference, parseReference, repositoryName } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import type { ImageRecord, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { destinationOf, registryOptions } from "./pull.ts";
import type { LayerChoice } from "./image-source-stored.ts";
import { DocumentPusher, type StoredDocument } from "./push-documents.ts";
import { askedName, chosenDocument, findSource, type StoredSource } from "./push-source.ts";

export interface PushRequest {
  /** With `allTags` a repository without a tag. */
  image: string;
  /** Where to: a reference, or "transport:place" as for copy; the image's own name when absent. */
  destination?: string;
  registry: RegistryOptions;
  /** Every name the store has in the repository. */
  allTags?: boolean;
  /** What layers become; default: gzip for those made here, everything else as it is. */
  compression?: LayerChoice;
  /** Media types; those of the image when absent, or OCI's where zstd wants them. */
  format?: ImageFormat;
  /** Of an index only the image for this platform, under the index's name. */
  platform?: string;
  /** Of an index: everything it lists (default), or the index alone. */
  children?: "all" | "none";
}

export interface Pushed {
  /** Full form, with tag; or the place that is no registry. */
  name: string;
  digest: Digest;
  /** Bytes of the manifest or index; 0 where it went to no registry. */
  size: number;
}

interface Job {
  source: StoredSource;
  reference: Reference;
}

/**
 * What the registry has then, in the order of the names; the store remembers it. Blobs that are there already are not
 * sent. Errors: not-found (image), invalid-argument (destination, zstd in Docker's format), and those of the registry; nothing
 * has a tag there then that did not have it before.
 */
export async function push(
  ctx: Ctx,
  engine: Engine,
  request: PushRequest,
): Promise<{ digest: Digest; pushed: Pushed[] }> {
  checkRequest(request);
  if (request.destination !== undefined && ELSEWHERE.test(request.destination))
    return await pushElsewhere(ctx, engine, { ...request, destination: request.destination });
  const jobs = request.allTags === true ? allTags(engine, request) : [oneJob(engine, request)];
  const pushed: Pushed[] = [];
  for (const job of jobs) pushed.push(await pushJob(ctx, engine, request, job));
  return { digest: (pushed.at(-1) as Pushed).digest, pushed };
}

/** Not to a registry: the same as a copy. */
const ELSEWHERE = /^(berth|containers-storage|dir|docker-archive|oci|oci-archive):(?!\d+\/)/;

async function pushElsewhere(
  ctx: Ctx,
  engine: Engine,
  request: PushRequest & { destination: string },
): Promise<{ digest: Digest; pushed: Pushed[] }> {
  const { image, destination, compression, format, platform, registry } = request;
  const { parsePlace } = await import("./transfer/place.ts");
  const { copyImage } = await import("./copy-image.ts");
  const whole = request.children === "none" ? ("index-only" as const) : ("all" as const);
  const { digest } = await copyImage(ctx, engine, {
    source: { transport: "berth", text: image, name: image },
    destination: parsePlace(destination),
    multiArch: platform === undefined ? whole : "system",
    ...(platform === undefined ? {} : { platform: parsePlatform(platform) }),
    ...(format === undefined ? {} : { format }),
    ...(compression === undefined
      ? {}
      : { [compression.force ? "compression" : "compressPlain"]: compression }),
    preserveDigests: false,
    referrers: false,
    names: [],
    sourceRegistry: {},
    destinationRegistry: registry,
  });
  return { digest, pushed: [{ name: destination, digest, size: 0 }] };
}

function checkRequest({ compression, format }: PushRequest): void {
  if (compression?.format !== "zstd" || format !== "docker") return;
  throw fail("invalid-argument", "Docker's image format has no zstd layers", {
    reason: "zstd-in-docker-format",
    hint: "use --format oci, or compress with gzip",
  });
}

function oneJob(engine: Engine, request: PushRequest): Job {
  const source = findSource(engine, request.image);
  return { source, reference: target(source.record, request) };
}

function allTags(engine: Engine, { image, destination }: PushRequest): Job[] {
  const repository = parseReference(image.replace(/^docker:\/\//, ""));
  if (repository.tag !== undefined || repository.digest !== undefined || destination !== undefined) {
    throw fail(
      "invalid-argument",
      `"${image}": all tags of a repository are pushed to where they are named`,
      {
        reason: "all-tags",
        hint: "name the repository without a tag, and no destination",
      },
    );
  }
  const jobs: Job[] = [];
  for (const source of everything(engine)) {
    for (const name of source.record.names) {
      const reference = parseReference(name);
      if (repositoryName(reference) === repositoryName(repository)) jobs.push({ source, reference });
    }
  }
  if (jobs.length === 0) {
    throw fail("not-found", `no image of "${repositoryName(repository)}" is in the store`, {
      reason: "image-not-known",
    });
  }
  return jobs.toSorted((a, b) => ((a.reference.tag as string) < (b.reference.tag as string) ? -1 : 1));
}

function everything(engine: Engine): StoredSource[] {
  return [
    ...engine.images.list().map((record): StoredSource => ({ kind: "image", record })),
    ...engine.manifests.list().map((record): StoredSource => ({ kind: "document", record })),
  ];
}

async function pushJob(ctx: Ctx, engine: Engine, request: PushRequest, job: Job): Promise<Pushed> {
  const { source, reference } = job;
  const { openRegistry } = await import("../registry/client.ts");
  const client = openRegistry(reference, registryOptions(engine, request.registry));
  using lease = engine.leases.take("pull");
  const stored = chosenDocument(engine, source, request.platform);
  lease.protect("blob", stored.digest);
  // Docker has no type for zstd layers, so what is to have them becomes OCI's.
  const format = request.format ?? (request.compression?.format === "zstd" ? "oci" : undefined);
  const rules = { choice: request.compression, format, children: request.children ?? "all" };
  const pusher = new DocumentPusher(engine, { client, reference, rules, lease });
  const record = source.kind === "image" ? source.record : undefined;
  const converted = await pusher.contents(ctx, stored, record);
  const { mediaType, bytes } = converted;
  const digest = await client.pushManifest(ctx, reference.tag as string, mediaType, bytes);
  remember(engine, { source, stored, converted, repoDigest: `${repositoryName(reference)}@${digest}` });
  const name = formatReference(reference);
  const id = source.kind === "image" ? source.record.id : source.record.digest;
  engine.events.add({ type: "image", action: "push", id, name, attributes: {} });
  return { name, digest, size: bytes.length };
}

function target(record: ImageRecord | ManifestRecord, { image, destination }: PushRequest): Reference {
  const reference = destinationOf(destination ?? nameOf(record, image));
  if (reference.tag !== undefined && reference.digest === undefined) return reference;
  throw fail("invalid-argument", `cannot push to a digest: "${destination ?? image}"`, {
    reason: "push-to-digest",
    hint: "name a repository and a tag",
  });
}

/** The name by which the image was asked for, or its only one. */
function nameOf(record: ImageRecord | ManifestRecord, image: string): string {
  const asked = askedName(record, image);
  const [only, ...more] = record.names;
  if (asked !== undefined) return asked;
  if (only !== undefined && more.length === 0) return only;
  throw fail("invalid-argument", `image "${image}" has ${only === undefined ? "no name" : "several names"}`, {
    reason: "no-destination",
    hint: `say where to push it: berth push ${image} REGISTRY/REPOSITORY:TAG`,
  });
}

/**
 * What it is known as at the registry. A manifest with layers compressed here becomes the image's own, so that they are
 * compressed once and every further push is of the same digest; one that was only converted for this registry does not.
 */
function remember(
  engine: Engine,
  {
    source,
    stored,
    converted,
    repoDigest,
  }: { source: StoredSource; stored: StoredDocument; converted: Converted; repoDigest: string },
): void {
  if (source.kind === "document") {
    if (!converted.changed && stored.digest === source.record.digest)
      engine.manifests.addRepoDigest(source.record.digest, repoDigest);
    return;
  }
  const { record } = source;
  if (!converted.changed || !isCompletion(engine, record, converted)) {
    engine.images.addRepoDigest(record.id, repoDigest);
    return;
  }
  engine.images.put({
    manifestBytes: converted.bytes,
    manifestDigest: converted.digest,
    configBytes: engine.content.read(record.id),
    repoDigests: [repoDigest],
  });
}

/** Only layers that had no compression, or no blob, have changed. */
function isCompletion(engine: Engine, { manifest }: ImageRecord, { bytes, mediaType }: Converted): boolean {
  if (imageFormat(mediaType) !== imageFormat(manifest.mediaType)) return false;
  const { layers } = JSON.parse(new TextDecoder().decode(bytes)) as { layers: { digest: Digest }[] };
  return manifest.layers.every(
    ({ digest, mediaType: type }, i) =>
      digest === layers[i]?.digest || layerCompression(type) === "none" || !engine.content.has(digest),
  );
}
