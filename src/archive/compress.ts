/**
 * Compression as streams. What bytes are is told by their first bytes, never by a name or media type.
 *
 * gzip with any number of members and zstd with any number of frames (skippable ones too), both
 * with zeros after the end, are inflated here; bzip2 and xz need a program of the host (see
 * {@link hostDecoder}). The compressors give the same bytes for the same input and level: no time, no name.
 * Inflating runs on another thread while the consumer works on the chunk before.
 */
import type { Transform } from "node:stream";
import { fail } from "../core/error.ts";
import type { Compression } from "./archive.ts";
import { ZstdFrames } from "./zstd-frames.ts";

export interface DecompressLimits {
  /** Bytes that may come out. Default: no limit. */
  maxBytes?: number;
  /** Memory a zstd frame may ask for, as a power of two. Default 27 (128 MiB), as the zstd program. */
  windowLog?: number;
}

/** Chunks of this size inflate twice as fast as the default of 16 KiB. */
const CHUNK = 1 << 20;
const HEAD = 6;

const MAGIC: [Compression, number[]][] = [
  ["gzip", [0x1f, 0x8b, 0x08]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

/** Tells by the first bytes (6 suffice). A zstd skippable frame counts as zstd. */
export function detectCompression(head: Uint8Array): Compression {
  for (const [name, magic] of MAGIC) if (magic.every((byte, i) => head[i] === byte)) return name;
  const isSkippable =
    ((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
  return isSkippable ? "zstd" : "none";
}

/** The host's program for what this module does not read: reads stdin, writes stdout. Undefined where none is needed. */
export function hostDecoder(compression: Compression): string[] | undefined {
  if (compression === "bzip2") return ["bzip2", "-dc"];
  if (compression === "xz") return ["xz", "-dc", "--memlimit-decompress=256MiB"];
  return undefined;
}

/**
 * The stream without its compression, whatever that is; chunks of up to 1 MiB, each its own memory.
 * Errors: data-loss for corrupt or truncated input, resource-exhausted over `maxBytes`,
 * unimplemented for bzip2 and xz, and whatever the source throws.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  limits: DecompressLimits = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { compression, stream } = await peekCompression(source);
  const max = limits.maxBytes ?? Infinity;
  let total = 0;
  for await (const chunk of await open(compression, stream, limits)) {
    total += chunk.length;
    if (total > max)
      throw fail("resource-exhausted", `more than ${max} bytes when decompressed`, { reason: "limit" });
    yield chunk;
  }
}

/** What the stream is compressed with, and the same stream from its beginning. */
export async function peekCompression(
  source: AsyncIterable<Uint8Array>,
): Promise<{ compression: Compression; stream: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < HEAD) {
    const next = await iterator.next();
    if (next.done === true) break;
    // The source may take back a chunk when the next is asked for.
    const isEnough = head.length === 0 && next.value.length >= HEAD;
    head = isEnough ? next.value : Buffer.concat([head, next.value]);
  }
  return { compression: detectCompression(head), stream: rejoin(head, iterator) };
}

async function* rejoin(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (head.length > 0) yield head;
    for (;;) {
      const next = await rest.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}

async function open(
  compression: Compression,
  stream: AsyncIterable<Uint8Array>,
  limits: DecompressLimits,
): Promise<AsyncIterable<Uint8Array>> {
  if (compression === "none") return stream;
  const zlib = await import("node:zlib");
  if (compression === "gzip") return through(zlib.createGunzip({ chunkSize: CHUNK }), stream, "gzip");
  if (compression === "zstd") {
    const params = { [zlib.constants.ZSTD_d_windowLogMax]: limits.windowLog ?? 27 };
    return through(zlib.createZstdDecompress({ chunkSize: CHUNK, params }), wholeFrames(stream), "zstd");
  }
  await (stream as AsyncGenerator<Uint8Array>).return?.(undefined);
  throw fail("unimplemented", `${compression} cannot be read here`, {
    reason: "compression",
    hint: `decompress it first: ${hostDecoder(compression)?.join(" ")}`,
  });
}

async function* wholeFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const frames = new ZstdFrames();
  for await (const chunk of source) {
    frames.write(chunk);
    yield chunk;
  }
  frames.end();
}

function drained(stream: Transform): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
  });
}

async function feed(stream: Transform, source: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of source) {
      if (stream.destroyed) return;
      if (chunk.length > 0 && !stream.write(chunk)) await drained(stream);
    }
    stream.end();
  } catch (error) {
    stream.destroy(error as Error);
  }
}

/** Runs the source through a zlib stream; ends both when the consumer stops early. */
async function* through(
  stream: Transform,
  source: AsyncIterable<Uint8Array>,
  format: Compression,
): AsyncGenerator<Uint8Array> {
  const feeding = feed(stream, source);
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
    await feeding;
  } catch (error) {
    throw inflateError(error, format);
  } finally {
    stream.destroy();
  }
}

/** zlib's and zstd's codes as our errors; anything else came from the source and passes. */
export function inflateError(error: unknown, format: Compression): unknown {
  const code = (error as { code?: unknown }).code;
  if (typeof code !== "string" || !/^(Z_|ZSTD_)/.test(code)) return error;
  if (code.endsWith("windowTooLarge")) {
    return fail("invalid-argument", "zstd stream asks for too large a window", {
      reason: "window",
      cause: error,
    });
  }
  if (code === "Z_BUF_ERROR") {
    return fail("data-loss", `${format} stream is truncated`, { reason: "truncated", cause: error });
  }
  const reason = (error as Error).message;
  return fail("data-loss", `${format} stream is corrupt: ${reason}`, { reason: "corrupt", cause: error });
}

/** Pieces of exactly 1 MiB: what deflate finds depends on how its input is cut, and the same input must give the same bytes. */
async function* evenly(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let piece = new Uint8Array(CHUNK);
  let filled = 0;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const take = Math.min(chunk.length - at, CHUNK - filled);
      piece.set(chunk.subarray(at, at + take), filled);
      at += take;
      filled += take;
      if (filled < CHUNK) continue;
      yield piece;
      piece = new Uint8Array(CHUNK);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** RFC 1952, one member, no name, time zero. `level` 1 to 9. */
export async function* gzip(source: AsyncIterable<Uint8Array>, level = 6): AsyncGenerator<Uint8Array> {
  const zlib = await import("node:zlib");
  yield* through(zlib.createGzip({ level, chunkSize: CHUNK }), evenly(source), "gzip");
}

/** One frame with a checksum. One thread: with workers the streaming compressor of Bun loses data. `level` 1 to 19. */
export async function* zstd(source: AsyncIterable<Uint8Array>, level = 3): AsyncGenerator<Uint8Array> {
  const zlib = await import("node:zlib");
  const params = {
    [zlib.constants.ZSTD_c_compressionLevel]: level,
    [zlib.constants.ZSTD_c_checksumFlag]: 1,
  };
  yield* through(zlib.createZstdCompress({ chunkSize: CHUNK, params }), evenly(source), "zstd");
}
