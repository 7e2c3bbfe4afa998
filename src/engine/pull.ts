/** pull: from a registry into the store, by policy. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import { isDigest } from "../image/digest.ts";
import type { Descriptor, Digest, ImageConfig, Manifest, Platform, Reference } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import {
  formatPlatform,
  hostPlatform,
  parsePlatform,
  platformMatches,
  selectPlatform,
} from "../image/platform.ts";
import {
  formatReference,
  isAttachmentTag,
  parseReference,
  repositoryName,
  withDefaultTag,
} from "../image/reference.ts";
import type { FetchedManifest, RegistryClient, RegistryOptions } from "../registry/registry.ts";
import { FileLock, type LockRequest } from "../storage/lock.ts";
import { dropPartials } from "../storage/partial.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { SignedDocument } from "../trust/trust.ts";
import { admit } from "./admit.ts";
import type { Engine } from "./engine.ts";
import { type ImageSource, storeLayers } from "./image-source.ts";
import { signaturesAt } from "./signatures.ts";
import { underLease } from "./under-lease.ts";

export interface PullRequest {
  reference: string;
  policy: "always" | "missing" | "newer" | "never";
  /** "linux/arm64"; this host's when absent. */
  platform?: string;
  allTags?: boolean;
  registry: RegistryOptions;
  quiet?: boolean;
}

/**
 * The image, in the store and named. With `allTags` the last of them. Nothing is visible before all of it is
 * verified, and of a pull that fails nothing is left but what a broken connection has brought, for the next one to go on with.
 * Errors: not-found, unauthenticated, permission-denied, unavailable, data-loss, resource-exhausted, invalid-argument, canceled.
 */
export async function pull(ctx: Ctx, engine: Engine, request: PullRequest): Promise<ImageRecord> {
  const wanted = request.platform === undefined ? undefined : parsePlatform(request.platform);
  const local = findLocal(engine, request, wanted);
  if (request.policy === "missing" || request.policy === "never") {
    const here = local ?? (await fromIndex(ctx, engine, request, wanted));
    if (here !== undefined) return here;
  }
  if (request.policy === "never") throw notKnown(request.reference);
  const options = registryOptions(engine, request.registry);
  const { openRegistry } = await import("../registry/client.ts");
  const { resolveShortName } = await import("../registry/short-names.ts");
  const { names, remember } = await resolveShortName(ctx, request.reference, options);
  const newerThan = request.policy === "newer" ? local : undefined;
  let last: unknown;
  for (const reference of names) {
    const meanwhile = (): ImageRecord | undefined =>
      request.policy === "missing" ? findLocal(engine, request, wanted) : undefined;
    const client = openRegistry(reference, options);
    const target: Target = { client, reference, wanted, newerThan, meanwhile };
    try {
      const image = await (request.allTags === true ? pullTags : pullOne)(ctx, engine, target);
      remember(reference);
      return image;
    } catch (error) {
      last = preferred(last, error);
      if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
      ctx.log.debug(`${formatReference(reference)}: ${messageOf(error)}`);
    }
  }
  if (request.policy === "newer" && local !== undefined) {
    ctx.log.warn(`no newer ${request.reference}, using the one that is here: ${messageOf(last)}`);
    return local;
  }
  throw last;
}

function notKnown(reference: string): Error {
  return fail("not-found", `${reference}: image not known`, {
    reason: "image-not-known",
    hint: `pull it: berth pull ${reference}`,
  });
}

/** Of several registries' failures the first one that is more than "not here". */
function preferred(before: unknown, now: unknown): unknown {
  return before instanceof EngineError && before.kind !== "not-found" ? before : now;
}

/** The request's own options, and the engine's where it says nothing. */
export function registryOptions(engine: Engine, given: RegistryOptions): RegistryOptions {
  const { registriesConf, authFile } = engine.options;
  return {
    ...(registriesConf === undefined ? {} : { registriesConf }),
    ...(authFile === undefined ? {} : { authFile }),
    ...given,
  };
}

function findLocal(
  engine: Engine,
  { reference, allTags }: PullRequest,
  wanted: Platform | undefined,
): ImageRecord | undefined {
  const found = allTags === true ? undefined : engine.images.find(reference);
  if (found === undefined || wanted === undefined) return found;
  return platformMatches(wanted, found.config) ? found : undefined;
}

/** What an index of the store has under the name: its blobs may be here, or it is known where they are. */
async function fromIndex(
  ctx: Ctx,
  engine: Engine,
  { reference, policy, registry, allTags }: PullRequest,
  platform: Platform | undefined,
): Promise<ImageRecord | undefined> {
  if (allTags === true || engine.manifests.find(reference)?.kind !== "index") return undefined;
  const { imageOfIndex } = await import("./index-image.ts");
  return await imageOfIndex(ctx, engine, {
    name: reference,
    ...(platform === undefined ? {} : { platform }),
    ...(policy === "never" ? {} : { registry }),
  });
}

interface Target {
  client: RegistryClient;
  reference: Reference;
  wanted: Platform | undefined;
  /** Returned as it is if the registry has nothing else under the name. */
  newerThan?: ImageRecord | undefined;
  /** What another process has pulled while this one waited for it, if that will do. */
  meanwhile: () => ImageRecord | undefined;
}

async function pullTags(ctx: Ctx, engine: Engine, target: Target): Promise<ImageRecord> {
  const { tag, digest, ...repository } = target.reference;
  if (tag !== undefined || digest !== undefined) {
    throw fail(
      "invalid-argument",
      `"${formatReference(target.reference)}": a tag cannot be used with --all-tags`,
    );
  }
  let last: ImageRecord | undefined;
  for (const one of (await target.client.tags(ctx)).filter((tag) => !isAttachmentTag(tag))) {
    try {
      last = await pullOne(ctx, engine, { ...target, reference: { ...repository, tag: one } });
    } catch (error) {
      // A repository may hold charts and the like beside its images.
      if (!(error instanceof EngineError) || error.reason !== "not-an-image") throw error;
      ctx.log.warn(`${error.message}; left out`);
    }
  }
  if (last !== undefined) return last;
  throw fail("not-found", `"${repositoryName(repository)}" has no tags`, { reason: "no-tags" });
}

async function pullOne(ctx: Ctx, engine: Engine, target: Target): Promise<ImageRecord> {
  const { client, wanted, newerThan } = target;
  const reference = withDefaultTag(target.reference);
  const what = formatReference(reference);
  // Of many pulls of one image one works and the others wait: they find what it has stored.
  using _turn = await FileLock.acquire(ctx, pullLock(engine, what, wanted));
  const meanwhile = target.meanwhile();
  if (meanwhile !== undefined) return meanwhile;
  const top = await (reference.digest === undefined
    ? client.manifest(ctx, reference.tag as string)
    : manifestByDigest(ctx, engine, { client, digest: reference.digest }));
  if (newerThan !== undefined && isSame(newerThan, reference, top.descriptor.digest)) return newerThan;
  const { documents, ...chosen } = await chooseManifest(ctx, engine, { client, top, wanted, what });
  const candidate = { transport: "docker", reference, documents } as const;
  await admit(ctx, engine, { candidate, signatures: signaturesAt(client) });
  const names = reference.digest === undefined && !isIndexHere(engine, what, top) ? [what] : [];
  const digests = repoDigests(reference, top.descriptor.digest, chosen.manifestDigest);
  const here = unchanged(engine, { what, names, digests, wanted, ...chosen });
  if (here !== undefined) return told(engine, here, what);
  return await underLease(engine, async (lease) => {
    const source: ImageSource = {
      ...chosen,
      what,
      resumable: true,
      blob: (c, descriptor, offset) => client.blob(c, descriptor, offset),
    };
    const complete = await storeLayers(ctx, engine, source, {
      names,
      repoDigests: digests,
      lease,
      checkConfig: (config) => checkPlatform(ctx, { config, wanted, what }),
    });
    const record = engine.images.put(complete);
    // Of pulls that nobody came back to.
    dropPartials(engine.store, "stale");
    return told(engine, record, what);
  });
}

function told(engine: Engine, record: ImageRecord, what: string): ImageRecord {
  engine.events.add({ type: "image", action: "pull", id: record.id, name: what, attributes: {} });
  return record;
}

interface Wished extends Pick<Chosen, "manifest" | "manifestDigest"> {
  what: string;
  names: string[];
  digests: string[];
  wanted: Platform | undefined;
}

/** The image, if all of it is here and known by these very names and digests: then there is nothing to write. */
function unchanged(
  engine: Engine,
  { what, manifest, manifestDigest, names, digests, wanted }: Wished,
): ImageRecord | undefined {
  const record = engine.images.get(manifest.config.digest);
  if (record === undefined || record.manifestDigest !== manifestDigest) return undefined;
  // An index's digest is several images': it means the one that was pulled last.
  if (engine.images.find(what)?.id !== record.id) return undefined;
  const isKnown =
    names.every((name) => record.names.includes(name)) &&
    digests.every((digest) => record.repoDigests.includes(digest));
  if (!isKnown || ![record.id, manifestDigest].every((digest) => engine.content.has(digest)))
    return undefined;
  // For another platform it is a warning or an error, which the long way gives.
  if (!platformMatches(wanted ?? hostPlatform(), record.config)) return undefined;
  const { diff_ids } = record.config.rootfs;
  const isWhole =
    diff_ids.length === manifest.layers.length &&
    chainIds(diff_ids).every((id) => engine.layers.get(id) !== undefined);
  return isWhole ? record : undefined;
}

/** The name stands for this very index here, with more of what it lists than this one image. */
function isIndexHere(engine: Engine, name: string, top: FetchedManifest): boolean {
  return engine.manifests.find(name)?.digest === top.descriptor.digest;
}

/** The index, which is what the name stands for, and the manifest that was taken from it. */
function repoDigests(reference: Reference, top: Digest, manifest: Digest): string[] {
  return [...new Set([top, manifest])].map((digest) => `${repositoryName(reference)}@${digest}`);
}

function isSame(record: ImageRecord, reference: Reference, digest: Digest): boolean {
  const named = reference.digest !== undefined || record.names.includes(formatReference(reference));
  return named && record.repoDigests.includes(`${repositoryName(reference)}@${digest}`);
}

interface Chosen {
  manifest: Manifest;
  manifestBytes: Uint8Array;
  manifestDigest: Digest;
  /** The manifest, then the indexes on the way to it, innermost first. */
  documents: SignedDocument[];
}

/** Down from an index to the manifest for the platform. */
async function chooseManifest(
  ctx: Ctx,
  engine: Engine,
  { client, top, wanted, what }: Pick<Target, "client" | "wanted"> & { top: FetchedManifest; what: string },
): Promise<Chosen> {
  let fetched = top;
  const documents: SignedDocument[] = [];
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    const { bytes, descriptor } = fetched;
    const document = parseManifest(bytes, descriptor.mediaType);
    documents.unshift({ bytes, digest: descriptor.digest });
    if (!isIndex(document)) {
      return { manifest: document, manifestBytes: bytes, manifestDigest: descriptor.digest, documents };
    }
    const entry = selectPlatform(document, wanted);
    fetched = await fetchEntry(ctx, engine, { client, entry });
  }
  throw fail(
    "invalid-argument",
    `"${what}" is malformed: indexes are nested deeper than ${MAX_NESTING} levels`,
    {
      reason: "index-nesting",
    },
  );
}

function pullLock(engine: Engine, what: string, wanted: Platform | undefined): LockRequest {
  const platform = wanted === undefined ? "" : formatPlatform(wanted);
  return { sys: engine.sys, dir: engine.paths.locks, name: `pull ${what} ${platform}` };
}

/** From the store where it is there: under a digest nothing changes. */
async function manifestByDigest(
  ctx: Ctx,
  engine: Engine,
  { client, digest }: { client: RegistryClient; digest: Digest },
): Promise<FetchedManifest> {
  const bytes = engine.content.has(digest) ? readStored(ctx, engine, digest) : undefined;
  const mediaType = bytes === undefined ? undefined : ownMediaType(bytes);
  if (bytes === undefined || mediaType === undefined) return await client.manifest(ctx, digest);
  return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
}

function readStored(ctx: Ctx, engine: Engine, digest: Digest): Uint8Array | undefined {
  try {
    return engine.content.read(digest, MAX_MANIFEST_BYTES);
  } catch (error) {
    // Damaged: it is fetched again.
    ctx.log.debug(messageOf(error));
    return undefined;
  }
}

/** Without its Content-Type a document is only what it says of itself. */
function ownMediaType(bytes: Uint8Array): string | undefined {
  try {
    const { mediaType } = JSON.parse(Buffer.from(bytes).toString()) as { mediaType?: unknown };
    return typeof mediaType === "string" ? mediaType : undefined;
  } catch {
    return undefined;
  }
}

/** By digest, so its bytes are right; what the index calls it must be what it is. */
async function fetchEntry(
  ctx: Ctx,
  engine: Engine,
  { client, entry }: { client: RegistryClient; entry: Descriptor },
): Promise<FetchedManifest> {
  if (!isDigest(entry.digest)) throw fail("invalid-argument", "malformed digest in an index");
  const { bytes, descriptor } = await manifestByDigest(ctx, engine, { client, digest: entry.digest });
  if (bytes.length !== entry.size) {
    throw fail(
      "data-loss",
      `manifest "${entry.digest}" has ${bytes.length} bytes, its index says ${entry.size}`,
      {
        reason: "size-mismatch",
      },
    );
  }
  return { bytes, descriptor: { ...descriptor, mediaType: entry.mediaType || descriptor.mediaType } };
}

/** An image without an index is taken as it is, unless another platform was asked for by name. */
function checkPlatform(
  ctx: Ctx,
  { config, wanted, what }: { config: ImageConfig; wanted: Platform | undefined; what: string },
): void {
  if (platformMatches(wanted ?? hostPlatform(), config)) return;
  const found = formatPlatform(config);
  if (wanted === undefined) {
    ctx.log.warn(`"${what}" is built for ${found}, this host is ${formatPlatform(hostPlatform())}`);
    return;
  }
  throw fail("not-found", `no image for platform "${formatPlatform(wanted)}"`, {
    reason: "no-matching-platform",
    hint: `available: ${found}`,
  });
}

/** Parsed, whatever the registry is called. Errors: invalid-argument. */
export function destinationOf(text: string): Reference {
  return withDefaultTag(parseReference(text.replace(/^docker:\/\//, "")));
}
