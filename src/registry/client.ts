/** {@link openRegistry}: the client of one repository, with its mirrors. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { digestAlgorithm, digestOf } from "../image/digest.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import { isForeignLayerType } from "../image/media-types.ts";
import { fetchBlob, fetchForeign } from "./blob.ts";
import { findLogin } from "./credentials.ts";
import { deleteManifest, fetchManifest, putManifest } from "./manifests.ts";
import { hasBlob, mountBlob, pushBlob } from "./push.ts";
import type {
  FetchedManifest,
  OpenRegistry,
  PushedBlob,
  RegistryClient,
  RegistryOptions,
  RetryPolicy,
} from "./registry.ts";
import { sourcesOf } from "./sources.ts";
import { listTags } from "./tags.ts";
import { Transport } from "./transport.ts";

const PATIENCE: RetryPolicy = { retries: 5, baseMs: 1000, stallMs: 30_000 };

/** Reads configuration, talks to nobody yet. Errors: those of registries.conf; permission-denied for a blocked registry. */
export const openRegistry: OpenRegistry = (reference, options = {}) => new Client(reference, options);

class Client implements RegistryClient {
  readonly #transports: Transport[];

  constructor(reference: Reference, options: RegistryOptions) {
    const retry = { ...PATIENCE, ...options.retry };
    this.#transports = sourcesOf(reference, options).map((source) => {
      // Credentials given for this call are for the registry it names, not for its mirrors.
      const { credentials: _, ...withoutCredentials } = options;
      const own = source.writable ? options : withoutCredentials;
      const login = (ctx: Ctx) => findLogin(ctx, `${source.registry}/${source.repository}`, own);
      return new Transport({ source, certDir: options.certDir, retry, login });
    });
  }

  /** The location itself; mirrors come before it. */
  get #home(): Transport {
    return this.#transports.at(-1) as Transport;
  }

  manifest(ctx: Ctx, tagOrDigest: string): Promise<FetchedManifest> {
    return this.#fromAny(ctx, (transport) => fetchManifest(ctx, transport, tagOrDigest));
  }

  async #fromAny<T>(ctx: Ctx, read: (transport: Transport) => Promise<T>): Promise<T> {
    for (const transport of this.#transports.slice(0, -1)) {
      try {
        return await read(transport);
      } catch (error) {
        skipMirror(ctx, transport, error);
      }
    }
    return await read(this.#home);
  }

  async *blob(ctx: Ctx, descriptor: Descriptor, offset = 0): AsyncGenerator<Uint8Array, void, undefined> {
    const inline = inlineData(descriptor);
    if (inline !== undefined) {
      // Memory of its own: the receiver may free it.
      yield Uint8Array.from(inline.subarray(offset));
      return;
    }
    const position = { descriptor, offset };
    for (const transport of this.#transports.slice(0, -1)) {
      try {
        yield* fetchBlob(ctx, transport, position);
        return;
      } catch (error) {
        skipMirror(ctx, transport, error);
      }
    }
    try {
      yield* fetchBlob(ctx, this.#home, position);
    } catch (error) {
      const isForeign = isForeignLayerType(descriptor.mediaType);
      if (!isForeign || !(error instanceof EngineError) || error.kind !== "not-found") throw error;
      yield* fetchForeign(ctx, this.#home, position);
    }
  }

  hasBlob(ctx: Ctx, digest: Digest): Promise<boolean> {
    return hasBlob(ctx, this.#home, digest, [`repository:${this.#home.source.repository}:pull`]);
  }

  pushBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    from: string | readonly string[] = [],
  ): Promise<PushedBlob> {
    return pushBlob(ctx, this.#home, { descriptor, open, from: [from].flat() });
  }

  mountBlob(
    ctx: Ctx,
    digest: Digest,
    from: readonly string[] = [],
  ): Promise<Exclude<PushedBlob, "uploaded"> | undefined> {
    return mountBlob(ctx, this.#home, digest, from);
  }

  async pushManifest(ctx: Ctx, tagOrDigest: string, mediaType: string, bytes: Uint8Array): Promise<Digest> {
    const { digest, subject } = await putManifest(ctx, this.#home, { tagOrDigest, mediaType, bytes });
    if (subject === undefined && mayHaveSubject(bytes)) {
      const { recordPushed } = await import("./referrers.ts");
      await recordPushed(ctx, this.#home, { mediaType, bytes, digest });
    }
    return digest;
  }

  async deleteManifest(ctx: Ctx, digest: Digest): Promise<void> {
    // Known before it is gone: it may be listed as attached to another one.
    const { bytes, descriptor } = await fetchManifest(ctx, this.#home, digest);
    await deleteManifest(ctx, this.#home, digest);
    if (!mayHaveSubject(bytes)) return;
    const { forgetDeleted } = await import("./referrers.ts");
    await forgetDeleted(ctx, this.#home, { ...descriptor, bytes });
  }

  async referrers(ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]> {
    const { listReferrers } = await import("./referrers.ts");
    return await this.#fromAny(ctx, async (transport) => {
      const found = await listReferrers(ctx, transport, { subject, artifactType });
      // A mirror that has nothing may only not have been told.
      if (found.length > 0 || transport === this.#home) return found;
      throw fail("not-found", `no referrers of "${subject}"`, { reason: "no-referrers" });
    });
  }

  tags(ctx: Ctx): Promise<string[]> {
    return this.#fromAny(ctx, (transport) => listTags(ctx, transport));
  }
}

/** Lets the next source try; a caller who has given up is not asked to wait for it. */
function skipMirror(ctx: Ctx, transport: Transport, error: unknown): void {
  if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
  ctx.log.debug(`mirror "${transport.source.registry}" failed: ${messageOf(error)}`);
}

/** The bytes a descriptor carries itself, if they are what it says; anything else is fetched. */
function inlineData({ data, digest, size }: Descriptor): Uint8Array | undefined {
  if (data === undefined || size > MAX_MANIFEST_BYTES) return undefined;
  const bytes = Buffer.from(data, "base64");
  return bytes.length === size && digestOf(bytes, digestAlgorithm(digest)) === digest ? bytes : undefined;
}

/** A cheap look before the document is parsed: few have one. */
function mayHaveSubject(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('"subject"');
}
