/** One upload of one blob: from the POST that opens the session to the PUT that names the digest (distribution-spec, "Pushing Blobs"). */
import { createCtx, type Ctx } from "../core/ctx.ts";
import { EngineError, fail, isKind } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import type { Reply } from "./http.ts";
import type { Transport, TransportRequest } from "./transport.ts";

export function pushScopes(transport: Transport): string[] {
  return [`repository:${transport.source.repository}:pull,push`];
}

export class UploadSession {
  readonly #transport: Transport;
  readonly #digest: Digest;
  readonly #what: string;
  #location: URL | undefined;
  #offset = 0;

  /** OCI-Chunk-Min-Length: what every chunk but the last must have at least, bytes. */
  readonly minChunk: number;

  private constructor(transport: Transport, digest: Digest, reply: Reply) {
    this.#transport = transport;
    this.#digest = digest;
    this.#what = whatOf(transport, digest);
    this.minChunk = Number(reply.headers.get("oci-chunk-min-length") ?? 0) || 0;
    this.#moved(reply);
  }

  /** "mounted" if the registry took the blob from the repository `from`, and nothing is to be sent. */
  static async open(
    ctx: Ctx,
    transport: Transport,
    { digest, from }: { digest: Digest; from?: string },
  ): Promise<UploadSession | "mounted"> {
    const scopes = pushScopes(transport);
    const query = from === undefined ? "" : `?${new URLSearchParams({ mount: digest, from }).toString()}`;
    const reply = await transport.request(ctx, {
      method: "POST",
      target: `/v2/${transport.source.repository}/blobs/uploads/${query}`,
      headers: { "Content-Length": "0" },
      scopes: from === undefined ? scopes : [...scopes, `repository:${from}:pull`],
      what: whatOf(transport, digest),
      accept: from === undefined ? [202] : [201, 202],
    });
    await reply.discard();
    return reply.status === 201 ? "mounted" : new UploadSession(transport, digest, reply);
  }

  /** Bytes the registry is known to have. */
  get offset(): number {
    return this.#offset;
  }

  /** One PUT of all of it, and the end of the session. */
  async sendWhole(ctx: Ctx, size: number, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    await this.#finish(ctx, { "Content-Length": String(size) }, size === 0 ? new Uint8Array() : open);
  }

  /** From `offset` on in PATCHes of `length` bytes, and the end of the session. */
  async sendRest(
    ctx: Ctx,
    blob: { size: number; open: () => AsyncIterable<Uint8Array>; length: number },
  ): Promise<void> {
    if (this.#offset < blob.size) {
      for await (const chunk of inChunks(blob.open(), this.#offset, blob.length))
        await this.#sendChunk(ctx, chunk);
    }
    await this.#finish(ctx, { "Content-Length": "0" }, new Uint8Array());
  }

  async #sendChunk(ctx: Ctx, chunk: Uint8Array): Promise<void> {
    const end = this.#offset + chunk.length;
    const reply = await this.#request(ctx, {
      method: "PATCH",
      headers: {
        "Content-Type": "application/octet-stream",
        "Content-Length": String(chunk.length),
        "Content-Range": `${this.#offset}-${end - 1}`,
      },
      body: chunk,
      accept: [202, 204],
    });
    await reply.discard();
    this.#moved(reply);
    const taken = rangeEnd(reply);
    if (taken === undefined || taken === end || (taken === 0 && end === 1)) {
      this.#offset = end;
      return;
    }
    // Whoever catches this asks where to go on.
    throw fail("unavailable", `${this.#what}: the registry took ${taken} of ${end} bytes`, {
      reason: "chunk-cut",
      data: { transient: true },
    });
  }

  /** Asks how far it has come. False if the registry knows nothing of it any more. Errors: canceled. */
  async locate(ctx: Ctx): Promise<boolean> {
    try {
      const reply = await this.#request(ctx, { method: "GET", accept: [200, 202, 204] });
      await reply.discard();
      this.#moved(reply);
      this.#offset = rangeEnd(reply) ?? 0;
      return true;
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
      return false;
    }
  }

  async #finish(
    ctx: Ctx,
    headers: Record<string, string>,
    body: Uint8Array | (() => AsyncIterable<Uint8Array>),
  ): Promise<void> {
    // The Location may carry a query of its own, which must stay as it is: URLSearchParams would re-encode it.
    const target = new URL(this.#target());
    target.search += `${target.search === "" ? "?" : "&"}digest=${encodeURIComponent(this.#digest)}`;
    const reply = await this.#request(ctx, {
      method: "PUT",
      target,
      headers: { "Content-Type": "application/octet-stream", ...headers },
      body,
      accept: [201, 204],
    });
    await reply.discard();
    const stored = reply.headers.get("docker-content-digest");
    if (stored === null || stored === this.#digest) return;
    // docker-registry checks a blob against its sha512 and names it by its sha256; it is found by both.
    if (stored.startsWith("sha256:") && !this.#digest.startsWith("sha256:")) return;
    throw fail("data-loss", `${this.#what}: the registry stored it under another digest`, {
      reason: "push-digest",
    });
  }

  #request(
    ctx: Ctx,
    request: Omit<TransportRequest, "scopes" | "what" | "target"> & { target?: URL },
  ): Promise<Reply> {
    const scopes = pushScopes(this.#transport);
    return this.#transport.request(ctx, { target: this.#target(), ...request, scopes, what: this.#what });
  }

  #target(): URL {
    if (this.#location !== undefined) return this.#location;
    throw fail("unavailable", `${this.#what}: the registry named no place to send it to`, {
      reason: "push-location",
    });
  }

  /** Location is absolute or relative to the request, and may change with every answer. */
  #moved(reply: Reply): void {
    const location = reply.headers.get("location");
    if (location !== null && URL.canParse(location, reply.url.href))
      this.#location = new URL(location, reply.url);
  }

  /** Best effort: registries drop abandoned sessions some day by themselves. */
  async abandon(): Promise<void> {
    if (this.#location === undefined) return;
    const ctx = createCtx({ signal: AbortSignal.timeout(2000) });
    try {
      const reply = await this.#request(ctx, { method: "DELETE", accept: [202, 204, 404] });
      await reply.discard();
    } catch (error) {
      if (isKind(error, "internal")) throw error;
    }
  }
}

function whatOf({ source }: Transport, digest: Digest): string {
  return `upload of blob "${digest}" to "${source.registry}/${source.repository}"`;
}

/**
 * Bytes a session has, from "Range: 0-N" (N inclusive). "0-0" is taken for nothing: Docker's registry says so of an empty one.
 */
function rangeEnd(reply: Reply): number | undefined {
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(reply.headers.get("range") ?? "")?.[1];
  if (last === undefined) return undefined;
  return last === "0" ? 0 : Number(last) + 1;
}

/** Pieces of exactly `length` bytes, the last one shorter, from `offset` on; each its own memory. */
async function* inChunks(
  source: AsyncIterable<Uint8Array>,
  offset: number,
  length: number,
): AsyncGenerator<Uint8Array> {
  let skip = offset;
  let piece = new Uint8Array(length);
  let filled = 0;
  for await (const chunk of source) {
    let at = Math.min(skip, chunk.length);
    skip -= at;
    while (at < chunk.length) {
      const take = Math.min(length - filled, chunk.length - at);
      piece.set(chunk.subarray(at, at + take), filled);
      filled += take;
      at += take;
      if (filled < length) continue;
      yield piece;
      piece = new Uint8Array(length);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}
