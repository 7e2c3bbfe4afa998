/**
 * gzip on all cores: the input is cut into blocks that are compressed each into a gzip member of its own, and members
 * follow one another (RFC 1952 §2.2), which every gunzip reads as one stream. The same input gives the
 * same bytes on any machine, because the blocks do not depend on how many are worked on at a time.
 */
import { availableParallelism } from "node:os";
import { gzip as gzipBlock } from "node:zlib";

/** Large enough that a fresh dictionary for each block costs nothing worth mentioning. */
const BLOCK_BYTES = 4 * 1024 * 1024;
const LEVEL = 6;

function compress(block: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  gzipBlock(block, { level: LEVEL }, (error, result) => (error === null ? resolve(result) : reject(error)));
  return promise;
}

/** Blocks of exactly BLOCK_BYTES, each its own memory; an empty input gives one empty block. */
async function* blocks(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  let filled = 0;
  let isFirst = true;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const take = Math.min(BLOCK_BYTES - filled, chunk.length - at);
      block.set(chunk.subarray(at, at + take), filled);
      filled += take;
      at += take;
      if (filled < BLOCK_BYTES) continue;
      yield block;
      isFirst = false;
      block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0 || isFirst) yield block.subarray(0, filled);
}

/** Holds one block more in memory than there are cores. Errors: those of the source, before the last chunk. */
export async function* parallelGzip(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const width = availableParallelism() + 1;
  const running: Promise<Uint8Array>[] = [];
  try {
    for await (const block of blocks(source)) {
      running.push(compress(block));
      if (running.length >= width) yield await (running.shift() as Promise<Uint8Array>);
    }
    for (let next = running.shift(); next !== undefined; next = running.shift()) yield await next;
  } finally {
    await Promise.allSettled(running);
  }
}
