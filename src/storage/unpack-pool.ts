/**
 * Unpackers for many archives: a few at work at a time, each used again, because a fresh program takes longer to begin than a
 * small layer takes to unpack. They are ended when no job has come for a moment.
 */
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { UnpackJob, UnpackReply } from "./unpack-protocol.ts";
import { Unpacker } from "./unpacker.ts";

/** More would take memory and turns from each other. */
const MAX_WORKERS = 4;

export class UnpackPool {
  readonly #command: string[];
  readonly #limit = Math.min(MAX_WORKERS, Math.max(2, navigator.hardwareConcurrency));
  readonly #idle: Unpacker[] = [];
  /** First come, first served. */
  readonly #waiting: (() => void)[] = [];
  readonly #idleMs: number;
  #busy = 0;

  /** `command` starts this program as the unpacker; `whose` is a path for people who look at the list of processes. */
  constructor(command: string[], whose: string, idleMs = 0) {
    this.#command = [...command, whose];
    this.#idleMs = idleMs;
  }

  /** As `Unpacker.run`, when it is this job's turn. Errors: canceled, and those. */
  async run(
    ctx: Ctx,
    work: { target: string; job: UnpackJob; source: AsyncIterable<Uint8Array> },
  ): Promise<UnpackReply> {
    await this.#turn(ctx);
    let unpacker: Unpacker | undefined;
    try {
      unpacker = this.#idle.pop() ?? new Unpacker(ctx, this.#command);
      const reply = await unpacker.run(ctx, work);
      if (!("error" in reply)) unpacker.release();
      return reply;
    } finally {
      this.#done(unpacker);
    }
  }

  async #turn(ctx: Ctx): Promise<void> {
    checkCanceled(ctx);
    if (this.#busy < this.#limit) {
      this.#busy++;
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(resolve), 1);
      reject(fail("canceled", "canceled", { cause: ctx.signal.reason }));
    };
    this.#waiting.push(resolve);
    ctx.signal.addEventListener("abort", giveUp, { once: true });
    try {
      await promise;
    } finally {
      ctx.signal.removeEventListener("abort", giveUp);
    }
  }

  #done(unpacker: Unpacker | undefined): void {
    if (unpacker?.isUsable === true) this.#idle.push(unpacker);
    else unpacker?.[Symbol.dispose]();
    const next = this.#waiting.shift();
    // The place goes over to whoever waits.
    if (next !== undefined) return next();
    this.#busy--;
    if (this.#busy > 0) return;
    if (this.#idleMs === 0) this.#end();
    // A command that ends before takes them with it.
    else setTimeout(() => this.#end(), this.#idleMs).unref();
  }

  #end(): void {
    if (this.#busy > 0) return;
    for (const idle of this.#idle.splice(0)) idle[Symbol.dispose]();
  }
}
