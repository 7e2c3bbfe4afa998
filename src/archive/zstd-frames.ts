/**
 * Follows the frames of a zstd stream (RFC 8878 §3) without decoding them, to know whether it is whole.
 *
 * Needed because the zstd decoder of Bun ends without an error when its input is cut off in the middle of a frame.
 * Skippable frames are followed too; zeros between and after frames are padding.
 */
import { fail } from "../core/error.ts";

const MAGIC = 0xfd2fb528;
/** The low four bits of a skippable frame's magic number are free. */
const SKIPPABLE = 0x184d2a50;

type Step = "magic" | "descriptor" | "header" | "block" | "skip-size" | "payload";

const NEEDS: Record<Step, number> = {
  magic: 4,
  descriptor: 1,
  header: 0,
  block: 3,
  "skip-size": 4,
  payload: 0,
};

export class ZstdFrames {
  #step: Step = "magic";
  /** Little-endian bytes gathered for the current step. */
  #value = 0;
  #have = 0;
  /** Bytes of header or payload to pass over, and the step after them. */
  #skip = 0;
  #next: Step = "magic";
  #hasChecksum = false;

  /** Takes the next compressed bytes. Errors: data-loss for what is no frame. */
  write(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const take = Math.min(this.#skip, chunk.length - at);
        this.#skip -= take;
        at += take;
        if (this.#skip === 0) this.#begin(this.#next);
        continue;
      }
      const byte = chunk[at++] as number;
      if (this.#step === "magic" && this.#have === 0 && byte === 0) continue;
      this.#value += byte * 2 ** (8 * this.#have++);
      if (this.#have === NEEDS[this.#step]) this.#take(this.#value);
    }
  }

  /** Errors: data-loss if the stream ends inside a frame. */
  end(): void {
    if (this.#step === "magic" && this.#have === 0) return;
    throw fail("data-loss", "zstd stream is truncated", { reason: "truncated" });
  }

  #begin(step: Step): void {
    this.#step = step;
    this.#value = this.#have = 0;
  }

  #pass(step: Step, bytes: number, next: Step): void {
    if (bytes === 0) return this.#begin(next);
    this.#begin(step);
    this.#skip = bytes;
    this.#next = next;
  }

  #take(value: number): void {
    if (this.#step === "magic") this.#onMagic(value);
    else if (this.#step === "skip-size") this.#pass("payload", value, "magic");
    else if (this.#step === "descriptor") this.#onDescriptor(value);
    else this.#onBlock(value);
  }

  #onMagic(value: number): void {
    if (value === MAGIC) return this.#begin("descriptor");
    if (value - (value % 16) === SKIPPABLE) return this.#begin("skip-size");
    throw fail("data-loss", "zstd stream is corrupt: not a frame", { reason: "corrupt" });
  }

  #onDescriptor(value: number): void {
    const isSingleSegment = (value & 0x20) !== 0;
    const sizeFlag = value >> 6;
    const window = isSingleSegment ? 0 : 1;
    const dictionary = [0, 1, 2, 4][value & 3] as number;
    const content = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
    this.#hasChecksum = (value & 4) !== 0;
    this.#pass("header", window + dictionary + content, "block");
  }

  #onBlock(value: number): void {
    const isLast = (value & 1) !== 0;
    const type = (value >> 1) & 3;
    if (type === 3)
      throw fail("data-loss", "zstd stream is corrupt: reserved block type", { reason: "corrupt" });
    const size = type === 1 ? 1 : value >> 3;
    if (!isLast) return this.#pass("payload", size, "block");
    this.#pass("payload", size + (this.#hasChecksum ? 4 : 0), "magic");
  }
}
