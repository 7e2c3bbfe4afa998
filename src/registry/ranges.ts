/**
 * A blob over several connections: pieces of it are asked for by Range ahead of the place that is being read, and given out in order.
 *
 * Only where one connection is what the receiver waits for: a registry on the same machine, or a slow unpacker, gains nothing
 * by it. Memory is bounded by the pieces that the blobs of one client may hold at once.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError } from "../core/error.ts";
import type { Descriptor } from "../image/image.ts";

/** Bytes of one request. Small, because all pieces but the one that is being read wait in memory. */
const PIECE = 2 * 1024 * 1024;
/** Connections of one blob. */
const MAX_WIDTH = 6;
/** Pieces of all blobs of a client. */
const MAX_PIECES = 12;
/** A stream is watched for so long before more connections are opened. */
const LOOK_MS = 300;
/** Part of that time spent waiting for the network. */
const STARVED = 0.6;
/** Bytes that must be left for it to pay. */
const MIN_LEFT = 4 * PIECE;

/** What the blobs of one client share. */
export class RangeBudget {
  #free = MAX_PIECES;
  /** The source has ignored Range, or answered it with something else. */
  refused = false;

  take(): boolean {
    if (this.#free === 0) return false;
    this.#free--;
    return true;
  }

  give(): void {
    this.#free++;
  }
}

/** Finds out whether the receiver waits for the network. */
export class Starvation {
  readonly #began = performance.now();
  #waited = 0;

  /** The time that `next` takes counts as waiting. */
  async during<T>(next: Promise<T>): Promise<T> {
    const began = performance.now();
    const value = await next;
    this.#waited += performance.now() - began;
    return value;
  }

  /** `left` is what is still to come, in bytes. */
  paysFor(left: number): boolean {
    const elapsed = performance.now() - this.#began;
    return left >= MIN_LEFT && elapsed >= LOOK_MS && this.#waited / elapsed >= STARVED;
  }
}

export interface Span {
  descriptor: Descriptor;
  /** Of the next byte; moves on while the span is read. */
  offset: number;
  /** Offset after the last byte; that of the blob if absent. Reading stops there also when it is set on the way. */
  end?: number;
}

/** Bytes of one span, in order; resumes broken connections. */
type ReadSpan = (ctx: Ctx, span: Span) => AsyncIterable<Uint8Array>;

interface Piece {
  start: number;
  bytes: Promise<Uint8Array[]>;
  isComplete: boolean;
  /** Holds a place in the budget. */
  isCounted: boolean;
}

/** The pieces from some offset to the blob's end, several on their way at a time. */
export class Pieces implements Disposable {
  readonly #ctx: Ctx;
  readonly #budget: RangeBudget;
  readonly #descriptor: Descriptor;
  readonly #read: ReadSpan;
  readonly #stop = new AbortController();
  readonly #queue: Piece[] = [];
  /** Where the next request begins. */
  #next: number;
  #width = 2;
  #accepted = false;
  #refused = false;

  /** Begins a piece's length after `offset`: so much is left to who reads there now. */
  constructor(ctx: Ctx, budget: RangeBudget, { descriptor, offset }: Span, read: ReadSpan) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#stop.signal]) };
    this.#budget = budget;
    this.#descriptor = descriptor;
    this.#read = read;
    this.#next = offset + PIECE;
    this.#fill();
  }

  /** Offset of the first byte of the next piece. */
  get start(): number {
    return this.#queue[0]?.start ?? this.#next;
  }

  /** The source has answered a request for a piece with that piece. */
  get accepted(): boolean {
    return this.#accepted;
  }

  /** The source has answered with something else than what it was asked for. */
  get refused(): boolean {
    return this.#refused;
  }

  #fill(): void {
    const { size } = this.#descriptor;
    while (this.#queue.length < this.#width && this.#next < size) {
      const isCounted = this.#budget.take();
      // What is read now needs no room of its own.
      if (!isCounted && this.#queue.length > 0) return;
      const piece: Piece = { start: this.#next, isComplete: false, isCounted, bytes: Promise.resolve([]) };
      this.#next = Math.min(piece.start + PIECE, size);
      piece.bytes = this.#fetch(piece, this.#next);
      // Looked at when its turn comes; until then it must not count as unhandled.
      piece.bytes.catch(() => {});
      this.#queue.push(piece);
    }
  }

  async #fetch(piece: Piece, end: number): Promise<Uint8Array[]> {
    const chunks: Uint8Array[] = [];
    const span = { descriptor: this.#descriptor, offset: piece.start, end };
    try {
      for await (const chunk of this.#read(this.#ctx, span)) {
        chunks.push(chunk);
        this.#accepted = true;
      }
    } catch (error) {
      this.#refused ||= error instanceof EngineError && error.reason === "blob-range";
      throw error;
    }
    piece.isComplete = true;
    return chunks;
  }

  /** The next piece's bytes. Errors: those of its request. */
  async take(): Promise<Uint8Array[]> {
    this.#fill();
    const piece = this.#queue[0] as Piece;
    // Still on its way when it is wanted: one more connection might help.
    if (!piece.isComplete && this.#width < MAX_WIDTH) this.#width++;
    this.#fill();
    const chunks = await piece.bytes;
    this.#queue.shift();
    if (piece.isCounted) this.#budget.give();
    this.#fill();
    return chunks;
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error("not needed any more"));
    for (const { isCounted } of this.#queue) if (isCounted) this.#budget.give();
    this.#queue.length = 0;
  }
}
