/** `docker-archive:FILE[:NAME]` as a source: what docker save, podman save and berth save write. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { formatReference } from "../../image/reference.ts";
import type { FetchedManifest } from "../../registry/registry.ts";
import { type FoundImage, findImages } from "../load-images.ts";
import { describe } from "./read-document.ts";
import type { TarFileLayout } from "./tar-file-layout.ts";
import type { ImageReader, Place } from "./transfer.ts";

export class DockerArchiveReader implements ImageReader {
  readonly place: Place;
  readonly madeUp: boolean;
  readonly #layout: TarFileLayout;
  readonly #image: FoundImage;

  private constructor(place: Place, layout: TarFileLayout, image: FoundImage) {
    this.place = place;
    // Docker 25 and later, and berth, put the manifest there as well.
    this.madeUp = layout.document("index.json") === undefined;
    this.#layout = layout;
    this.#image = image;
  }

  /** Closes the layout when it is done with. Errors: as findImages; not-found, invalid-argument (several images). */
  static async open(ctx: Ctx, place: Place, layout: TarFileLayout): Promise<DockerArchiveReader> {
    try {
      return new DockerArchiveReader(place, layout, chosen(place, await findImages(ctx, layout)));
    } catch (error) {
      layout[Symbol.dispose]();
      throw error;
    }
  }

  manifest(_ctx: Ctx, digest?: Digest): Promise<FetchedManifest> {
    const { manifestBytes, manifestDigest, manifest } = this.#image.source;
    if (digest !== undefined && digest !== manifestDigest) {
      throw fail("not-found", `the archive lacks manifest "${digest}"`, { reason: "archive-incomplete" });
    }
    return Promise.resolve({
      bytes: manifestBytes,
      descriptor: describe(manifestBytes, manifestDigest, manifest.mediaType),
    });
  }

  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array> {
    return this.#layout.blob(ctx, descriptor);
  }

  referrers(): Promise<Descriptor[]> {
    return Promise.resolve([]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#layout[Symbol.dispose]();
    return Promise.resolve();
  }
}

function chosen({ text, reference, position }: Place, images: FoundImage[]): FoundImage {
  const names = images.flatMap((image) => image.names);
  if (reference !== undefined) {
    const found = images.find((image) => image.names.includes(formatReference(reference)));
    if (found !== undefined) return found;
    throw fail("not-found", `"${text}": the archive has no image of that name`, {
      reason: "no-such-entry",
      hint:
        names.length === 0
          ? "its images have no names; give a position after a colon: @0"
          : `it has ${names.join(", ")}`,
    });
  }
  const [only, ...more] = position === undefined ? images : images.slice(position, position + 1);
  if (only === undefined) {
    throw fail("not-found", `"${text}": the archive has ${images.length} images`, {
      reason: "no-such-entry",
    });
  }
  if (more.length === 0) return only;
  throw fail("invalid-argument", `"${text}": the archive has ${images.length} images`, {
    reason: "ambiguous-entry",
    hint: `name one after a colon: ${names.length === 0 ? "@0" : names.join(", ")}`,
  });
}
