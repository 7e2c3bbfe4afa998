/**
 * Getting a blob onto a registry (distribution-spec, "Pushing Blobs"): look whether it is there, else
 * mount it from a neighbour repository, else one PUT of the whole; where that is refused (a proxy
 * with a limit on bodies, a registry that only takes chunks) in PATCH chunks. A broken try begins a
 * new session; an abandoned session is deleted.
 */
import { createCtx, type Ctx } from "../core/ctx.ts";
import { EngineError, fail, isKind } from "../core/error.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import type { Reply } from "./http.ts";
import type { PushedBlob } from "./registry.ts";
import { pause, type Transport } from "./transport.ts";

export interface BlobUpload {
  descriptor: Descriptor;
  open: () => AsyncIterable<Uint8Array>;
  /** Another repository on this registry that may have the blob. */
  from?: string | undefined;
}

const CHUNK_BYTES = 16 * 1024 * 1024;

export function pushScopes(transport: Transport): string[] {
  return [`repository:${transport.source.repository}:pull,push`];
}

export async function hasBlob(
  ctx: Ctx,
  transport: Transport,
  digest: Digest,
  scopes: string[],
): Promise<boolean> {
  const { registry, repository } = transport.source;
  const reply = await transport.request(ctx, {
    method: "HEAD",
    target: `/v2/${repository}/blobs/${digest}`,
    scopes,
    what: `blob "${digest}" of "${registry}/${repository}"`,
    accept: [200, 404],
  });
  await reply.discard();
  return reply.status === 200;
}

export async function pushBlob(ctx: Ctx, transport: Transport, upload: BlobUpload): Promise<PushedBlob> {
  if (await hasBlob(ctx, transport, upload.descriptor.digest, pushScopes(transport))) return "exists";
  let chunked = false;
  for (let attempt = 0; ; attempt++) {
    try {
      return await new Session(transport, upload).run(ctx, chunked);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      // The body as a whole was refused: the same bytes in pieces may pass.
      const refused = [400, 405, 411, 413, 415, 416, 501].includes(Number(error.data["status"]));
      if (refused && !chunked) {
        chunked = true;
        continue;
      }
      if (error.data["transient"] !== true || attempt >= transport.retry.retries) throw error;
      await pause(ctx, transport.retry, attempt, error);
    }
  }
}

class Session {
  readonly #transport: Transport;
  readonly #upload: BlobUpload;
  readonly #what: string;
  #location: URL | undefined;
  #minChunk = 0;

  constructor(transport: Transport, upload: BlobUpload) {
    const { registry, repository } = transport.source;
    this.#transport = transport;
    this.#upload = upload;
    this.#what = `upload of blob "${upload.descriptor.digest}" to "${registry}/${repository}"`;
  }

  async run(ctx: Ctx, chunked: boolean): Promise<PushedBlob> {
    if (await this.#start(ctx)) return "mounted";
    try {
      if (chunked) await this.#sendChunks(ctx);
      else await this.#sendWhole(ctx);
      return "uploaded";
    } catch (error) {
      await this.#abandon();
      throw error;
    }
  }

  /** True if the blob was mounted and nothing is to be sent. */
  async #start(ctx: Ctx): Promise<boolean> {
    const { descriptor, from } = this.#upload;
    const scopes = pushScopes(this.#transport);
    const query =
      from === undefined ? "" : `?${new URLSearchParams({ mount: descriptor.digest, from }).toString()}`;
    const reply = await this.#transport.request(ctx, {
      method: "POST",
      target: `/v2/${this.#transport.source.repository}/blobs/uploads/${query}`,
      headers: { "Content-Length": "0" },
      scopes: from === undefined ? scopes : [...scopes, `repository:${from}:pull`],
      what: this.#what,
      accept: from === undefined ? [202] : [201, 202],
    });
    await reply.discard();
    this.#minChunk = Number(reply.headers.get("oci-chunk-min-length") ?? 0) || 0;
    this.#moved(reply, true);
    return reply.status === 201;
  }

  async #sendWhole(ctx: Ctx): Promise<void> {
    const { descriptor, open } = this.#upload;
    await this.#finish(ctx, { "Content-Length": String(descriptor.size) }, open());
  }

  async #sendChunks(ctx: Ctx): Promise<void> {
    let sent = 0;
    for await (const chunk of inChunks(this.#upload.open(), Math.max(CHUNK_BYTES, this.#minChunk))) {
      const headers = { "Content-Range": `${sent}-${sent + chunk.length - 1}` };
      const reply = await this.#send(ctx, { method: "PATCH", headers, body: chunk, accept: [202, 204] });
      await reply.discard();
      this.#moved(reply, false);
      sent += chunk.length;
    }
    await this.#finish(ctx, { "Content-Length": "0" }, new Uint8Array());
  }

  async #finish(
    ctx: Ctx,
    headers: Record<string, string>,
    body: Uint8Array | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const { digest } = this.#upload.descriptor;
    // The Location may carry a query of its own, which must stay as it is: URLSearchParams would re-encode it.
    const target = new URL(this.#target());
    target.search += `${target.search === "" ? "?" : "&"}digest=${encodeURIComponent(digest)}`;
    const reply = await this.#transport.request(ctx, {
      method: "PUT",
      target,
      headers: { "Content-Type": "application/octet-stream", ...headers },
      body,
      scopes: pushScopes(this.#transport),
      what: this.#what,
      accept: [201, 204],
    });
    await reply.discard();
    const stored = reply.headers.get("docker-content-digest");
    if (stored !== null && stored !== digest) {
      throw fail("data-loss", `${this.#what}: the registry stored it under another digest`, {
        reason: "push-digest",
      });
    }
  }

  #send(
    ctx: Ctx,
    request: { method: "PATCH"; headers: Record<string, string>; body: Uint8Array; accept: number[] },
  ): Promise<Reply> {
    return this.#transport.request(ctx, {
      ...request,
      headers: { "Content-Type": "application/octet-stream", ...request.headers },
      target: this.#target(),
      scopes: pushScopes(this.#transport),
      what: this.#what,
    });
  }

  #target(): URL {
    if (this.#location !== undefined) return this.#location;
    throw fail("unavailable", `${this.#what}: the registry named no place to send it to`, {
      reason: "push-location",
    });
  }

  /** Location is absolute or relative to the request, and may change with every answer. */
  #moved(reply: Reply, first: boolean): void {
    const location = reply.headers.get("location");
    if (location === null && !first) return;
    this.#location =
      location !== null && URL.canParse(location, reply.url.href) ? new URL(location, reply.url) : undefined;
  }

  /** Best effort: registries drop abandoned sessions some day by themselves. */
  async #abandon(): Promise<void> {
    if (this.#location === undefined) return;
    const ctx = createCtx({ signal: AbortSignal.timeout(2000) });
    try {
      const reply = await this.#transport.request(ctx, {
        method: "DELETE",
        target: this.#location,
        scopes: pushScopes(this.#transport),
        what: this.#what,
        accept: [202, 204, 404],
      });
      await reply.discard();
    } catch (error) {
      if (isKind(error, "internal")) throw error;
    }
  }
}

/** Pieces of exactly `length` bytes, the last one shorter. */
async function* inChunks(source: AsyncIterable<Uint8Array>, length: number): AsyncIterable<Uint8Array> {
  let parts: Uint8Array[] = [];
  let held = 0;
  for await (let chunk of source) {
    while (held + chunk.length >= length) {
      const take = length - held;
      yield Buffer.concat([...parts, chunk.subarray(0, take)], length);
      chunk = chunk.subarray(take);
      parts = [];
      held = 0;
    }
    if (chunk.length === 0) continue;
    // Copied: the sender may use its buffer again.
    parts.push(chunk.slice());
    held += chunk.length;
  }
  if (held > 0) yield Buffer.concat(parts, held);
}
