/**
 * Progress for logs and for programs: a line at each change of a step's state, and in between one now and then, so that who
 * waits sees that it goes on. As JSON: {"id", "status", "current", "total"}, bytes, `total` only where it is known.
 */
import type { ProgressEvent } from "../core/ctx.ts";
import { writeAll } from "./output.ts";
import { mergeStep, type Progress, type Step, stepName, WORDS } from "./progress.ts";
import { humanSize } from "./units.ts";

/** Between two lines on a step whose state is the same: people read the one, programs the other. */
const EVERY_MS = { plain: 3000, json: 200 } as const;

function plainLine(id: string, { status, current, total }: Step): string {
  const start = `${stepName(id)}: ${WORDS[status]}`;
  if (status === "waiting" || status === "exists") return start;
  if (status === "done") return total === undefined ? start : `${start} ${humanSize(total)}`;
  if (current === 0) return total === undefined ? start : `${start} ${humanSize(total)}`;
  return `${start} ${humanSize(current)}${total === undefined ? "" : `/${humanSize(total)}`}`;
}

export class ProgressLines implements Progress {
  readonly #form: "plain" | "json";
  readonly #steps = new Map<string, Step & { told: number }>();

  constructor(form: "plain" | "json") {
    this.#form = form;
  }

  readonly report = (event: ProgressEvent): void => {
    const old = this.#steps.get(event.id);
    const step = mergeStep(old, event);
    const now = performance.now();
    const isNews = old?.status !== step.status || now - old.told >= EVERY_MS[this.#form];
    this.#steps.set(event.id, { ...step, told: isNews ? now : old.told });
    if (isNews) this.#tell(event.id, step);
  };

  #tell(id: string, step: Step): void {
    const { status, current, total } = step;
    const line =
      this.#form === "plain" ? plainLine(id, step) : JSON.stringify({ id, status, current, total });
    writeAll(2, new TextEncoder().encode(`${line}\n`));
  }

  finish(): void {
    // Every change of state has been told when it came.
  }

  [Symbol.dispose](): void {}
}
