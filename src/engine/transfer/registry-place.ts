/** `docker://HOST/REPOSITORY:TAG` as source and destination. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { digestAlgorithm, digestOf } from "../../image/digest.ts";
import type { Descriptor, Digest, Reference } from "../../image/image.ts";
import type { FetchedManifest, PushedBlob, RegistryClient } from "../../registry/registry.ts";
import { describe } from "./read-document.ts";
import type { ImageReader, ImageWriter, Place } from "./transfer.ts";

type PutManifest = Parameters<ImageWriter["putManifest"]>[1];

function tagOrDigest({ digest, tag }: Reference): string {
  return digest ?? (tag as string);
}

export class RegistryReader implements ImageReader {
  readonly place: Place;
  readonly madeUp = false;
  readonly client: RegistryClient;

  constructor(place: Place, client: RegistryClient) {
    this.place = place;
    this.client = client;
  }

  async manifest(ctx: Ctx, digest?: Digest): Promise<FetchedManifest> {
    const wanted = digest ?? tagOrDigest(this.place.reference as Reference);
    const { bytes, descriptor } = await this.client.manifest(ctx, wanted);
    return { bytes, descriptor: describe(bytes, descriptor.digest, descriptor.mediaType) };
  }

  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array> {
    return this.client.blob(ctx, descriptor);
  }

  referrers(ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]> {
    return this.client.referrers(ctx, subject, artifactType);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

export class RegistryWriter implements ImageWriter {
  readonly place: Place;
  readonly takesIndexes = true;
  readonly leavesForeign = true;
  readonly takesReferrers = true;
  readonly #client: RegistryClient;
  #top: PutManifest | undefined;

  constructor(place: Place, client: RegistryClient) {
    this.place = place;
    this.#client = client;
  }

  putBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    from?: Place,
  ): Promise<PushedBlob> {
    return this.#client.pushBlob(ctx, descriptor, open, this.#neighbour(from));
  }

  /** A repository on this registry that has the blob. */
  #neighbour(from: Place | undefined): string | undefined {
    const here = this.place.reference as Reference;
    const there = from?.transport === "docker" ? from.reference : undefined;
    if (there === undefined || there.registry !== here.registry) return undefined;
    return there.repository === here.repository ? undefined : there.repository;
  }

  async putManifest(ctx: Ctx, manifest: PutManifest): Promise<void> {
    if (!manifest.top) {
      await this.#client.pushManifest(ctx, manifest.digest, manifest.mediaType, manifest.bytes);
      return;
    }
    const { digest: wanted } = this.place.reference as Reference;
    if (wanted !== undefined && wanted !== digestOf(manifest.bytes, digestAlgorithm(wanted))) {
      throw fail(
        "invalid-argument",
        `"${this.place.text}": what would be stored has digest "${manifest.digest}"`,
        {
          reason: "destination-digest",
          hint: "name a tag, or copy without anything that changes the image",
        },
      );
    }
    this.#top = manifest;
  }

  /** The tag last: whoever pulls it finds everything there. */
  async commit(ctx: Ctx): Promise<void> {
    if (this.#top === undefined) return;
    const { mediaType, bytes } = this.#top;
    const { tag, digest } = this.place.reference as Reference;
    await this.#client.pushManifest(ctx, tag ?? (digest as Digest), mediaType, bytes);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
