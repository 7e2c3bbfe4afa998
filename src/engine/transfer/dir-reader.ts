/** `dir:PATH` as a source: skopeo's directory of loose files. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { digestAlgorithm, digestHex, digestOf } from "../../image/digest.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import type { FetchedManifest } from "../../registry/registry.ts";
import type { DirectoryLayout } from "../load-layout.ts";
import { describe, verifiedDocument } from "./read-document.ts";
import type { ImageReader, Place } from "./transfer.ts";

export class DirReader implements ImageReader {
  readonly place: Place;
  readonly madeUp = false;
  readonly #layout: DirectoryLayout;
  readonly #top: Uint8Array;

  /** Closes the layout when it is done with. Errors: not-found if there is no image in it. */
  constructor(place: Place, layout: DirectoryLayout) {
    this.place = place;
    this.#layout = layout;
    const top = layout.document("manifest.json");
    if (top === undefined) {
      layout[Symbol.dispose]();
      throw fail("not-found", `"${place.path}" has no image: there is no manifest.json`, {
        reason: "no-manifest",
      });
    }
    this.#top = top;
  }

  manifest(_ctx: Ctx, digest?: Digest): Promise<FetchedManifest> {
    // The directory's own manifest has no name that could be checked: it is what it is.
    const own = digestOf(this.#top, digest === undefined ? "sha256" : digestAlgorithm(digest));
    if (digest === undefined || digest === own) {
      return Promise.resolve({ bytes: this.#top, descriptor: describe(this.#top, own) });
    }
    const bytes = this.#layout.document(`${digestHex(digest)}.manifest.json`);
    if (bytes !== undefined) return Promise.resolve(verifiedDocument(bytes, { digest }));
    throw fail("not-found", `"${this.place.path}" lacks manifest "${digest}"`, {
      reason: "archive-incomplete",
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
