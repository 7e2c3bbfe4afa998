/**
 * `berth:NAME` (`containers-storage:NAME`) as a destination. Layers of an image for this machine, or of the one image that was
 * asked for, are fetched, verified and unpacked in one pass, as by pull; what an index lists for other machines, and artifacts, are kept as blobs.
 */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "../../image/config.ts";
import type { Descriptor, Digest, Manifest, Reference } from "../../image/image.ts";
import { isIndex, parseManifest } from "../../image/manifest.ts";
import { isImageConfigType, isLayerType } from "../../image/media-types.ts";
import { hostPlatform, platformMatches } from "../../image/platform.ts";
import { formatReference, parseReference, repositoryName } from "../../image/reference.ts";
import type { PushedBlob } from "../../registry/registry.ts";
import { collectGarbage } from "../../storage/gc.ts";
import { runOrdered } from "../../storage/ordered.ts";
import type { Lease, PutImageRequest, PutManifestRequest } from "../../storage/storage.ts";
import type { Engine } from "../engine.ts";
import { storeLayers } from "../image-source.ts";
import { localName } from "../images.ts";
import type { ImageWriter, Place } from "./transfer.ts";

type PutManifest = Parameters<ImageWriter["putManifest"]>[1];
type Open = () => AsyncIterable<Uint8Array>;

const CONCURRENCY = 6;

export interface BerthWriterRequest {
  place: Place;
  /** More names. */
  names: Reference[];
  /** The registry's repository it comes from, if it comes from one. */
  source?: Reference;
}

export class BerthWriter implements ImageWriter {
  readonly place: Place;
  readonly takesIndexes = true;
  readonly leavesForeign = false;
  /** What nothing names would be swept away: it is known by the registry it came from. */
  readonly takesReferrers: boolean;
  readonly #engine: Engine;
  readonly #names: string[];
  readonly #source: Reference | undefined;
  readonly #lease: Lease;
  readonly #opens = new Map<Digest, Open>();
  readonly #images: PutImageRequest[] = [];
  readonly #documents: PutManifestRequest[] = [];
  #isCommitted = false;

  /** Errors: invalid-argument for what is no name. */
  constructor(engine: Engine, { place, names, source }: BerthWriterRequest) {
    this.place = place;
    this.#engine = engine;
    this.#names = [localName(place.name as string), ...names.map(formatReference)];
    this.#source = source;
    this.takesReferrers = source !== undefined;
    this.#lease = engine.leases.take("pull");
  }

  /** Only takes note: whether it is unpacked on its way is known when the manifest comes. */
  putBlob(_ctx: Ctx, descriptor: Descriptor, open: Open): Promise<PushedBlob> {
    this.#opens.set(descriptor.digest, open);
    return Promise.resolve(this.#engine.content.has(descriptor.digest) ? "exists" : "uploaded");
  }

  async putManifest(ctx: Ctx, request: PutManifest): Promise<void> {
    const document = parseManifest(request.bytes, request.mediaType);
    if (!isIndex(document) && (await this.#isForHere(ctx, document, request.top))) {
      this.#images.push(await this.#unpacked(ctx, document, request));
      return;
    }
    if (!isIndex(document)) await this.#keepBlobs(ctx, document);
    // What an index lists must be there when the index comes; its own row keeps it.
    await this.#engine.content.ingest(ctx, once(request.bytes), sizeOf(request), this.#lease);
    const isImage = !isIndex(document) && isImageConfigType(document.config.mediaType);
    if (!isImage || request.top || document.subject !== undefined) this.#documents.push(this.#named(request));
  }

  async #isForHere(ctx: Ctx, { config, layers }: Manifest, top: boolean): Promise<boolean> {
    if (!isImageConfigType(config.mediaType) || !layers.every((layer) => isLayerType(layer.mediaType)))
      return false;
    if (top) return true;
    if (config.size > MAX_CONFIG_BYTES) return false;
    await this.#keep(ctx, config);
    return platformMatches(hostPlatform(), parseConfig(this.#engine.content.read(config.digest)));
  }

  async #unpacked(
    ctx: Ctx,
    manifest: Manifest,
    { bytes, digest, top }: PutManifest,
  ): Promise<PutImageRequest> {
    const source = {
      manifest,
      manifestBytes: bytes,
      manifestDigest: digest,
      what: this.place.text,
      blob: (_: Ctx, descriptor: Descriptor) => this.#open(descriptor)(),
    };
    return await storeLayers(ctx, this.#engine, source, {
      names: top ? this.#names : [],
      repoDigests: top ? this.#repoDigests(digest) : [`${this.#repository}@${digest}`],
      lease: this.#lease,
    });
  }

  #open({ digest }: Descriptor): Open {
    const open = this.#opens.get(digest);
    if (open !== undefined) return open;
    throw fail("not-found", `blob "${digest}" was not sent`, { reason: "blob-unknown" });
  }

  async #keepBlobs(ctx: Ctx, { config, layers }: Manifest): Promise<void> {
    const unique = [...new Map([config, ...layers].map((one) => [one.digest, one])).values()];
    await runOrdered(ctx, CONCURRENCY, unique, (inner, descriptor) => this.#keep(inner, descriptor));
  }

  async #keep(ctx: Ctx, descriptor: Descriptor): Promise<void> {
    const source = lazily(this.#open(descriptor));
    await this.#engine.content.ingest(ctx, source, descriptor, this.#lease);
  }

  /** Where it comes from; else it is known by its new name, so that it goes with the index that lists it. */
  get #repository(): string {
    return repositoryName(this.#source ?? parseReference(this.#names[0] as string));
  }

  #repoDigests(digest: Digest): string[] {
    return this.#source === undefined ? [] : [`${repositoryName(this.#source)}@${digest}`];
  }

  #named({ bytes, mediaType, digest, top }: PutManifest): PutManifestRequest {
    const names = top ? this.#names : [];
    return { bytes, mediaType, digest, names, repoDigests: this.#repoDigests(digest) };
  }

  commit(): Promise<void> {
    const { db, images, manifests, events } = this.#engine;
    db.durable(() => {
      for (const request of this.#images) images.put(request);
      for (const request of this.#documents) manifests.put(request);
    });
    this.#isCommitted = true;
    const id = this.#images.at(-1)?.manifestDigest ?? this.#documents.at(-1)?.digest ?? "";
    const name = this.#names[0] as string;
    events.add({
      type: "image",
      action: this.#source === undefined ? "load" : "pull",
      id,
      name,
      attributes: {},
    });
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#lease.release();
    if (!this.#isCommitted) collectGarbage(this.#engine.store);
    return Promise.resolve();
  }
}

function sizeOf({ bytes, digest }: PutManifest): { digest: Digest; size: number } {
  return { digest, size: bytes.length };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** Opened when it is first read: what the store has already is not asked for. */
async function* lazily(open: Open): AsyncGenerator<Uint8Array, void, undefined> {
  yield* open();
}
