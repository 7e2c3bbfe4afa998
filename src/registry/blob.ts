/**
 * A blob as a stream that survives broken connections: continued with Range where it stopped, on the
 * same source while there is progress, then on the next one. A registry that ignores Range is read
 * from the start again and what is known is dropped. Where one connection is too slow for the receiver, several
 * bring pieces (ranges.ts). Never yields more bytes than the descriptor says.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import type { Descriptor } from "../image/image.ts";
import { answerError } from "./answer-error.ts";
import type { Reply } from "./http.ts";
import { Pieces, type Span, Starvation } from "./ranges.ts";
import { pause, type Transport } from "./transport.ts";

/** This much since the last failure makes the patience whole again. */
const PROGRESS_BYTES = 1024 * 1024;

/** Errors: not-found, data-loss (more bytes than announced), unavailable after the last retry, and those of transport.ts. */
export async function* fetchBlob(
  ctx: Ctx,
  transport: Transport,
  position: Span,
): AsyncGenerator<Uint8Array, void, undefined> {
  let pieces: Pieces | undefined;
  let starvation = new Starvation();
  const stream = fetchSpan(ctx, transport, position);
  try {
    for (;;) {
      const { done, value } = await starvation.during(stream.next());
      if (done === true) break;
      yield value;
      if (pieces === undefined) {
        pieces = startPieces(ctx, transport, { position, starvation });
      } else if (pieces.accepted) position.end = pieces.start;
      else if (pieces.refused || position.offset >= pieces.start) {
        // No answer yet, or a wrong one: this stream goes on, and is watched anew.
        transport.ranges.refused ||= pieces.refused;
        pieces[Symbol.dispose]();
        pieces = undefined;
        starvation = new Starvation();
      }
    }
    if (pieces !== undefined) yield* fetchPieces(ctx, transport, { position, pieces });
  } finally {
    pieces?.[Symbol.dispose]();
    await stream.return();
  }
}

/** More connections, where they pay. */
function startPieces(
  ctx: Ctx,
  transport: Transport,
  { position, starvation }: { position: Span; starvation: Starvation },
): Pieces | undefined {
  const left = position.descriptor.size - position.offset;
  if (transport.ranges.refused || !starvation.paysFor(left)) return undefined;
  ctx.log.debug(`blob ${position.descriptor.digest} at ${position.offset}: more connections`);
  return new Pieces(ctx, transport.ranges, position, (inner, span) => fetchSpan(inner, transport, span));
}

/** The rest of the blob in pieces; as one stream again where the source does not keep to what it was asked for. */
async function* fetchPieces(
  ctx: Ctx,
  transport: Transport,
  { position, pieces }: { position: Span; pieces: Pieces },
): AsyncGenerator<Uint8Array, void, undefined> {
  delete position.end;
  while (position.offset < position.descriptor.size) {
    let chunks: Uint8Array[];
    try {
      chunks = await pieces.take();
    } catch (error) {
      if (!pieces.refused || !(error instanceof EngineError)) throw error;
      ctx.log.debug(`${error.message}; one connection for all from now on`);
      transport.ranges.refused = true;
      pieces[Symbol.dispose]();
      return yield* fetchSpan(ctx, transport, position);
    }
    for (const chunk of chunks) {
      position.offset += chunk.length;
      yield chunk;
    }
  }
}

/** One stream over one connection at a time; `span.offset` moves with it. */
async function* fetchSpan(
  ctx: Ctx,
  transport: Transport,
  span: Span,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor } = span;
  const end = (): number => span.end ?? descriptor.size;
  let failures = 0;
  while (span.offset < end() || (descriptor.size === 0 && failures === 0)) {
    const start = span.offset;
    try {
      yield* readFrom(ctx, transport, span);
      if (span.offset >= end()) return;
      throw broken(span, "ended early");
    } catch (error) {
      if (!(error instanceof EngineError) || error.data["transient"] !== true) throw error;
      if (span.offset - start >= PROGRESS_BYTES) failures = 0;
      if (failures >= transport.retry.retries || error.data["exhausted"] === true) throw error;
      ctx.log.debug(`blob ${descriptor.digest} at ${span.offset}: ${error.message}; resuming`);
      await pause(ctx, transport.retry, failures++, error);
    }
  }
}

function broken({ descriptor, offset }: Span, how: string): EngineError {
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
  span: Span,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* readReply(await openBlob(ctx, transport, span), span);
}

async function* readReply(reply: Reply, span: Span): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor } = span;
  let skip = await bytesToSkip(reply, span);
  for await (const chunk of reply.chunks()) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    let fresh = skip === 0 ? chunk : chunk.subarray(skip);
    skip = 0;
    if (span.offset + fresh.length > descriptor.size) throw tooLong(descriptor);
    if (span.end !== undefined) fresh = fresh.subarray(0, span.end - span.offset);
    span.offset += fresh.length;
    yield fresh;
    if (span.end !== undefined && span.offset >= span.end) return;
  }
}

function openBlob(ctx: Ctx, transport: Transport, { descriptor, offset, end }: Span): Promise<Reply> {
  const { repository, registry } = transport.source;
  const last = end === undefined ? "" : end - 1;
  const isWhole = offset === 0 && end === undefined;
  return transport.request(ctx, {
    method: "GET",
    target: `/v2/${repository}/blobs/${descriptor.digest}`,
    headers: isWhole ? {} : { Range: `bytes=${offset}-${last}` },
    scopes: [`repository:${repository}:pull`],
    what: `blob "${descriptor.digest}" of "${registry}/${repository}"`,
    accept: [200, 206, 416],
  });
}

/** How much of the body is known already. Errors: data-loss for a size that cannot be right, unavailable ("blob-range") for other bytes than asked for. */
async function bytesToSkip(reply: Reply, { descriptor, offset, end }: Span): Promise<number> {
  const { size, digest } = descriptor;
  const length = announcedLength(reply);
  const problem = (): Error | undefined => {
    if (reply.status === 416 && end === undefined) {
      return fail(
        "data-loss",
        `blob "${digest}" has no byte ${offset} on the registry but should have ${size}`,
        { reason: "blob-size" },
      );
    }
    const isPart = reply.status === 206;
    const said = isPart ? excerpt(reply.headers.get("content-range") ?? "", 60) : "all of it";
    const isOther = isPart ? !isSpan(said, offset, end) : end !== undefined;
    if (isOther || (end !== undefined && length !== undefined && length !== end - offset)) {
      const asked = `asked for bytes from ${offset}`;
      return fail("unavailable", `blob "${digest}": ${asked} but got "${said}"`, { reason: "blob-range" });
    }
    const whole = end !== undefined || length === undefined ? size : length + (isPart ? offset : 0);
    if (whole === size) return undefined;
    const text = `blob "${digest}" has ${whole} bytes on the registry but should have ${size}`;
    return fail("data-loss", text, { reason: "blob-size" });
  };
  const found = problem();
  if (found === undefined) return reply.status === 206 ? 0 : offset;
  await reply.discard();
  throw found;
}

function announcedLength(reply: Reply): number | undefined {
  const announced = reply.headers.get("content-length");
  return announced === null ? undefined : Number(announced);
}

function isSpan(contentRange: string, offset: number, end: number | undefined): boolean {
  const [, first, last] = /^bytes (\d+)-(\d+)/.exec(contentRange) ?? [];
  return Number(first) === offset && (end === undefined || Number(last) === end - 1);
}

function tooLong(descriptor: Descriptor): Error {
  return fail("data-loss", `blob "${descriptor.digest}" is longer than its ${descriptor.size} bytes`, {
    reason: "blob-size",
  });
}

/**
 * A layer that its author allows only to be fetched elsewhere: its `urls`, TLS only, in order, without credentials; each goes on where the
 * one before has stopped.
 */
export async function* fetchForeign(
  ctx: Ctx,
  transport: Transport,
  span: Span,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { descriptor } = span;
  const what = `blob "${descriptor.digest}"`;
  let last: unknown = fail("not-found", `${what} has no address to fetch it from`);
  for (const target of descriptor.urls ?? []) {
    if (!URL.canParse(target)) continue;
    try {
      const headers: Record<string, string> = span.offset === 0 ? {} : { Range: `bytes=${span.offset}-` };
      const accept = [200, 206, 416];
      const reply = await transport.request(ctx, {
        method: "GET",
        target,
        headers,
        scopes: [],
        what,
        accept,
      });
      if (!accept.includes(reply.status)) throw await answerError(what, reply);
      yield* readReply(reply, span);
      if (span.offset >= descriptor.size) return;
      last = broken(span, "ended early");
    } catch (error) {
      last = error;
      if (error instanceof EngineError && error.kind === "canceled") throw error;
    }
  }
  throw last;
}
