/**
 * The keys that leave a container's terminal without stopping it.
 *
 * Grammar (docker and podman): keys separated by commas, each one printable character or
 * `ctrl-X` with X one of a-z, @, [, \, ], ^ and _. An empty text switches detaching off.
 */
import { fail } from "../core/error.ts";

const AFTER_CTRL = "@abcdefghijklmnopqrstuvwxyz[\\]^_";

function parseKey(key: string, text: string): number {
  const control = /^ctrl-(.)$/i.exec(key);
  const code = control === null ? -1 : AFTER_CTRL.indexOf((control[1] as string).toLowerCase());
  if (code >= 0) return code;
  if (key.length === 1 && key >= " " && key <= "~") return key.charCodeAt(0);
  throw fail("invalid-argument", `invalid detach keys "${text}"`, {
    reason: "invalid-detach-keys",
    hint: 'write single characters or ctrl-LETTER, separated by commas: "ctrl-p,ctrl-q"',
  });
}

/** The bytes a terminal sends for these keys. Errors: invalid-argument. */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === "") return new Uint8Array();
  return Uint8Array.from(text.split(","), (key) => parseKey(key, text));
}

/**
 * Looks for the sequence in a stream of input. The beginning of a sequence is held back until it is
 * either complete or disproved, and is then passed on unchanged; nothing else is delayed.
 */
export class DetachScanner {
  readonly #keys: Uint8Array;
  #matched = 0;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }

  /** What may be passed on, and whether the sequence is now complete (bytes after it are dropped). */
  push(chunk: Uint8Array): { pass: Uint8Array; detached: boolean } {
    if (this.#keys.length === 0) return { pass: chunk, detached: false };
    if (this.#matched === 0 && !chunk.includes(this.#keys[0] as number)) {
      return { pass: chunk, detached: false };
    }
    const pass: number[] = [];
    for (const byte of chunk) {
      this.#step(byte, pass);
      if (this.#matched === this.#keys.length) return { pass: Uint8Array.from(pass), detached: true };
    }
    return { pass: Uint8Array.from(pass), detached: false };
  }

  /** What is held back: to be passed on when the input ends. */
  rest(): Uint8Array {
    const held = this.#keys.slice(0, this.#matched);
    this.#matched = 0;
    return held;
  }

  #step(byte: number, pass: number[]): void {
    while (this.#matched > 0 && byte !== this.#keys[this.#matched]) this.#fallBack(pass);
    if (byte === this.#keys[this.#matched]) this.#matched++;
    else pass.push(byte);
  }

  /** Passes on as little as makes the rest of what is held a beginning of the sequence again. */
  #fallBack(pass: number[]): void {
    const keys = this.#keys;
    let length = this.#matched - 1;
    const isBorder = (n: number): boolean =>
      keys.subarray(0, n).every((key, index) => key === keys[this.#matched - n + index]);
    while (length > 0 && !isBorder(length)) length--;
    pass.push(...keys.subarray(0, this.#matched - length));
    this.#matched = length;
  }
}
