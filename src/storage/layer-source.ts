/**
 * The bytes of a blob on their way into the store, and, for a layer, to the unpacker at the same time. The unpacker may stop
 * reading before the end (a tar ends before its file does), so what is left is read here. What an
 * earlier attempt has left of the blob comes first, from the disk.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import { type BlobDeps, BlobWriter, type Expected } from "./blob-writer.ts";
import type { Digest } from "../image/image.ts";
import type { ByteSource, Lease } from "./storage.ts";

/** More than any magic number needs. */
const HEAD = 16;

export class BlobSource implements Disposable {
  readonly #ctx: Ctx;
  readonly #source: ByteSource;
  readonly #onBytes: ((bytes: number) => void) | undefined;
  #existing: AsyncIterator<Uint8Array> | undefined;
  #bytes: AsyncIterator<Uint8Array> | undefined;
  #writer: BlobWriter | undefined;
  #consumed = 0;
  #ended = false;
  #reading = false;
  #head: Uint8Array = new Uint8Array(0);
  #last: Uint8Array | undefined;

  constructor(ctx: Ctx, source: ByteSource, onBytes?: (bytes: number) => void) {
    this.#ctx = ctx;
    this.#source = source;
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

  /**
   * All bytes are also written to a blob; if its digest is known, its lock is the caller's. Called before the first is read. With
   * `fresh` what an earlier attempt has left is thrown away.
   */
  keepAs(deps: BlobDeps, expected?: Expected, fresh = false): void {
    const resume = typeof this.#source === "function" && !fresh;
    this.#writer = new BlobWriter(deps, expected, resume);
    if (this.#writer.existing > 0) this.#existing = this.#writer.readExisting();
  }

  /**
   * Gives the stream to `consumer`, and reads it to its end whatever the consumer left. What it fails with after going on with an earlier
   * attempt's bytes, and those may be to blame for, is a {@link StaleStart}.
   */
  async feed<T>(consumer: (stream: AsyncIterable<Uint8Array>) => Promise<T>): Promise<T> {
    try {
      const result = await consumer(this.#chunks());
      while ((await this.#next()) !== undefined);
      return result;
    } catch (error) {
      // The unpacker was told to stop: its bytes were good.
      if (isKind(error, "canceled")) this.#writer?.keep();
      throw this.#blamed(error);
    } finally {
      if (!this.#ended) await this.#giveUp();
    }
  }

  /** Lets the source clean up. One that is stuck in a read is not waited for: it may never come back. */
  async #giveUp(): Promise<void> {
    const returned = this.#bytes?.return?.();
    if (!this.#reading) await returned;
    else returned?.catch(() => {});
  }

  #blamed(error: unknown): unknown {
    const isBad = isKind(error, "data-loss") || isKind(error, "invalid-argument");
    return isBad && (this.#writer?.existing ?? 0) > 0 ? new StaleStart(error) : error;
  }

  /** Verifies and publishes the blob, if there is one to keep. Errors: as {@link feed}. */
  async commit(lease: Lease): Promise<{ digest: Digest; size: number } | undefined> {
    try {
      return await this.#writer?.commit(this.#ctx, lease);
    } catch (error) {
      throw this.#blamed(error);
    }
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
  }

  async #next(): Promise<Uint8Array | undefined> {
    this.#free();
    if (this.#ended) return undefined;
    const old = await this.#existing?.next();
    if (old?.done === false) return this.#counted(old.value);
    this.#existing = undefined;
    const fresh = await this.#nextOfSource();
    if (fresh === undefined) return undefined;
    this.#writer?.write(fresh);
    return this.#counted(fresh);
  }

  async #nextOfSource(): Promise<Uint8Array | undefined> {
    this.#reading = true;
    try {
      checkCanceled(this.#ctx);
      this.#bytes ??= this.#open()[Symbol.asyncIterator]();
      const { done, value } = await this.#bytes.next();
      if (done !== true) return value;
      this.#ended = true;
      return undefined;
    } catch (error) {
      const isWrong = ["data-loss", "invalid-argument", "not-found"] as const;
      if (!isWrong.some((kind) => isKind(error, kind))) this.#writer?.keep();
      throw error;
    } finally {
      this.#reading = false;
    }
  }

  #open(): AsyncIterable<Uint8Array> {
    const source = this.#source;
    return typeof source === "function" ? source(this.#writer?.existing ?? 0) : source;
  }

  /** The consumer is done with the last chunk, since it asks for the next one. */
  #free(): void {
    if (typeof this.#source === "function") (this.#last?.buffer as ArrayBuffer | undefined)?.transfer(0);
    this.#last = undefined;
  }

  #counted(chunk: Uint8Array): Uint8Array {
    this.#last = chunk;
    if (this.#head.length < HEAD) this.#head = Buffer.concat([this.#head, chunk.subarray(0, HEAD)]);
    this.#consumed += chunk.byteLength;
    this.#onBytes?.(this.#consumed);
    return chunk;
  }

  [Symbol.dispose](): void {
    this.#writer?.[Symbol.dispose]();
  }
}

/** The bytes were wrong, and their beginning was not of this attempt: a power cut may have damaged it. */
class StaleStart extends Error {
  constructor(cause: unknown) {
    super("stale start", { cause });
  }
}

/** Runs `attempt`, and once more with `fresh` if the bytes of an earlier one may have spoilt it. */
export async function retryFresh<T>(attempt: (fresh: boolean) => Promise<T>): Promise<T> {
  try {
    return await attempt(false);
  } catch (error) {
    if (!(error instanceof StaleStart)) throw error;
    return await attempt(true);
  }
}
