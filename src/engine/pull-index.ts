/** pull --all-platforms: an index with all that it lists. What runs here is unpacked, the rest is kept as blobs. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import type { Descriptor, Digest, Index, Manifest, Reference } from "../image/image.ts";
import { isIndex, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import { isImageConfigType, isLayerType } from "../image/media-types.ts";
import { formatReference, repositoryName, withDefaultTag } from "../image/reference.ts";
import type { FetchedManifest, RegistryClient, RegistryOptions } from "../registry/registry.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { Lease, PutImageRequest } from "../storage/storage.ts";
import { entryImage, platformEntry } from "../storage/index-entry.ts";
import type { SignedDocument } from "../trust/trust.ts";
import { admit } from "./admit.ts";
import { counted, stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import { storeLayers } from "./image-source.ts";
import { type PullRequest, registryOptions } from "./pull.ts";
import { signaturesAt } from "./signatures.ts";
import { entryDocument } from "./transfer/copying.ts";
import { RegistryReader } from "./transfer/registry-place.ts";
import { underLease } from "./under-lease.ts";

/** What a name stands for now. */
export interface PulledIndex {
  /** Of the index; of the manifest where the registry has a single image. */
  digest: Digest;
  /** Id of the image for this host, if it has one. */
  image?: Digest;
}

const CONCURRENCY = 6;

/**
 * Everything becomes visible together, under the name; a single image is pulled as ever. Errors: as of pull; of a pull that
 * fails nothing is visible, and what a broken connection has brought is there for the next one until something is pruned.
 */
export async function pullAllPlatforms(
  ctx: Ctx,
  engine: Engine,
  request: Pick<PullRequest, "reference" | "registry">,
): Promise<PulledIndex> {
  const options = registryOptions(engine, request.registry);
  const { openRegistry } = await import("../registry/client.ts");
  const { resolveShortName } = await import("../registry/short-names.ts");
  const { names, remember } = await resolveShortName(ctx, request.reference, options);
  let last: unknown;
  for (const name of names) {
    const reference = withDefaultTag(name);
    try {
      const client = openRegistry(reference, options);
      const pulled = await pullFrom(ctx, engine, { client, reference, registry: request.registry });
      remember(name);
      return pulled;
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
      if (!(last instanceof EngineError) || last.kind === "not-found") last = error;
      ctx.log.debug(`${formatReference(reference)}: ${messageOf(error)}`);
    }
  }
  throw last;
}

interface Target {
  client: RegistryClient;
  reference: Reference;
  registry: RegistryOptions;
}

async function pullFrom(ctx: Ctx, engine: Engine, target: Target): Promise<PulledIndex> {
  const { client, reference } = target;
  const top = await client.manifest(ctx, reference.digest ?? (reference.tag as string));
  const document = parseManifest(top.bytes, top.descriptor.mediaType);
  if (!isIndex(document)) return await pullSingle(ctx, engine, target, top.descriptor.digest);
  return await underLease(engine, async (lease) => {
    const work = new IndexPull(engine, target, lease);
    await work.index(ctx, { fetched: top, index: document, within: [] });
    return putIndex(engine, reference, { top, images: work.images });
  });
}

function putIndex(
  engine: Engine,
  reference: Reference,
  { top, images }: { top: FetchedManifest; images: PutImageRequest[] },
): PulledIndex {
  const { digest, mediaType } = top.descriptor;
  const name = formatReference(reference);
  const names = reference.digest === undefined ? [name] : [];
  const image = engine.db.durable(() => {
    for (const one of images) engine.images.put(one);
    const repoDigests = [`${repositoryName(reference)}@${digest}`];
    engine.manifests.put({ bytes: top.bytes, digest, mediaType, names, repoDigests });
    return entryImage(engine.store, digest);
  });
  engine.events.add({ type: "image", action: "pull", id: digest, name, attributes: {} });
  return { digest, ...(image === undefined ? {} : { image }) };
}

async function pullSingle(
  ctx: Ctx,
  engine: Engine,
  { reference, registry }: Target,
  digest: Digest,
): Promise<PulledIndex> {
  const { pull } = await import("./pull.ts");
  const record = await pull(ctx, engine, {
    reference: formatReference(reference),
    policy: "always",
    registry,
  });
  return { digest, image: record.id };
}

interface FetchedIndex {
  fetched: FetchedManifest;
  index: Index;
  /** The indexes that it lies in, innermost first. */
  within: SignedDocument[];
}

class IndexPull {
  /** To be put when all is there. */
  readonly images: PutImageRequest[] = [];
  readonly #engine: Engine;
  readonly #target: Target;
  readonly #lease: Lease;
  readonly #reader: RegistryReader;
  readonly #seen = new Set<Digest>();

  constructor(engine: Engine, target: Target, lease: Lease) {
    this.#engine = engine;
    this.#target = target;
    this.#lease = lease;
    const { client, reference } = target;
    const place = { transport: "docker" as const, text: this.#what, reference };
    this.#reader = new RegistryReader(place, client);
  }

  async index(ctx: Ctx, { fetched, index, within }: FetchedIndex): Promise<void> {
    const { digest } = fetched.descriptor;
    if (within.length > MAX_NESTING) {
      throw fail(
        "invalid-argument",
        `"${this.#what}" is malformed: indexes are nested deeper than ${MAX_NESTING} levels`,
        {
          reason: "index-nesting",
        },
      );
    }
    await this.#ingest(ctx, { digest, size: fetched.bytes.length }, once(fetched.bytes));
    const host = platformEntry(this.#engine.store, digest)?.digest;
    for (const entry of index.manifests) {
      if (this.#seen.has(entry.digest)) continue;
      this.#seen.add(entry.digest);
      await this.#entry(ctx, entry, {
        isHost: entry.digest === host,
        within: [{ digest, bytes: fetched.bytes }, ...within],
      });
    }
  }

  get #what(): string {
    return formatReference(this.#target.reference);
  }

  async #entry(
    ctx: Ctx,
    entry: Descriptor,
    { isHost, within }: { isHost: boolean; within: SignedDocument[] },
  ): Promise<void> {
    const fetched = await entryDocument(ctx, this.#reader, entry);
    const { digest } = fetched.descriptor;
    const document = parseManifest(fetched.bytes, fetched.descriptor.mediaType);
    if (isIndex(document)) return await this.index(ctx, { fetched, index: document, within });
    const documents = [{ digest, bytes: fetched.bytes }, ...within];
    const { client, reference } = this.#target;
    const candidate = { transport: "docker", reference, documents } as const;
    await admit(ctx, this.#engine, { candidate, signatures: signaturesAt(client) });
    if (isHost && isRunnable(document)) await this.#unpack(ctx, fetched, document);
    else await this.#keep(ctx, document);
    await this.#ingest(ctx, { digest, size: fetched.bytes.length }, once(fetched.bytes));
  }

  async #unpack(ctx: Ctx, { bytes, descriptor }: FetchedManifest, manifest: Manifest): Promise<void> {
    const { client, reference } = this.#target;
    const source = {
      manifest,
      manifestBytes: bytes,
      manifestDigest: descriptor.digest,
      what: this.#what,
      blob: (inner: Ctx, blob: Descriptor) => client.blob(inner, blob),
    };
    const repoDigests = [`${repositoryName(reference)}@${descriptor.digest}`];
    this.images.push(
      await storeLayers(ctx, this.#engine, source, { names: [], repoDigests, lease: this.#lease }),
    );
  }

  async #keep(ctx: Ctx, { config, layers }: Manifest): Promise<void> {
    const unique = new Map([config, ...layers].map((blob) => [blob.digest, blob]));
    await runOrdered(ctx, CONCURRENCY, [...unique.values()], async (inner, blob) => {
      const { digest, size: total } = blob;
      const id = stepId(digest);
      const exists = this.#engine.content.has(digest);
      await this.#ingest(
        inner,
        blob,
        counted(inner, this.#target.client.blob(inner, blob), { id, status: "downloading", total }),
      );
      inner.progress({ id, status: exists ? "exists" : "done", current: total, total });
    });
  }

  async #ingest(
    ctx: Ctx,
    expected: { digest: Digest; size: number },
    source: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#engine.content.ingest(ctx, source, expected, this.#lease);
  }
}

function isRunnable({ config, layers }: Manifest): boolean {
  return isImageConfigType(config.mediaType) && layers.every((layer) => isLayerType(layer.mediaType));
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
