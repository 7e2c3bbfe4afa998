/** Signatures of an image as registries and layouts keep them: cosign's under a tag made of the digest, Sigstore bundles as referrers. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, isKind, messageOf } from "../core/error.ts";
import { digestAlgorithm, digestHex, excerpt, isDigest } from "../image/digest.ts";
import type { Descriptor, Digest, Manifest } from "../image/image.ts";
import { isIndex, parseManifest } from "../image/manifest.ts";
import { COSIGN_ARTIFACT, COSIGN_PAYLOAD, isSigstoreBundleType } from "../image/media-types.ts";
import { isTag } from "../image/reference.ts";
import type { FetchedManifest } from "../registry/registry.ts";
import { type FoundSignature, SIGN_PREDICATE, type SignatureSource } from "../trust/trust.ts";
import { readVerified } from "./image-source.ts";
import type { ImageLayout } from "./load-layout.ts";
import type { LayoutReader } from "./transfer/layout-reader.ts";

/** What a registry's client has, and a reader of a layout can give. */
export interface SignaturePlace {
  /** Errors: not-found. */
  manifest(ctx: Ctx, tagOrDigest: string): Promise<FetchedManifest>;
  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array>;
  referrers(ctx: Ctx, subject: Digest): Promise<Descriptor[]>;
}

/** Looked at for one digest, of each kind. Whoever can write to a repository can attach as many as they like. */
const MAX_SIGNATURES = 200;
/** Of one payload or bundle; real ones have a few kilobytes. */
const MAX_SIGNATURE_BYTES = 1024 * 1024;

const PREDICATE = "dev.sigstore.bundle.predicateType";

export function signaturesAt(place: SignaturePlace): SignatureSource {
  return { find: (ctx, digest) => findSignatures(ctx, place, digest) };
}

/** What lies in an OCI layout beside its images: cosign's by the name its tag would have, bundles by their subject. */
export function layoutSignatures(layout: ImageLayout): SignatureSource {
  return {
    async *find(ctx, digest) {
      const { LayoutReader } = await import("./transfer/layout-reader.ts");
      const reader = new LayoutReader({ transport: "oci", text: "the layout" }, layout, () => {});
      yield* readerSignatures(reader).find(ctx, digest);
    },
  };
}

export function readerSignatures(reader: LayoutReader): SignatureSource {
  return signaturesAt({
    manifest: (ctx, name) => (isDigest(name) ? reader.manifest(ctx, name) : reader.named(ctx, name)),
    blob: (ctx, descriptor) => reader.blob(ctx, descriptor),
    referrers: (ctx, subject) => reader.referrers(ctx, subject),
  });
}

async function* findSignatures(
  ctx: Ctx,
  place: SignaturePlace,
  digest: Digest,
): AsyncGenerator<FoundSignature> {
  // Asked for at once: over a long line each question costs more than its answer.
  const referrers = place.referrers(ctx, digest);
  referrers.catch(() => {});
  const attached = await attachedManifest(ctx, place, digest);
  if (attached !== undefined) yield* signaturesIn(ctx, place, attached);
  yield* bundles(ctx, place, await referrers);
}

async function attachedManifest(
  ctx: Ctx,
  place: SignaturePlace,
  digest: Digest,
): Promise<Manifest | undefined> {
  const tag = `${digestAlgorithm(digest)}-${digestHex(digest)}.sig`;
  // That of a sha512 is too long for a tag.
  if (!isTag(tag)) return undefined;
  try {
    const { bytes, descriptor } = await place.manifest(ctx, tag);
    const document = parseManifest(bytes, descriptor.mediaType);
    return isIndex(document) ? undefined : document;
  } catch (error) {
    if (isKind(error, "not-found") || isKind(error, "invalid-argument")) return undefined;
    throw error;
  }
}

/** The last first: a signer who signs again appends. */
async function* signaturesIn(
  ctx: Ctx,
  place: SignaturePlace,
  manifest: Manifest,
): AsyncGenerator<FoundSignature> {
  const layers = manifest.layers.filter(
    ({ mediaType }) => mediaType === COSIGN_PAYLOAD || isSigstoreBundleType(mediaType),
  );
  for (const layer of layers.toReversed().slice(0, MAX_SIGNATURES))
    yield await signatureOf(ctx, place, layer);
  if (layers.length > MAX_SIGNATURES) yield tooMany(layers.length);
}

function tooMany(count: number): FoundSignature {
  return { kind: "unusable", problem: `only ${MAX_SIGNATURES} of ${count} signatures are looked at` };
}

async function signatureOf(ctx: Ctx, place: SignaturePlace, layer: Descriptor): Promise<FoundSignature> {
  const { digest, size, mediaType, annotations = {} } = layer;
  if (size > MAX_SIGNATURE_BYTES) {
    return {
      kind: "unusable",
      problem: `one is ${size} bytes large, more than the limit of ${MAX_SIGNATURE_BYTES}`,
    };
  }
  return await orUnusable(digest, async () => {
    const bytes = await readVerified(place.blob(ctx, layer), layer, MAX_SIGNATURE_BYTES);
    return mediaType === COSIGN_PAYLOAD
      ? { kind: "attachment", payload: bytes, annotations }
      : { kind: "bundle", bytes };
  });
}

/** One that is gone or broken must not hide the others. */
async function orUnusable(digest: Digest, get: () => Promise<FoundSignature>): Promise<FoundSignature> {
  try {
    return await get();
  } catch (error) {
    if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
    return { kind: "unusable", problem: `"${digest}" cannot be fetched: ${excerpt(messageOf(error), 200)}` };
  }
}

/** The list says what each of them is, as far as it is true; what it says is only used to look at less. */
async function* bundles(
  ctx: Ctx,
  place: SignaturePlace,
  listed: Descriptor[],
): AsyncGenerator<FoundSignature> {
  const candidates = listed.filter(isCandidate).toReversed();
  for (const entry of candidates.slice(0, MAX_SIGNATURES)) {
    const manifest = await orUnusableManifest(ctx, place, entry);
    if ("kind" in manifest) yield manifest;
    else yield* signaturesIn(ctx, place, manifest);
  }
  if (candidates.length > MAX_SIGNATURES) yield tooMany(candidates.length);
}

function isCandidate({ artifactType = "", annotations }: Descriptor): boolean {
  const predicate = annotations?.[PREDICATE];
  if (predicate !== undefined && predicate !== SIGN_PREDICATE) return false;
  return isSigstoreBundleType(artifactType) || artifactType === COSIGN_ARTIFACT;
}

async function orUnusableManifest(
  ctx: Ctx,
  place: SignaturePlace,
  entry: Descriptor,
): Promise<Manifest | FoundSignature> {
  let manifest: Manifest | undefined;
  const problem = await orUnusable(entry.digest, async () => {
    const { bytes, descriptor } = await place.manifest(ctx, entry.digest);
    const document = parseManifest(bytes, descriptor.mediaType);
    if (!isIndex(document)) manifest = document;
    return { kind: "unusable", problem: `"${entry.digest}" is an index, not a signature` };
  });
  return manifest ?? problem;
}
