/**
 * The compressed bytes of a layer on their way to the unpacker, kept as a blob at the same time. The unpacker may stop
 * reading before the end (a tar ends before its file does), so what is left is read here.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { type BlobDeps, BlobWriter, type Expected } from "./blob-writer.ts";
import type { Digest } from "../image/image.ts";
import type { Lease } from "./storage.ts";

/** More than any magic number needs. */
const HEAD = 16;

export class BlobSource implements Disposable {
  readonly #ctx: Ctx;
  readonly #bytes: AsyncIterator<Uint8Array>;
  readonly #onBytes: ((bytes: number) => void) | undefined;
  #writer: BlobWriter | undefined;
  #consumed = 0;
  #ended = false;
  #reading = false;
  #head: Uint8Array = new Uint8Array(0);

  constructor(ctx: Ctx, bytes: AsyncIterable<Uint8Array>, onBytes?: (bytes: number) => void) {
    this.#ctx = ctx;
    this.#bytes = bytes[Symbol.asyncIterator]();
    this.#onBytes = onBytes;
  }

  /** Bytes given out so far. */
  get consumed(): number {
    return this.#consumed;
  }

  /** Tells with `detectCompression` what the bytes are; known once some were given out. */
  get head(): Uint8Array {
    return this.#head;
  }

  /** From here on all bytes are also written to a blob; if its digest is known, its lock is the caller's. */
  keepAs(deps: BlobDeps, expected?: Expected): void {
    this.#writer = new BlobWriter(deps, expected);
  }

  /** Gives the stream to `consumer`, and reads it to its end whatever the consumer left. */
  async feed<T>(consumer: (stream: AsyncIterable<Uint8Array>) => Promise<T>): Promise<T> {
    try {
      const result = await consumer(this.#chunks());
      while ((await this.#next()) !== undefined);
      return result;
    } finally {
      if (!this.#ended) await this.#giveUp();
    }
  }

  /** Lets the source clean up. One that is stuck in a read is not waited for: it may never come back. */
  async #giveUp(): Promise<void> {
    const returned = this.#bytes.return?.();
    if (!this.#reading) await returned;
    else returned?.catch(() => {});
  }

  /** Verifies and publishes the blob, if there is one to keep. */
  async commit(lease: Lease): Promise<{ digest: Digest; size: number } | undefined> {
    return await this.#writer?.commit(this.#ctx, lease);
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
  }

  async #next(): Promise<Uint8Array | undefined> {
    checkCanceled(this.#ctx);
    if (this.#ended) return undefined;
    this.#reading = true;
    const { done, value } = await this.#bytes.next();
    this.#reading = false;
    if (done === true) {
      this.#ended = true;
      return undefined;
    }
    this.#writer?.write(value);
    if (this.#head.length < HEAD) this.#head = Buffer.concat([this.#head, value.subarray(0, HEAD)]);
    this.#consumed += value.byteLength;
    this.#onBytes?.(this.#consumed);
    return value;
  }

  [Symbol.dispose](): void {
    this.#writer?.[Symbol.dispose]();
  }
}
