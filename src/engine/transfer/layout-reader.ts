/** `oci:DIR[:REF]` and `oci-archive:FILE[:REF]` as sources: an OCI layout, wherever its files are. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import type { Descriptor, Digest, Index } from "../../image/image.ts";
import type { FetchedManifest } from "../../registry/registry.ts";
import type { ImageLayout } from "../load-layout.ts";
import { chosenEntry, parseLayoutIndex } from "./oci-index.ts";
import { readDocument, referrerOf, subjectOf } from "./read-document.ts";
import type { ImageReader, Place } from "./transfer.ts";

/** More entries than this are not opened to see what they are attached to. */
const MAX_REFERRERS = 1000;

export class LayoutReader implements ImageReader {
  readonly place: Place;
  readonly madeUp = false;
  readonly #layout: ImageLayout;
  readonly #index: Index;
  readonly #close: () => void;

  /** `close` is called when the reader is done with. Errors: invalid-argument if it is no layout. */
  constructor(place: Place, layout: ImageLayout, close: () => void) {
    this.place = place;
    this.#layout = layout;
    this.#close = close;
    this.#index = indexOf(place, layout);
  }

  manifest(ctx: Ctx, digest?: Digest): Promise<FetchedManifest> {
    return this.#read(
      ctx,
      digest === undefined ? chosenEntry(this.#index, this.place) : this.#listed(digest),
    );
  }

  /** What lies there under another name. Errors: not-found. */
  async named(ctx: Ctx, refName: string): Promise<FetchedManifest> {
    const { transport, text } = this.place;
    return await this.#read(ctx, chosenEntry(this.#index, { transport, text, refName }));
  }

  async #read(ctx: Ctx, entry: Partial<Descriptor> & { digest: Digest }): Promise<FetchedManifest> {
    // Only the digest counts to find it; what a nested index says of its size is the copier's to check.
    const bytes = this.#layout.blob(ctx, { mediaType: "", size: 0, ...entry });
    const found = await readDocument(bytes, entry);
    if (entry.size === undefined || found.bytes.length === entry.size) return found;
    throw fail(
      "data-loss",
      `manifest "${entry.digest}" has ${found.bytes.length} bytes, index.json says ${entry.size}`,
      { reason: "size-mismatch" },
    );
  }

  #listed(digest: Digest): Partial<Descriptor> & { digest: Digest } {
    return this.#index.manifests.find((entry) => entry.digest === digest) ?? { digest };
  }

  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array> {
    return this.#layout.blob(ctx, descriptor);
  }

  async referrers(ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]> {
    const found: Descriptor[] = [];
    for (const entry of this.#index.manifests.slice(0, MAX_REFERRERS)) {
      const document = await this.manifest(ctx, entry.digest);
      if (subjectOf(document) !== subject) continue;
      const referrer = referrerOf(document);
      if (artifactType === undefined || referrer.artifactType === artifactType) found.push(referrer);
    }
    return found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    return Promise.resolve();
  }
}

function indexOf(place: Place, layout: ImageLayout): Index {
  const bytes = layout.document("index.json");
  if (bytes !== undefined) return parseLayoutIndex(bytes);
  throw fail("invalid-argument", `"${place.text}" is no OCI layout: it has no index.json`, {
    reason: "not-a-layout",
  });
}
