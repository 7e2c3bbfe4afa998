/** Ends an exchange that has come to a standstill, or whose caller has given up. */
import type { Ctx } from "../core/ctx.ts";

export class Watchdog implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #outer: AbortSignal;
  readonly #giveUp = (): void => this.#controller.abort(this.#outer.reason);
  /** Milliseconds without a touch, counted in ticks: while this process itself stands still none pass. */
  #idle = 0;
  #stalled = false;

  constructor(ctx: Ctx, stallMs: number) {
    this.#outer = ctx.signal;
    if (this.#outer.aborted) this.#giveUp();
    this.#outer.addEventListener("abort", this.#giveUp, { once: true });
    const tick = Math.max(10, stallMs / 10);
    this.#timer = setInterval(() => {
      this.#idle += tick;
      if (this.#idle < stallMs) return;
      this.#stalled = true;
      this.#controller.abort(new Error("stalled"));
    }, tick);
    // A dog that is forgotten must not keep the process alive.
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  /** Something has moved, and may take `graceMs` longer than usual to move again. */
  touch(graceMs = 0): void {
    this.#idle = -graceMs;
  }

  /** It is not the other side's turn: nothing counts until the next touch. */
  rest(): void {
    this.#idle = Number.NEGATIVE_INFINITY;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#outer.removeEventListener("abort", this.#giveUp);
  }
}
