/**
 * Sparse files in tar: GNU's old header form and the PAX forms 0.0, 0.1 and 1.0. An *extent* is a
 * run of stored bytes at an offset of the file; what lies between extents is a hole. Extents are
 * kept flat, [offset, length, offset, length, …], and their number is limited before anything is kept.
 */
import { fail } from "../core/error.ts";
import { BLOCK, corrupt, describeName, outOfRange, readNumber } from "./tar-header.ts";

export interface SparseFields {
  major?: number;
  minor?: number;
  name?: Uint8Array;
  /** Size with holes. */
  size?: number;
  extents: number[];
  /** True when the extended header itself held the map (0.0 and 0.1). */
  hasMap?: boolean;
  /** Offset of an extent whose length has not come yet (0.0). */
  pending?: number;
}

function tooManyExtents(name: Uint8Array): Error {
  return fail("invalid-argument", `${describeName(name)}: too many sparse extents`, { reason: "tar-limit" });
}

export function addExtent(extents: number[], extent: [number, number], max: number, name: Uint8Array): void {
  const [offset, length] = extent;
  if (offset + length > Number.MAX_SAFE_INTEGER) throw outOfRange(name, "sparse extent");
  // GNU tar ends each map with an empty extent at the size of the file: nothing to keep.
  if (length === 0) return;
  if (extents.length / 2 >= max) throw tooManyExtents(name);
  extents.push(offset, length);
}

/** Extents must be in order, apart, within the file, and hold exactly the stored bytes. */
export function checkExtents(extents: number[], size: number, stored: number, name: Uint8Array): void {
  let end = 0;
  let sum = 0;
  for (let i = 0; i < extents.length; i += 2) {
    const offset = extents[i] as number;
    const length = extents[i + 1] as number;
    if (offset < end) throw corrupt(name, "sparse extents overlap");
    end = offset + length;
    sum += length;
  }
  if (end > size) throw corrupt(name, "sparse extent beyond the end of the file");
  if (sum !== stored) throw corrupt(name, "sparse map does not fit the stored size");
}

/** Reads `count` extents of 24 bytes at `at`; an extent that begins with NUL ends the list. */
function readSlots(block: Uint8Array, at: number, count: number, into: SparseInto): void {
  for (let i = 0; i < count; i++) {
    const slot = at + i * 24;
    if (block[slot] === 0) return;
    const offset = readNumber(block, slot, 12);
    const length = readNumber(block, slot + 12, 12);
    if (offset === undefined || length === undefined) throw corrupt(into.name, "malformed sparse extent");
    if (offset < 0 || length < 0) throw outOfRange(into.name, "sparse extent");
    addExtent(into.extents, [offset, length], into.max, into.name);
  }
}

export interface SparseInto {
  extents: number[];
  max: number;
  name: Uint8Array;
}

/** The four extents and the real size in a GNU "S" header; true in `more` when extension blocks follow. */
export function readGnuHeader(
  block: Uint8Array,
  at: number,
  into: SparseInto,
): { size: number; more: boolean } {
  readSlots(block, at + 386, 4, into);
  const size = readNumber(block, at + 483, 12);
  if (size === undefined || size < 0 || size > Number.MAX_SAFE_INTEGER) throw outOfRange(into.name, "size");
  return { size, more: block[at + 482] !== 0 };
}

/** One extension block of 21 extents; returns whether another follows. */
export function readGnuExtension(block: Uint8Array, at: number, into: SparseInto): boolean {
  readSlots(block, at, 21, into);
  return block[at + 504] !== 0;
}

/**
 * The map of format 1.0, which stands before the content: the number of extents, then offset and
 * length of each, every number in decimal on its own line, padded to a whole block.
 */
export class SparseMapReader {
  readonly #into: SparseInto;
  #digits = 0;
  #number = 0;
  #left = -1;
  #offset: number | undefined;
  /** Blocks read so far. */
  blocks = 0;

  constructor(into: SparseInto) {
    this.#into = into;
  }

  /** Takes the next block; returns true when the map is complete. */
  block(block: Uint8Array, at: number): boolean {
    this.blocks++;
    for (let i = at; i < at + BLOCK; i++) {
      const byte = block[i] as number;
      if (byte === 0x0a) {
        if (this.#take()) return true;
        continue;
      }
      const digit = byte - 0x30;
      if (digit < 0 || digit > 9 || ++this.#digits > 16)
        throw corrupt(this.#into.name, "malformed sparse map");
      this.#number = this.#number * 10 + digit;
    }
    return false;
  }

  #take(): boolean {
    const number = this.#number;
    if (this.#digits === 0) throw corrupt(this.#into.name, "malformed sparse map");
    if (number > Number.MAX_SAFE_INTEGER) throw outOfRange(this.#into.name, "sparse extent");
    this.#number = this.#digits = 0;
    if (this.#left < 0) {
      // One more than the limit for the empty extent that GNU tar puts last.
      if (number > this.#into.max + 1) throw tooManyExtents(this.#into.name);
      this.#left = number;
    } else if (this.#offset === undefined) {
      this.#offset = number;
    } else {
      addExtent(this.#into.extents, [this.#offset, number], this.#into.max, this.#into.name);
      this.#offset = undefined;
      this.#left--;
    }
    return this.#left === 0;
  }
}
