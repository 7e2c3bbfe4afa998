/**
 * A blob as a stream that survives broken connections: continued with Range where it stopped, on the
 * same source while there is progress, then on the next one. A registry that ignores Range is read
 * from the start again and what is known is dropped. Never yields more bytes than the descriptor says.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import type { Descriptor } from "../image/image.ts";
import { answerError } from "./answer-error.ts";
import type { Reply } from "./http.ts";
import { pause, type Transport } from "./transport.ts";

/** This much since the last failure makes the patience whole again. */
const PROGRESS_BYTES = 1024 * 1024;

interface Position {
  descriptor: Descriptor;
  offset: number;
}

/** Errors: not-found, data-loss (more bytes than announced), unavailable after the last retry, and those of transport.ts. */
export async function* fetchBlob(
  ctx: Ctx,
  transport: Transport,
  position: Position,
): AsyncGenerator<Uint8Array, void, undefined> {
  let failures = 0;
  while (position.offset < position.descriptor.size || failures === 0) {
    const start = position.offset;
    try {
      yield* readFrom(ctx, transport, position);
      if (position.offset >= position.descriptor.size) return;
      throw broken(position, "ended early");
    } catch (error) {
      if (!(error instanceof EngineError) || error.data["transient"] !== true) throw error;
      if (position.offset - start >= PROGRESS_BYTES) failures = 0;
      if (failures >= transport.retry.retries) throw error;
      ctx.log.debug(`blob ${position.descriptor.digest} at ${position.offset}: ${error.message}; resuming`);
      await pause(ctx, transport.retry, failures++, error);
    }
  }
}

function broken({ descriptor, offset }: Position, how: string): EngineError {
  return fail(
    "unavailable",
    `blob "${descriptor.digest}" ${how} after ${offset} of ${descriptor.size} bytes`,
    {
      reason: "blob-truncated",
      data: { transient: true },
    },
  );
}

async function* readFrom(
  ctx: Ctx,
  transport: Transport,
  position: Position,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor } = position;
  const reply = await openBlob(ctx, transport, position);
  let skip = await bytesToSkip(reply, position);
  for await (const chunk of reply.chunks()) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const fresh = skip === 0 ? chunk : chunk.subarray(skip);
    skip = 0;
    position.offset += fresh.length;
    if (position.offset > descriptor.size) throw tooLong(descriptor);
    yield fresh;
  }
}

function openBlob(ctx: Ctx, transport: Transport, { descriptor, offset }: Position): Promise<Reply> {
  const { repository, registry } = transport.source;
  const headers: Record<string, string> = offset === 0 ? {} : { Range: `bytes=${offset}-` };
  return transport.request(ctx, {
    method: "GET",
    target: `/v2/${repository}/blobs/${descriptor.digest}`,
    headers,
    scopes: [`repository:${repository}:pull`],
    what: `blob "${descriptor.digest}" of "${registry}/${repository}"`,
    accept: [200, 206, 416],
  });
}

/** How much of the body is known already. Errors: data-loss for a size that cannot be right. */
async function bytesToSkip(reply: Reply, { descriptor, offset }: Position): Promise<number> {
  const { size, digest } = descriptor;
  if (reply.status === 416) {
    await reply.discard();
    throw fail(
      "data-loss",
      `blob "${digest}" has no byte ${offset} on the registry but should have ${size}`,
      {
        reason: "blob-size",
      },
    );
  }
  const partial = reply.status === 206;
  if (partial && !startsAt(reply.headers.get("content-range"), offset)) {
    const said = excerpt(reply.headers.get("content-range") ?? "", 60);
    await reply.discard();
    throw fail("unavailable", `blob "${digest}": asked for bytes from ${offset} but got "${said}"`, {
      reason: "blob-range",
    });
  }
  const announced = reply.headers.get("content-length");
  const whole = announced === null ? size : Number(announced) + (partial ? offset : 0);
  if (whole !== size) {
    await reply.discard();
    throw fail("data-loss", `blob "${digest}" has ${whole} bytes on the registry but should have ${size}`, {
      reason: "blob-size",
    });
  }
  return partial ? 0 : offset;
}

function startsAt(contentRange: string | null, offset: number): boolean {
  return Number(/^bytes (\d+)-/.exec(contentRange ?? "")?.[1]) === offset;
}

function tooLong(descriptor: Descriptor): Error {
  return fail("data-loss", `blob "${descriptor.digest}" is longer than its ${descriptor.size} bytes`, {
    reason: "blob-size",
  });
}

/** A layer that its author allows only to be fetched elsewhere: its `urls`, TLS only, in order, without credentials. */
export async function* fetchForeign(
  ctx: Ctx,
  transport: Transport,
  descriptor: Descriptor,
): AsyncGenerator<Uint8Array, void, undefined> {
  const what = `blob "${descriptor.digest}"`;
  let last: unknown = fail("not-found", `${what} has no address to fetch it from`);
  for (const target of descriptor.urls ?? []) {
    if (!URL.canParse(target)) continue;
    try {
      const reply = await transport.request(ctx, { method: "GET", target, scopes: [], what, accept: [200] });
      if (reply.status !== 200) throw await answerError(what, reply);
      yield* reply.chunks();
      return;
    } catch (error) {
      last = error;
      if (error instanceof EngineError && error.kind === "canceled") throw error;
    }
  }
  throw last;
}
