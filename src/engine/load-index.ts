/** load --all-platforms: an index of a layout with all that it lists and the layout has. What runs here is unpacked by load itself. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Descriptor, Digest, Index, Manifest } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease } from "../storage/storage.ts";
import type { SignedDocument } from "../trust/trust.ts";
import { stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import { readVerified } from "./image-source.ts";
import type { ImageLayout } from "./load-layout.ts";

const CONCURRENCY = 4;

export interface IndexToKeep {
  layout: ImageLayout;
  lease: Lease;
  index: SignedDocument;
  /** Asked for every image before anything of it is stored; gets its manifest and the indexes it lies in. */
  admit(documents: SignedDocument[]): Promise<void>;
}

/**
 * Stores the blobs of everything in the index, and the index itself as a blob, under the lease. What the layout lacks (a sparse index) is
 * passed over. Errors: data-loss, invalid-argument, those of `admit`.
 */
export async function keepIndex(ctx: Ctx, engine: Engine, request: IndexToKeep): Promise<void> {
  await new IndexLoad(engine, request).index(ctx, request.index, []);
}

class IndexLoad {
  readonly #engine: Engine;
  readonly #request: IndexToKeep;
  readonly #seen = new Set<Digest>();

  constructor(engine: Engine, request: IndexToKeep) {
    this.#engine = engine;
    this.#request = request;
  }

  async index(ctx: Ctx, { bytes, digest }: SignedDocument, within: SignedDocument[]): Promise<void> {
    if (within.length > MAX_NESTING) {
      throw fail("invalid-argument", `indexes are nested deeper than ${MAX_NESTING} levels`, {
        reason: "index-nesting",
      });
    }
    const document = parseManifest(bytes) as Index;
    for (const entry of document.manifests) {
      if (this.#seen.has(entry.digest) || !this.#request.layout.has(entry.digest)) continue;
      this.#seen.add(entry.digest);
      await this.#entry(ctx, entry, [{ bytes, digest }, ...within]);
    }
    await this.#ingest(ctx, { digest, size: bytes.length }, once(bytes));
  }

  async #entry(ctx: Ctx, entry: Descriptor, within: SignedDocument[]): Promise<void> {
    const { layout, admit } = this.#request;
    const { digest } = entry;
    const bytes = await readVerified(layout.blob(ctx, entry), entry, MAX_MANIFEST_BYTES);
    const document = parseManifest(bytes, entry.mediaType);
    if (isIndex(document)) return await this.index(ctx, { bytes, digest }, within);
    await admit([{ bytes, digest }, ...within]);
    await this.#blobs(ctx, document);
    await this.#ingest(ctx, entry, once(bytes));
  }

  async #blobs(ctx: Ctx, { config, layers }: Manifest): Promise<void> {
    const { layout } = this.#request;
    const unique = new Map([config, ...layers].map((blob) => [blob.digest, blob]));
    await runOrdered(ctx, CONCURRENCY, [...unique.values()], async (inner, blob) => {
      const { digest, size: total } = blob;
      await this.#ingest(inner, blob, layout.blob(inner, blob));
      inner.progress({ id: stepId(digest), status: "done", current: total, total });
    });
  }

  async #ingest(ctx: Ctx, expected: { digest: Digest; size: number }, source: AsyncIterable<Uint8Array>) {
    await this.#engine.content.ingest(ctx, source, expected, this.#request.lease);
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
