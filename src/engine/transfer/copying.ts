/** One copy under way: documents and blobs from a reader to a writer. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import {
  convertIndex,
  convertManifest,
  type Converted,
  type ImageFormat,
  imageFormat,
} from "../../image/convert.ts";
import { excerpt } from "../../image/digest.ts";
import type { Descriptor, Digest, Index, Manifest } from "../../image/image.ts";
import { isIndex, MAX_NESTING, parseManifest } from "../../image/manifest.ts";
import { isForeignLayerType, isImageConfigType } from "../../image/media-types.ts";
import type { FetchedManifest } from "../../registry/registry.ts";
import { runOrdered } from "../../storage/ordered.ts";
import type { Lease } from "../../storage/storage.ts";
import type { CopyImageRequest } from "../copy-image.ts";
import { stepId } from "../blob-step.ts";
import type { Engine } from "../engine.ts";
import { type LayerRules, type LayerTarget, recompress, targetOf } from "./recompress.ts";
import type { ImageReader, ImageWriter } from "./transfer.ts";

/** Attached to one document; and to what is attached, and so on. */
const MAX_REFERRERS = 1000;
const MAX_REFERRER_DEPTH = 4;
/** Blobs on their way at the same time. */
const CONCURRENCY = 6;

type Rules = Pick<
  CopyImageRequest,
  "multiArch" | "format" | "compression" | "compressPlain" | "preserveDigests"
>;

export interface CopyingParts {
  reader: ImageReader;
  writer: ImageWriter;
  /** For what is made in the store meanwhile. */
  lease: Lease;
  rules: Rules;
  /** Takes what had to become different, in words, before it does. */
  changes?: string[];
}

export class Copying {
  readonly changes: string[];
  readonly #engine: Engine;
  readonly #parts: CopyingParts;
  /** Every document once, by the digest it has at the source. */
  readonly #documents = new Map<Digest, Promise<Converted>>();
  /** Every blob once. */
  readonly #blobs = new Map<Digest, Promise<void>>();
  readonly #layers = new Map<Digest, Promise<Descriptor>>();

  constructor(engine: Engine, parts: CopyingParts) {
    this.#engine = engine;
    this.#parts = parts;
    this.changes = parts.changes ?? [];
  }

  /** Source digests of what has been copied. */
  get digests(): Digest[] {
    return [...this.#documents.keys()];
  }

  /** The document the destination's name will stand for. */
  async top(ctx: Ctx, fetched: FetchedManifest): Promise<Converted> {
    return await this.#document(ctx, fetched, { top: true, depth: 0 });
  }

  #document(ctx: Ctx, fetched: FetchedManifest, how: { top: boolean; depth: number }): Promise<Converted> {
    const { digest } = fetched.descriptor;
    let copied = this.#documents.get(digest);
    if (copied === undefined) {
      copied = this.#copyDocument(ctx, fetched, how);
      this.#documents.set(digest, copied);
    }
    return copied;
  }

  async #copyDocument(
    ctx: Ctx,
    fetched: FetchedManifest,
    { top, depth }: { top: boolean; depth: number },
  ): Promise<Converted> {
    const document = parseManifest(fetched.bytes, fetched.descriptor.mediaType);
    const format = this.#formatOf(document);
    const converted = isIndex(document)
      ? await this.#index(ctx, fetched, { index: document, format, depth })
      : await this.#image(ctx, fetched, { manifest: document, format });
    const result = converted.changed ? converted : { ...converted, digest: fetched.descriptor.digest };
    this.#noteFormat(document, result);
    const { bytes, mediaType, digest } = result;
    await this.#parts.writer.putManifest(ctx, { bytes, mediaType, digest, top });
    return result;
  }

  #formatOf({ mediaType }: Manifest | Index): ImageFormat {
    const { rules, writer } = this.#parts;
    const own = imageFormat(mediaType);
    return rules.format ?? (rules.preserveDigests ? own : (writer.family ?? own));
  }

  #noteFormat(document: Manifest | Index, { mediaType, changed }: Converted): void {
    if (changed && mediaType !== document.mediaType) {
      this.#note(`the manifest is now "${mediaType}" instead of "${document.mediaType}"`);
    }
  }

  #note(change: string): void {
    noteChange(this.#parts.rules, this.changes, change);
  }

  async #index(
    ctx: Ctx,
    fetched: FetchedManifest,
    { index, format, depth }: { index: Index; format: ImageFormat; depth: number },
  ): Promise<Converted> {
    const { reader, writer, rules } = this.#parts;
    if (!writer.takesIndexes) {
      throw fail("invalid-argument", `"${writer.place.text}" holds one image, not an index of several`, {
        reason: "destination-format",
        hint: "copy one platform, or use oci-archive",
      });
    }
    if (depth >= MAX_NESTING) {
      throw fail("invalid-argument", `indexes are nested deeper than ${MAX_NESTING} levels`, {
        reason: "index-nesting",
      });
    }
    const children = new Map<Digest, Converted>();
    const entries = rules.multiArch === "index-only" ? [] : index.manifests;
    for (const entry of entries) {
      if (children.has(entry.digest)) continue;
      const child = await entryDocument(ctx, reader, entry);
      children.set(entry.digest, await this.#document(ctx, child, { top: false, depth: depth + 1 }));
    }
    return convertIndex({ bytes: fetched.bytes, index }, { format, children });
  }

  async #image(
    ctx: Ctx,
    fetched: FetchedManifest,
    { manifest, format }: { manifest: Manifest; format: ImageFormat },
  ): Promise<Converted> {
    const isArtifact = !isImageConfigType(manifest.config.mediaType);
    if (isArtifact && format !== imageFormat(manifest.mediaType)) {
      throw fail(
        "invalid-argument",
        `an artifact of type "${excerpt(manifest.artifactType ?? manifest.config.mediaType)}" has no other format`,
        {
          reason: "artifact-format",
          hint: "leave --format away",
        },
      );
    }
    for (const { digest, size } of [manifest.config, ...manifest.layers])
      ctx.progress({ id: stepId(digest), status: "waiting", total: size });
    const blobs = [manifest.config, ...manifest.layers];
    const [, ...layers] = await runOrdered(ctx, CONCURRENCY, blobs, async (inner, blob, i) =>
      i === 0 ? this.#plain(inner, blob) : this.#layer(inner, blob, format),
    );
    return convertManifest({ bytes: fetched.bytes, manifest }, { format, layers });
  }

  /** As it is. */
  async #plain(ctx: Ctx, descriptor: Descriptor): Promise<Descriptor> {
    const { reader } = this.#parts;
    await this.#put(ctx, descriptor, (inner) => reader.blob(inner, descriptor));
    return descriptor;
  }

  async #layer(ctx: Ctx, layer: Descriptor, format: ImageFormat): Promise<Descriptor> {
    const { reader, writer, rules } = this.#parts;
    if (isForeignLayerType(layer.mediaType) && writer.leavesForeign) {
      ctx.progress({ id: stepId(layer.digest), status: "exists", current: layer.size, total: layer.size });
      return layer;
    }
    const target = targetOf(layer, layerRules(rules, { format, reader, writer }));
    if (target === undefined) return await this.#plain(ctx, layer);
    this.#note(
      `layer "${layer.digest}" is ${target.format === "none" ? "no longer compressed" : `now ${target.format}`}`,
    );
    let making = this.#layers.get(layer.digest);
    if (making === undefined) {
      making = this.#made(ctx, layer, target);
      this.#layers.set(layer.digest, making);
    }
    return await making;
  }

  async #made(ctx: Ctx, layer: Descriptor, target: LayerTarget): Promise<Descriptor> {
    const { reader, lease } = this.#parts;
    const source = this.#counted(ctx, layer, reader.blob(ctx, layer));
    const made = await recompress(ctx, this.#engine, { layer, source, target, lease });
    await this.#put(ctx, made, () => this.#engine.content.stream(made.digest));
    return made;
  }

  #put(ctx: Ctx, descriptor: Descriptor, open: (ctx: Ctx) => AsyncIterable<Uint8Array>): Promise<void> {
    let sending = this.#blobs.get(descriptor.digest);
    if (sending === undefined) {
      sending = this.#send(ctx, descriptor, open);
      this.#blobs.set(descriptor.digest, sending);
    }
    return sending;
  }

  async #send(
    ctx: Ctx,
    descriptor: Descriptor,
    open: (ctx: Ctx) => AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const { reader, writer } = this.#parts;
    const { digest, size: total } = descriptor;
    const counted = (): AsyncIterable<Uint8Array> => this.#counted(ctx, descriptor, open(ctx));
    const how = await writer.putBlob(ctx, descriptor, counted, reader.place);
    if (how !== "uploaded") ctx.progress({ id: stepId(digest), status: "exists", current: total, total });
  }

  async *#counted(
    ctx: Ctx,
    { digest, size: total }: Descriptor,
    source: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const status = this.#parts.reader.place.transport === "docker" ? "downloading" : "uploading";
    const id = stepId(digest);
    let current = 0;
    for await (const chunk of source) {
      yield chunk;
      current += chunk.length;
      ctx.progress({ id, status, current, total });
    }
    ctx.progress({ id, status: "done", current, total });
  }

  /** What is attached to all that has been copied so far, and to that again. */
  async attached(ctx: Ctx): Promise<void> {
    const { writer } = this.#parts;
    if (!writer.takesReferrers) {
      ctx.log.warn(`"${writer.place.text}" has no room for what is attached to an image: it stays behind`);
      return;
    }
    let subjects = this.digests;
    for (let depth = 0; depth < MAX_REFERRER_DEPTH && subjects.length > 0; depth++) {
      const before = new Set(this.digests);
      for (const subject of subjects) await this.#attachedTo(ctx, subject);
      subjects = this.digests.filter((digest) => !before.has(digest));
    }
  }

  async #attachedTo(ctx: Ctx, subject: Digest): Promise<void> {
    const { reader } = this.#parts;
    const found = await reader.referrers(ctx, subject);
    if (found.length === 0) return;
    if ((await this.#documents.get(subject))?.changed === true) {
      ctx.log.warn(`what is attached to "${subject}" stays behind: its digest has changed`);
      return;
    }
    if (found.length > MAX_REFERRERS) {
      throw fail("resource-exhausted", `more than ${MAX_REFERRERS} documents are attached to "${subject}"`, {
        reason: "referrers",
      });
    }
    for (const entry of found) {
      const document = await entryDocument(ctx, reader, entry);
      const { subject: stated } = parseManifest(document.bytes, document.descriptor.mediaType);
      // The list is only somebody's claim.
      if (stated?.digest === subject) await this.#document(ctx, document, { top: false, depth: 0 });
    }
  }
}

/** Once each. Errors: invalid-argument where nothing may change. */
export function noteChange(rules: { preserveDigests: boolean }, changes: string[], change: string): void {
  if (rules.preserveDigests) {
    throw fail("invalid-argument", `the digest cannot be kept: ${change}`, {
      reason: "digest-would-change",
      hint: "leave --preserve-digests away, or what asks for the change",
    });
  }
  if (!changes.includes(change)) changes.push(change);
}

function layerRules(rules: Rules, parts: Pick<LayerRules, "format" | "reader" | "writer">): LayerRules {
  const { compression, compressPlain } = rules;
  return {
    ...parts,
    ...(compression === undefined ? {} : { wanted: compression }),
    ...(compressPlain === undefined ? {} : { plain: compressPlain }),
  };
}

/** A document by its entry in a list: by digest, so its bytes are right; what the list says of size and type must be true. */
export async function entryDocument(
  ctx: Ctx,
  reader: ImageReader,
  entry: Descriptor,
): Promise<FetchedManifest> {
  const { bytes, descriptor } = await reader.manifest(ctx, entry.digest);
  if (bytes.length !== entry.size) {
    throw fail(
      "data-loss",
      `manifest "${entry.digest}" has ${bytes.length} bytes, its index says ${entry.size}`,
      {
        reason: "size-mismatch",
      },
    );
  }
  const { mediaType } = parseManifest(bytes, entry.mediaType || descriptor.mediaType);
  return { bytes, descriptor: { ...descriptor, mediaType } };
}
