/** {@link openRegistry}: the client of one repository, with its mirrors. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { digestAlgorithm, digestOf, isDigest } from "../image/digest.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import { bareMediaType, isForeignLayerType, MANIFEST_ACCEPT } from "../image/media-types.ts";
import { fetchBlob, fetchForeign } from "./blob.ts";
import { findLogin } from "./credentials.ts";
import { hasBlob, pushBlob, pushScopes } from "./push.ts";
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
      yield inline.subarray(offset);
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
      const elsewhere = isForeignLayerType(descriptor.mediaType) && position.offset === 0;
      if (!elsewhere || !(error instanceof EngineError) || error.kind !== "not-found") throw error;
      yield* fetchForeign(ctx, this.#home, descriptor);
    }
  }

  hasBlob(ctx: Ctx, digest: Digest): Promise<boolean> {
    return hasBlob(ctx, this.#home, digest, [`repository:${this.#home.source.repository}:pull`]);
  }

  pushBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    from?: string,
  ): Promise<PushedBlob> {
    return pushBlob(ctx, this.#home, { descriptor, open, from });
  }

  async pushManifest(ctx: Ctx, tagOrDigest: string, mediaType: string, bytes: Uint8Array): Promise<Digest> {
    const { registry, repository } = this.#home.source;
    const reply = await this.#home.request(ctx, {
      method: "PUT",
      target: `/v2/${repository}/manifests/${tagOrDigest}`,
      headers: { "Content-Type": mediaType },
      body: bytes,
      scopes: pushScopes(this.#home),
      what: `push of "${tagOrDigest}" to "${registry}/${repository}"`,
      accept: [200, 201, 202, 204],
    });
    await reply.discard();
    const stored = reply.headers.get("docker-content-digest") ?? "";
    const algorithm = isDigest(stored) ? digestAlgorithm(stored) : "sha256";
    const digest = digestOf(bytes, algorithm);
    if (isDigest(stored) && stored !== digest) {
      throw fail(
        "data-loss",
        `registry "${registry}" stored the manifest as "${stored}" instead of "${digest}"`,
        {
          reason: "push-digest",
        },
      );
    }
    return digest;
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

async function fetchManifest(ctx: Ctx, transport: Transport, tagOrDigest: string): Promise<FetchedManifest> {
  const { registry, repository } = transport.source;
  const what = `manifest "${tagOrDigest}" of "${registry}/${repository}"`;
  const reply = await transport.request(ctx, {
    method: "GET",
    target: `/v2/${repository}/manifests/${tagOrDigest}`,
    headers: { Accept: MANIFEST_ACCEPT },
    scopes: [`repository:${repository}:pull`],
    what,
    accept: [200],
  });
  const bytes = await reply.bytes(MAX_MANIFEST_BYTES);
  const named = reply.headers.get("docker-content-digest") ?? "";
  const expected = isDigest(tagOrDigest) ? tagOrDigest : isDigest(named) ? named : undefined;
  const digest = digestOf(bytes, expected === undefined ? "sha256" : digestAlgorithm(expected));
  if (expected !== undefined && digest !== expected) {
    throw fail("data-loss", `${what}: its digest is "${digest}", not "${expected}"`, {
      reason: "manifest-digest",
    });
  }
  const mediaType = bareMediaType(reply.headers.get("content-type") ?? "");
  return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
}
