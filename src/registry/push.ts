/**
 * Getting a blob onto a registry (distribution-spec, "Pushing Blobs"): look whether it is there, else
 * mount it from a neighbour repository, else one PUT of the whole; where that is refused (a proxy
 * with a limit on bodies, a registry that only takes chunks) in PATCH chunks. A broken upload is gone on with where
 * its session stopped, or begun again where the session is gone; an abandoned session is deleted.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError } from "../core/error.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import type { PushedBlob } from "./registry.ts";
import { pause, type Transport } from "./transport.ts";
import { pushScopes, UploadSession } from "./upload-session.ts";

export interface BlobUpload {
  descriptor: Descriptor;
  open: () => AsyncIterable<Uint8Array>;
  /** Other repositories on this registry that may have the blob. */
  from: readonly string[];
}

const CHUNK_BYTES = 8 * 1024 * 1024;
/** Below this a limit on bodies is taken for a refusal. */
const MIN_CHUNK_BYTES = 64 * 1024;

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

/** Undefined where the bytes would have to be sent. */
export async function mountBlob(
  ctx: Ctx,
  transport: Transport,
  digest: Digest,
  from: readonly string[],
): Promise<"exists" | "mounted" | undefined> {
  if (await hasBlob(ctx, transport, digest, pushScopes(transport))) return "exists";
  const session = await mountFromAny(ctx, transport, { digest, from });
  if (session === "mounted") return "mounted";
  await session?.abandon();
  return undefined;
}

/** A session where the registry would rather have the bytes, or nothing where nobody could be asked. */
async function mountFromAny(
  ctx: Ctx,
  transport: Transport,
  { digest, from }: { digest: Digest; from: readonly string[] },
): Promise<"mounted" | UploadSession | undefined> {
  let session: UploadSession | undefined;
  for (const repository of from) {
    if (repository === transport.source.repository) continue;
    await session?.abandon();
    session = undefined;
    try {
      const opened = await UploadSession.open(ctx, transport, { digest, from: repository });
      if (opened === "mounted") return opened;
      session = opened;
    } catch (error) {
      // Not allowed to read there, say: the blob itself may still be taken.
      if (!(error instanceof EngineError) || error.kind === "canceled" || error.kind === "unavailable")
        throw error;
      ctx.log.debug(`cannot mount blob "${digest}" from "${repository}": ${error.message}`);
    }
  }
  return session;
}

export async function pushBlob(ctx: Ctx, transport: Transport, upload: BlobUpload): Promise<PushedBlob> {
  const { digest } = upload.descriptor;
  if (await hasBlob(ctx, transport, digest, pushScopes(transport))) return "exists";
  const session = await mountFromAny(ctx, transport, { digest, from: upload.from });
  if (session === "mounted") return session;
  await new Sender(transport, upload, session).run(ctx);
  return "uploaded";
}

/** One blob's way, over as many tries and sessions as it takes. */
class Sender {
  readonly #transport: Transport;
  readonly #upload: BlobUpload;
  #session: UploadSession | undefined;
  /** Bytes a request may have, once the registry has refused the whole in one. */
  #chunk: number | undefined;
  /** Tries without progress. */
  #fruitless = 0;
  #furthest = 0;
  #resumed = false;

  constructor(transport: Transport, upload: BlobUpload, session: UploadSession | undefined) {
    this.#transport = transport;
    this.#upload = upload;
    this.#session = session;
  }

  async run(ctx: Ctx): Promise<void> {
    for (;;) {
      try {
        await this.#try(ctx);
        return;
      } catch (error) {
        if (!(error instanceof EngineError) || !(await this.#goOn(ctx, error))) {
          await this.#leaveSession();
          throw error;
        }
      }
    }
  }

  async #try(ctx: Ctx): Promise<void> {
    const { descriptor, open } = this.#upload;
    const { digest, size } = descriptor;
    if (this.#session === undefined) {
      const opened = await UploadSession.open(ctx, this.#transport, { digest });
      if (opened === "mounted") return;
      this.#session = opened;
    }
    const session = this.#session;
    if (this.#chunk === undefined && session.offset === 0) {
      await session.sendWhole(ctx, size, open);
    } else {
      this.#resumed ||= session.offset > 0;
      const length = Math.max(this.#chunk ?? CHUNK_BYTES, session.minChunk);
      await session.sendRest(ctx, { size, open, length });
    }
    this.#session = undefined;
  }

  /** Prepares another try, if there is one that may do better. */
  async #goOn(ctx: Ctx, error: EngineError): Promise<boolean> {
    const status = Number(error.data["status"]);
    if (error.kind === "canceled" || error.kind === "data-loss") return false;
    if (error.reason === "digest-invalid") return await this.#fromScratch();
    if (this.#chunk === undefined && [400, 405, 411, 413, 415, 501].includes(status)) {
      // The body as a whole was refused: the same bytes in pieces may pass.
      this.#chunk = CHUNK_BYTES;
      await this.#leaveSession();
      return true;
    }
    if (status === 413) return await this.#smaller(ctx);
    const gone = status === 404 && this.#session !== undefined;
    if (status !== 416 && !gone && error.data["transient"] !== true) return false;
    if (this.#fruitless >= this.#transport.retry.retries) return false;
    ctx.log.debug(`${error.message}; going on`);
    await pause(ctx, this.#transport.retry, this.#fruitless++, error);
    await this.#locate(ctx);
    return true;
  }

  /** What was put together from several tries is not what it should be: once more, in a session of its own. */
  async #fromScratch(): Promise<boolean> {
    if (!this.#resumed || this.#fruitless > this.#transport.retry.retries) return false;
    this.#resumed = false;
    this.#fruitless++;
    await this.#leaveSession();
    return true;
  }

  async #smaller(ctx: Ctx): Promise<boolean> {
    const next = (this.#chunk ?? CHUNK_BYTES) / 8;
    if (next < Math.max(MIN_CHUNK_BYTES, this.#session?.minChunk ?? 0)) return false;
    this.#chunk = next;
    await this.#locate(ctx);
    return true;
  }

  /** Finds out how far the session has come; one that is gone is forgotten. */
  async #locate(ctx: Ctx): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    const alive = await session.locate(ctx);
    if (!alive || session.offset > this.#upload.descriptor.size) await this.#leaveSession();
    else if (session.offset > this.#furthest) {
      this.#furthest = session.offset;
      this.#fruitless = 0;
    }
  }

  async #leaveSession(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.abandon();
  }
}
