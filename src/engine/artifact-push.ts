/** artifact push and attach: to a registry, from the store or straight from files. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { isForeignLayerType, OCI_MANIFEST } from "../image/media-types.ts";
import { formatReference, parseReference, repositoryName } from "../image/reference.ts";
import type { RegistryClient, RegistryOptions } from "../registry/registry.ts";
import { withLock } from "../storage/lock.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease, ManifestRecord } from "../storage/storage.ts";
import { type Composed, compose, type ComposeRequest, storeEmpty } from "./artifact-compose.ts";
import type { Packed } from "./artifact-files.ts";
import { manifestOf, nameIn, resolveArtifact } from "./artifact-list.ts";
import { openRemote, type RemoteRequest } from "./artifact-remote.ts";
import { stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import { settleManifest } from "./image-source-stored.ts";
import { destinationOf, registryOptions } from "./pull.ts";

const CONCURRENCY = 4;

export interface PushedArtifact {
  digest: Digest;
  /** Where it is now: "localhost:5000/x:1", or with the digest where it has no tag. */
  reference: string;
}

export interface PushArtifactRequest {
  artifact: string;
  /** Its own name when absent; a repository without a tag for one that has no name. */
  destination?: string | undefined;
  registry: RegistryOptions;
}

/** An artifact of the store. Errors: not-found, invalid-argument (destination), those of the registry. */
export async function pushArtifact(
  ctx: Ctx,
  engine: Engine,
  request: PushArtifactRequest,
): Promise<PushedArtifact> {
  const record = resolveArtifact(engine, request.artifact);
  const to = storedDestination(record, request);
  const manifest = manifestOf(record);
  using lease = engine.leases.take("pull");
  const unique = new Map([manifest.config, ...manifest.layers].map((one) => [one.digest, one]));
  const blobs = [...unique.values()].map((descriptor): Packed => {
    lease.protect("blob", descriptor.digest);
    return { descriptor, open: () => engine.content.stream(descriptor.digest) };
  });
  const { digest, mediaType, subject } = record;
  const bytes = engine.content.read(digest);
  const client = await openClient(engine, to, request.registry);
  const from = mountable(record, to);
  const pushed = await pushAll(ctx, engine, { client, to, mediaType, bytes, digest, blobs, subject, from });
  engine.manifests.addRepoDigest(digest, `${repositoryName(to)}@${pushed.digest}`);
  engine.events.add({
    type: "artifact",
    action: "push",
    id: digest,
    name: pushed.reference,
    attributes: {},
  });
  return pushed;
}

async function openClient(engine: Engine, to: Reference, registry: RegistryOptions): Promise<RegistryClient> {
  const { openRegistry } = await import("../registry/client.ts");
  return openRegistry(to, registryOptions(engine, registry));
}

function storedDestination(
  record: ManifestRecord,
  { artifact, destination }: PushArtifactRequest,
): Reference {
  const [only, ...more] = record.names;
  const asked = nameIn(record.names, artifact);
  const text = destination ?? asked ?? (more.length === 0 ? only : undefined);
  if (text === undefined) {
    throw fail(
      "invalid-argument",
      `artifact "${artifact}" has ${only === undefined ? "no name" : "several names"}`,
      {
        reason: "no-destination",
        hint: `say where to push it: berth artifact push ${artifact} REGISTRY/REPOSITORY[:TAG]`,
      },
    );
  }
  const named = parseReference(text.replace(/^docker:\/\//, ""));
  // What is only attached to something is found by what it is attached to: a tag is for those who ask for one.
  const untagged = named.tag === undefined && named.digest === undefined && only === undefined;
  if (untagged) return { ...named, digest: record.digest };
  if (named.digest !== undefined && named.digest !== record.digest) {
    throw fail("invalid-argument", `cannot push "${record.digest}" as "${named.digest}"`, {
      reason: "push-to-digest",
    });
  }
  return destinationOf(text);
}

/** Repositories on the same registry that it was pulled from or pushed to: its blobs can be mounted from there. */
function mountable({ repoDigests }: ManifestRecord, to: Reference): string[] {
  const known = repoDigests.map((text) => parseReference(text));
  return known
    .filter((one) => one.registry === to.registry && one.repository !== to.repository)
    .map((one) => one.repository);
}

export interface PushFilesRequest extends ComposeRequest {
  destination: string;
  registry: RegistryOptions;
}

/** Files of the host, without a copy of them in the store. Errors: as {@link pushArtifact}, and those of packFiles. */
export async function pushFiles(
  ctx: Ctx,
  engine: Engine,
  request: PushFilesRequest,
): Promise<PushedArtifact> {
  const to = destinationOf(request.destination);
  using lease = engine.leases.take("pull");
  const made = await compose(ctx, engine, request, { lease, store: false });
  const client = await openClient(engine, to, request.registry);
  return await pushAll(ctx, engine, { client, to, mediaType: OCI_MANIFEST, ...made });
}

export interface AttachRequest extends Omit<ComposeRequest, "subject">, Omit<RemoteRequest, "reference"> {
  /** What to attach to: a name on a registry, or with `local` in the store. */
  subject: string;
  local: boolean;
}

/** An artifact of files whose subject is a manifest that is there. Errors: not-found, those of packFiles and of the registry. */
export async function attach(ctx: Ctx, engine: Engine, request: AttachRequest): Promise<PushedArtifact> {
  if (request.local) return await attachLocal(ctx, engine, request);
  const remote = await openRemote(ctx, engine, { ...request, reference: request.subject });
  using lease = engine.leases.take("pull");
  const target = { lease, store: false };
  const made = await compose(ctx, engine, { ...request, subject: remote.descriptor }, target);
  const { tag: _, ...repository } = remote.reference;
  const to = { ...repository, digest: made.digest };
  const { client, descriptor } = remote;
  const mediaType = OCI_MANIFEST;
  return await pushAll(ctx, engine, { client, to, mediaType, subject: descriptor.digest, ...made });
}

async function attachLocal(ctx: Ctx, engine: Engine, request: AttachRequest): Promise<PushedArtifact> {
  using lease = engine.leases.take("load");
  await settle(ctx, engine, request.subject, lease);
  const subject = localSubject(engine, request.subject);
  const target = { lease, store: true };
  const made = await compose(ctx, engine, { ...request, subject }, target);
  await storeEmpty(ctx, engine, made, target);
  const { bytes, digest } = made;
  engine.manifests.put({ bytes, digest, mediaType: OCI_MANIFEST });
  engine.events.add({
    type: "artifact",
    action: "attach",
    id: digest,
    name: request.subject,
    attributes: {},
  });
  return { digest, reference: digest };
}

/**
 * Gives an image that was made here the manifest it will be pushed with. Until its layers are compressed that is another one,
 * and what had been attached to the first would be attached to nothing after the push.
 */
async function settle(ctx: Ctx, engine: Engine, name: string, lease: Lease): Promise<void> {
  if (engine.manifests.find(name) !== undefined) return;
  await settleManifest(ctx, engine, { record: engine.images.resolve(name), lease });
}

/** The manifest of an image, an index or an artifact of the store. Errors: not-found. */
export function localSubject(engine: Engine, name: string): Descriptor {
  const record = engine.manifests.find(name);
  if (record !== undefined) {
    return { mediaType: record.mediaType, digest: record.digest, size: engine.content.size(record.digest) };
  }
  const { manifestDigest: digest, manifest } = engine.images.resolve(name);
  return { mediaType: manifest.mediaType, digest, size: engine.content.size(digest) };
}

interface PushAll extends Composed {
  client: RegistryClient;
  to: Reference;
  mediaType: string;
  subject?: Digest | undefined;
  from?: string[];
}

async function pushAll(ctx: Ctx, engine: Engine, job: PushAll): Promise<PushedArtifact> {
  const { client, to, mediaType, bytes, digest, subject } = job;
  const blobs = job.blobs.filter(({ descriptor }) => !isForeignLayerType(descriptor.mediaType));
  await runOrdered(ctx, CONCURRENCY, blobs, (inner, blob) => pushBlob(inner, client, blob, job.from ?? []));
  const put = (): Promise<Digest> =>
    client.pushManifest(ctx, to.digest ?? (to.tag as string), mediaType, bytes);
  const pushed =
    subject === undefined
      ? await put()
      : await withLock(ctx, { sys: engine.sys, dir: engine.paths.locks, name: lockName(to, subject) }, put);
  if (pushed === digest) return { digest, reference: formatReference(to) };
  throw fail("data-loss", `registry "${to.registry}" stored "${pushed}" instead of "${digest}"`, {
    reason: "push-digest",
  });
}

/** Where a registry leaves the list of referrers to its clients, those of this store take turns. */
function lockName(to: Reference, subject: Digest): string {
  return `referrers ${repositoryName(to)} ${subject}`;
}

async function pushBlob(
  ctx: Ctx,
  client: RegistryClient,
  { descriptor, open }: Packed,
  from: string[],
): Promise<void> {
  const { digest, size: total } = descriptor;
  const id = stepId(digest);
  ctx.progress({ id, status: "waiting", total });
  const sent = async function* (): AsyncGenerator<Uint8Array> {
    let current = 0;
    for await (const chunk of open()) {
      yield chunk;
      current += chunk.length;
      ctx.progress({ id, status: "uploading", current, total });
    }
  };
  const how = await client.pushBlob(ctx, descriptor, sent, from);
  ctx.progress({ id, status: how === "uploaded" ? "done" : "exists", current: total, total });
}
