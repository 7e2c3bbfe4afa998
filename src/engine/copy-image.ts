/**
 * copy: an image, an index or an artifact from any place to any other.
 *
 * Documents go over byte for byte, and with them their digests, unless something in them must change: another family of
 * media types, another compression. Blobs that the destination has are not sent; what goes is verified on its way.
 * Blobs first, then manifests, children before the index that lists them, the name last.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Compressor } from "../archive/compress-parallel.ts";
import type { ImageFormat } from "../image/convert.ts";
import type { Digest, Platform, Reference } from "../image/image.ts";
import { isIndex, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { selectPlatform } from "../image/platform.ts";
import type { FetchedManifest, RegistryOptions } from "../registry/registry.ts";
import { collectGarbage } from "../storage/gc.ts";
import type { SignedDocument } from "../trust/trust.ts";
import type { Engine } from "./engine.ts";
import { admitSource } from "./transfer/admit-source.ts";
import { Copying, entryDocument, noteChange } from "./transfer/copying.ts";
import { openReader, openWriter } from "./transfer/open.ts";
import type { LayerTarget } from "./transfer/recompress.ts";
import type { ImageReader, Place } from "./transfer/transfer.ts";

export interface CopyImageRequest {
  source: Place;
  destination: Place;
  /** Of an index: the image for one platform, all of it, or the index without what it lists. */
  multiArch: "system" | "all" | "index-only";
  /** For "system"; this host's when absent. */
  platform?: Platform;
  /** Media types of the result; those of the source when absent. */
  format?: ImageFormat;
  /** Every layer becomes this. */
  compression?: LayerTarget;
  /** Layers without compression become this. */
  compressPlain?: Compressor;
  /** An error if anything had to change. */
  preserveDigests: boolean;
  /** What is attached (referrers; cosign's tags between registries) goes along. */
  referrers: boolean;
  /** More names, for destinations that have them. */
  names: Reference[];
  sourceRegistry: RegistryOptions;
  destinationRegistry: RegistryOptions;
  /** It goes along with something that the policy has let in. */
  isAttached?: boolean;
}

export interface CopyImageResult {
  /** Of the top document at the destination. */
  digest: Digest;
  /** What had to become different, in words; empty: all is byte for byte as it was. */
  changes: string[];
}

/** Errors: those of the places; invalid-argument where the destination cannot hold it; nothing becomes visible then. */
export async function copyImage(
  ctx: Ctx,
  engine: Engine,
  request: CopyImageRequest,
): Promise<CopyImageResult> {
  checkDifferent(request);
  const { source, destination, names } = request;
  const changes: string[] = [];
  using lease = engine.leases.take("pull");
  try {
    const isSent = destination.transport === "docker" || destination.transport.startsWith("oci");
    await using reader = await openReader(ctx, engine, {
      place: source,
      registry: request.sourceRegistry,
      compress: isSent && !request.preserveDigests,
      lease,
      note: (change) => noteChange(request, changes, change),
    });
    const { top, documents } = await chosenTop(ctx, reader, request);
    if (request.isAttached !== true) await admitSource(ctx, engine, reader, documents);
    await using writer = await openWriter(ctx, engine, {
      place: destination,
      registry: request.destinationRegistry,
      names,
      ...(source.transport === "docker" ? { source: source.reference as Reference } : {}),
    });
    const copying = new Copying(engine, { reader, writer, lease, rules: request, changes });
    const done = await copying.top(ctx, top);
    if (request.referrers) await copying.attached(ctx);
    await writer.commit(ctx);
    if (request.referrers)
      await (await import("./transfer/cosign-tags.ts")).copyCosignTags(ctx, engine, request, copying.digests);
    return { digest: done.digest, changes };
  } finally {
    lease.release();
    // Layers that were only made to be sent.
    if (changes.length > 0 || source.transport === "berth") collectGarbage(engine.store);
  }
}

function checkDifferent({ source, destination }: CopyImageRequest): void {
  const isSame = source.path !== undefined && source.path === destination.path;
  const bothLayouts = source.transport === "oci" && destination.transport === "oci";
  if (!isSame || bothLayouts) return;
  throw fail("invalid-argument", `"${source.text}" and "${destination.text}" are the same place`, {
    reason: "same-place",
  });
}

/** The document that will be at the destination: the source's, or what its index has for the platform; with the indexes on the way to it. */
async function chosenTop(
  ctx: Ctx,
  reader: ImageReader,
  { multiArch, platform }: CopyImageRequest,
): Promise<{ top: FetchedManifest; documents: SignedDocument[] }> {
  let at = await reader.manifest(ctx);
  const documents: SignedDocument[] = [];
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    const document = parseManifest(at.bytes, at.descriptor.mediaType);
    documents.unshift({ bytes: at.bytes, digest: at.descriptor.digest });
    if (!isIndex(document) || multiArch !== "system") return { top: at, documents };
    at = await entryDocument(ctx, reader, selectPlatform(document, platform));
  }
  throw fail(
    "invalid-argument",
    `"${reader.place.text}": indexes are nested deeper than ${MAX_NESTING} levels`,
    {
      reason: "index-nesting",
    },
  );
}
