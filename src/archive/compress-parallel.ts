/**
 * gzip and zstd on all cores: the input is cut into blocks that are compressed each into a gzip member or zstd frame of
 * its own, and these follow one another (RFC 1952 §2.2, RFC 8878 §3.1), which every reader takes as one stream. The same input gives
 * the same bytes on any machine, because the blocks do not depend on how many are worked on at a time.
 *
 * Bun's streaming zstd compressor loses data when it is given workers, so each block is one whole call.
 */
export interface Compressor {
  format: "gzip" | "zstd";
  /** gzip 1 to 9, zstd 1 to 19; default 3 for both. */
  level?: number;
}

/** libdeflate's 3 gives what zlib's 6 does, in half the time. */
export const DEFAULT_LEVEL = { gzip: 3, zstd: 3 } as const;
export const MAX_LEVEL = { gzip: 9, zstd: 19 } as const;

/** Large enough that a fresh dictionary for each block costs nothing worth mentioning. */
const BLOCK_BYTES = 4 * 1024 * 1024;

const MAX_WIDTH = 16;

/** Streams that are being compressed in this process: they share the cores, and with them the blocks that are in memory. */
let streams = 0;

/** How many blocks of one stream may be on their way, each of them with what becomes of it. */
function share(width: number): number {
  return Math.max(1, Math.ceil(width / streams));
}

type Block = Uint8Array<ArrayBuffer>;

interface Compressed {
  out: Uint8Array;
  /** The memory that went in, to be used again. */
  block: Block;
}

interface BlockCompressor extends Disposable {
  compress(block: Block): Promise<Compressed>;
}

/**
 * Holds a few blocks more in memory than there are cores, however many streams there are at a time. Errors: those of the
 * source, before the last chunk.
 */
export async function* parallelCompress(
  source: AsyncIterable<Uint8Array>,
  { format, level = DEFAULT_LEVEL[format] }: Compressor,
): AsyncGenerator<Uint8Array, void, undefined> {
  const width = Math.min(navigator.hardwareConcurrency, MAX_WIDTH);
  using compressor = format === "gzip" ? new GzipBlocks(level, width) : zstdBlocks(level);
  const running: Promise<Compressed>[] = [];
  const spare: Block[] = [];
  const taken = async (): Promise<Uint8Array> => {
    const { out, block } = await (running.shift() as Promise<Compressed>);
    if (block.length === BLOCK_BYTES) spare.push(block);
    return out;
  };
  streams++;
  try {
    for await (const block of blocks(source, spare)) {
      const next = compressor.compress(block);
      // It is awaited in its turn; until then a failure must not count as unhandled.
      next.catch(() => {});
      running.push(next);
      while (running.length > share(width)) yield await taken();
    }
    while (running.length > 0) yield await taken();
  } finally {
    streams--;
    await Promise.allSettled(running);
  }
}

/** Blocks of exactly BLOCK_BYTES, in memory of their own or from `spare`; an empty input gives one empty block. */
async function* blocks(source: AsyncIterable<Uint8Array>, spare: Block[]): AsyncGenerator<Block> {
  let block = spare.pop() ?? new Uint8Array(BLOCK_BYTES);
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
      block = spare.pop() ?? new Uint8Array(BLOCK_BYTES);
      filled = 0;
    }
  }
  if (filled > 0 || isFirst) yield block.subarray(0, filled);
}

function zstdBlocks(level: number): BlockCompressor {
  // On Bun's own pool of threads.
  return {
    compress: async (block) => ({ out: await Bun.zstdCompress(block, { level }), block }),
    [Symbol.dispose]: () => {},
  };
}

/**
 * libdeflate takes half the time of zlib for the same ratio, but Bun has it as a synchronous call only: threads of
 * our own make it parallel. The program is a text, so that it needs no file beside the binary.
 */
const GZIP_THREAD = `self.onmessage = ({ data: { block, level } }) => {
  const out = Bun.gzipSync(block, { level, library: "libdeflate" });
  postMessage({ out, block }, [out.buffer, block.buffer]);
};`;

class GzipBlocks implements BlockCompressor {
  readonly #level: number;
  readonly #width: number;
  #threads: GzipThreads | undefined;

  constructor(level: number, width: number) {
    this.#level = level;
    this.#width = width;
  }

  compress(block: Block): Promise<Compressed> {
    // A short block is the last one, and where it is the first as well no thread is worth starting.
    if (block.length < BLOCK_BYTES && this.#threads === undefined) {
      const out = Bun.gzipSync(block, { level: this.#level as 6, library: "libdeflate" });
      return Promise.resolve({ out, block });
    }
    this.#threads ??= GzipThreads.join(this.#width);
    return this.#threads.compress(block, this.#level);
  }

  [Symbol.dispose](): void {
    this.#threads?.leave();
  }
}

interface Job {
  block: Block;
  level: number;
  resolve: (done: Compressed) => void;
  reject: (error: unknown) => void;
}

/** One set of threads for all streams of the process; gone with the last of them. */
class GzipThreads {
  static #shared: GzipThreads | undefined;
  readonly #width: number;
  readonly #threads: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #waiting: Job[] = [];
  readonly #url = URL.createObjectURL(new Blob([GZIP_THREAD], { type: "application/javascript" }));
  #users = 0;

  private constructor(width: number) {
    this.#width = width;
  }

  static join(width: number): GzipThreads {
    const threads = (GzipThreads.#shared ??= new GzipThreads(width));
    threads.#users++;
    return threads;
  }

  leave(): void {
    if (--this.#users > 0) return;
    if (GzipThreads.#shared === this) GzipThreads.#shared = undefined;
    for (const thread of this.#threads) thread.terminate();
    URL.revokeObjectURL(this.#url);
  }

  compress(block: Block, level: number): Promise<Compressed> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ block, level, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    const thread = this.#idle.pop() ?? (this.#threads.length < this.#width ? this.#start() : undefined);
    if (thread === undefined) return;
    const job = this.#waiting.shift();
    if (job === undefined) {
      this.#idle.push(thread);
      return;
    }
    thread.onmessage = ({ data }: MessageEvent<Compressed>) => {
      this.#idle.push(thread);
      job.resolve(data);
      this.#next();
    };
    thread.onerror = ({ message }) => {
      // It has ended; another one takes its place.
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      job.reject(new Error(message));
      this.#next();
    };
    thread.postMessage({ block: job.block, level: job.level }, [job.block.buffer]);
  }

  #start(): Worker {
    const thread = new Worker(this.#url);
    this.#threads.push(thread);
    return thread;
  }
}
