/** Questions to a person at the terminal, answered with a line. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import type { ShortNameQuestion } from "../registry/registry.ts";
import { writeAll } from "./output.ts";
import { isTerminal } from "./terminal.ts";

const MAX_LINE = 64 * 1024;

interface Reader {
  read(): Promise<{ value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

/** Lines typed at the terminal, one after the other; what was typed ahead is the next answer. One for a whole conversation. */
export class Prompt implements AsyncDisposable {
  readonly #ctx: Ctx;
  readonly #reader: Reader;
  #pending = "";

  constructor(ctx: Ctx) {
    this.#ctx = ctx;
    this.#reader = Bun.stdin.stream().getReader();
  }

  async ask(question: string): Promise<string> {
    show(question);
    return this.#line();
  }

  /** As `ask`, but what is typed is not seen. Ctrl-C ends it and puts the terminal back. */
  async askSecret(question: string): Promise<string> {
    const restore = isTerminal(0) ? linux.echoOff(0) : () => {};
    try {
      show(question);
      return await this.#line();
    } finally {
      restore();
    }
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#pending.indexOf("\n");
      if (end >= 0) {
        const line = this.#pending.slice(0, end);
        this.#pending = this.#pending.slice(end + 1);
        return line.replace(/\r$/, "");
      }
      if (this.#pending.length > MAX_LINE) throw fail("invalid-argument", "the answer is too long");
      const more = await this.#read();
      if (more === undefined) throw fail("invalid-argument", "there is no answer: the input has ended");
      this.#pending += more;
    }
  }

  async #read(): Promise<string | undefined> {
    const { signal } = this.#ctx;
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const giveUp = (): void => reject(fail("canceled", "canceled", { cause: signal.reason }));
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      if (signal.aborted) giveUp();
      const { value } = await Promise.race([this.#reader.read(), aborted]);
      return value === undefined ? undefined : Buffer.from(value).toString();
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // After Ctrl-C nothing may wait for another key.
    if (!this.#ctx.signal.aborted) await this.#reader.cancel().catch(() => {});
  }
}

function show(text: string): void {
  writeAll(2, new TextEncoder().encode(text));
}

/** Asks which image a short name means; undefined without a terminal, or for an answer that is none of them. */
export async function chooseImage(ctx: Ctx, question: ShortNameQuestion): Promise<string | undefined> {
  if (!isTerminal(0) || !isTerminal(1)) return undefined;
  const { name, candidates } = question;
  const lines = candidates.map((candidate, index) => `  ${index + 1}) ${candidate}\n`);
  await using prompt = new Prompt(ctx);
  for (;;) {
    const range = `1-${candidates.length}`;
    const answer = await prompt.ask(
      `Several registries may have "${name}":\n${lines.join("")}Which one [${range}]? `,
    );
    const chosen = candidates[Number(answer) - 1] ?? candidates.find((one) => one === answer.trim());
    if (chosen !== undefined) return chosen;
  }
}

/** Standard input to its end, without the newline that `echo` and editors put there; for a secret from a pipe. */
export async function readSecret(): Promise<string> {
  const text = await Bun.stdin.text();
  return text.replace(/\r?\n$/, "");
}
