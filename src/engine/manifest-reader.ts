/**
 * An index of the store as a source of all that it lists: from the store what is there, and the rest from the registries
 * where it is known to be. Nothing that comes from a registry is kept.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "../image/manifest.ts";
import { parseReference, repositoryName } from "../image/reference.ts";
import type { FetchedManifest, RegistryClient, RegistryOptions } from "../registry/registry.ts";
import type { Lease, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { registryOptions } from "./pull.ts";
import { describe, referrerOf } from "./transfer/read-document.ts";
import type { ImageReader, Place } from "./transfer/transfer.ts";

export interface ListReaderRequest {
  list: ManifestRecord;
  registry: RegistryOptions;
  /** Protects what is read. */
  lease: Lease;
  /** Registry the copy goes to: what lies there already is mounted from its repository. */
  registryName?: string;
}

/** Repositories where a manifest that the index lists may be: where it is known to be, then where the index is. */
export function sourcesOf(engine: Engine, list: ManifestRecord, digest: Digest): string[] {
  const own = [...list.repoDigests, ...list.names].map((text) => parseReference(text));
  const reachable = own.filter((reference) => reference.registry !== "localhost").map(repositoryName);
  return [...new Set([...engine.manifests.sources(digest), ...reachable])];
}

export class ListReader implements ImageReader {
  readonly place: Place;
  readonly madeUp = false;
  readonly #engine: Engine;
  readonly #request: ListReaderRequest;
  readonly #clients = new Map<string, Promise<RegistryClient>>();
  /** Where a blob that the store lacks is. */
  readonly #origins = new Map<Digest, RegistryClient>();

  constructor(engine: Engine, request: ListReaderRequest) {
    this.#engine = engine;
    this.#request = request;
    const { list } = request;
    const name = list.names[0] ?? list.digest;
    const neighbour = this.#neighbour();
    this.place =
      neighbour === undefined
        ? { transport: "berth", text: name, name }
        : { transport: "docker", text: name, reference: neighbour };
  }

  /** A repository of the destination's registry that has something of the list. */
  #neighbour(): Reference | undefined {
    const { list, registryName } = this.#request;
    const { document } = list;
    if (registryName === undefined || !isIndex(document)) return undefined;
    const known = document.manifests.flatMap((entry) => this.#engine.manifests.sources(entry.digest));
    return [...new Set(known)].map(parseReference).find((one) => one.registry === registryName);
  }

  async manifest(ctx: Ctx, digest: Digest = this.#request.list.digest): Promise<FetchedManifest> {
    const { content } = this.#engine;
    if (!content.has(digest)) return await this.#fetched(ctx, digest);
    this.#request.lease.protect("blob", digest);
    const bytes = content.read(digest, MAX_MANIFEST_BYTES);
    const fetched = { bytes, descriptor: describe(bytes, digest, this.#stated(digest)) };
    await this.#locate(ctx, fetched);
    return fetched;
  }

  #stated(digest: Digest): string | undefined {
    return this.#engine.manifests.get(digest)?.mediaType;
  }

  /** Of a manifest that is here without all its blobs: where those are. */
  async #locate(ctx: Ctx, { bytes, descriptor }: FetchedManifest): Promise<void> {
    const document = parseManifest(bytes, descriptor.mediaType);
    if (isIndex(document)) return;
    const missing = [document.config, ...document.layers].filter(
      ({ digest }) => !this.#engine.content.has(digest) && !this.#origins.has(digest),
    );
    for (const repository of missing.length === 0 ? [] : this.#sources(descriptor.digest)) {
      const client = await this.#client(repository);
      const found = await Promise.all(missing.map(({ digest }) => client.hasBlob(ctx, digest)));
      if (!found.every(Boolean)) continue;
      for (const { digest } of missing) this.#origins.set(digest, client);
      return;
    }
  }

  #sources(digest: Digest): string[] {
    return sourcesOf(this.#engine, this.#request.list, digest);
  }

  async #fetched(ctx: Ctx, digest: Digest): Promise<FetchedManifest> {
    let last: unknown;
    for (const repository of this.#sources(digest)) {
      const client = await this.#client(repository);
      try {
        const { bytes, descriptor } = await client.manifest(ctx, digest);
        this.#note(client, parseManifest(bytes, descriptor.mediaType));
        return { bytes, descriptor: describe(bytes, digest, descriptor.mediaType) };
      } catch (error) {
        if (ctx.signal.aborted) throw error;
        last ??= error;
      }
    }
    if (last instanceof Error) throw last;
    throw fail("not-found", `manifest "${digest}" of the list is neither in the store nor known elsewhere`, {
      reason: "sparse-index",
      hint: "pull it, or remove it from the list with: berth manifest remove",
    });
  }

  #note(client: RegistryClient, document: ReturnType<typeof parseManifest>): void {
    if (isIndex(document)) return;
    for (const { digest } of [document.config, ...document.layers]) this.#origins.set(digest, client);
  }

  #client(repository: string): Promise<RegistryClient> {
    let client = this.#clients.get(repository);
    if (client === undefined) {
      client = import("../registry/client.ts").then(({ openRegistry }) =>
        openRegistry(parseReference(repository), registryOptions(this.#engine, this.#request.registry)),
      );
      this.#clients.set(repository, client);
    }
    return client;
  }

  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array> {
    const { digest } = descriptor;
    const origin = this.#origins.get(digest);
    if (origin !== undefined && !this.#engine.content.has(digest)) return origin.blob(ctx, descriptor);
    this.#request.lease.protect("blob", digest);
    return this.#engine.content.stream(digest);
  }

  referrers(_ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]> {
    const { manifests, content } = this.#engine;
    const found = manifests
      .list()
      .filter((record) => record.subject === subject)
      .map(({ digest, mediaType }) => {
        const bytes = content.read(digest, MAX_MANIFEST_BYTES);
        return referrerOf({ bytes, descriptor: describe(bytes, digest, mediaType) });
      })
      .filter((one) => artifactType === undefined || one.artifactType === artifactType);
    return Promise.resolve(found);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
