/**
 * Progress on a terminal: a bar for each layer and a line with total, rate and time to go, redrawn at most every 80 ms. Never
 * more lines than the terminal has, since the cursor cannot go back to what has scrolled away.
 */
import type { ProgressEvent } from "../core/ctx.ts";
import { writeAll } from "./output.ts";
import { mergeStep, type Progress, type Step, stepName, WORDS } from "./progress.ts";
import { terminalHeight, terminalWidth } from "./terminal.ts";
import { humanSize } from "./units.ts";

const REDRAW_MS = 80;
const BAR = 24;

function isOver(step: Step): boolean {
  return step.status === "done" || step.status === "exists";
}

export function progressBar(current: number, total: number, width: number): string {
  const filled = total <= 0 ? width : Math.max(0, Math.min(width, Math.floor((current / total) * width)));
  const head = filled < width ? ">" : "";
  return `[${"=".repeat(filled)}${head}${" ".repeat(Math.max(0, width - filled - head.length))}]`;
}

function stepLine(id: string, step: Step): string {
  const name = stepName(id).padEnd(12);
  const word = WORDS[step.status].padEnd(12);
  if (isOver(step) || step.status === "waiting") return `${name}  ${word}`;
  if (step.total === undefined) return `${name}  ${word}  ${humanSize(step.current)}`;
  return `${name}  ${word}  ${progressBar(step.current, step.total, BAR)}  ${humanSize(step.current)}/${humanSize(step.total)}`;
}

/** "12s", "3m05s". */
export function clock(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole}s` : `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
}

/** As many as fit, those that move first, in the order they began; and how many are not shown. */
export function visibleSteps<T extends { step: Step }>(
  steps: readonly T[],
  room: number,
): { shown: T[]; hidden: number } {
  if (steps.length <= room) return { shown: [...steps], hidden: 0 };
  const rank = ({ step }: T): number => (isOver(step) ? 2 : step.status === "waiting" ? 1 : 0);
  const chosen = steps.toSorted((a, b) => rank(a) - rank(b)).slice(0, Math.max(0, room - 1));
  const kept = new Set(chosen);
  return { shown: steps.filter((step) => kept.has(step)), hidden: steps.length - chosen.length };
}

export class ProgressBars implements Progress {
  readonly #steps = new Map<string, Step>();
  readonly #started = performance.now();
  #drawn = 0;
  #lastDraw = -Infinity;
  #finished = false;

  readonly report = (event: ProgressEvent): void => {
    this.#steps.set(event.id, mergeStep(this.#steps.get(event.id), event));
    if (performance.now() - this.#lastDraw >= REDRAW_MS) this.#draw();
  };

  finish(): void {
    if (this.#finished || this.#steps.size === 0) return;
    this.#finished = true;
    this.#draw();
  }

  [Symbol.dispose](): void {
    this.finish();
  }

  #draw(): void {
    this.#lastDraw = performance.now();
    const width = terminalWidth(2);
    const lines = this.#lines(Math.max(2, terminalHeight(2)) - 1);
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    // What an earlier, longer drawing left below goes too.
    const text = lines.map((line) => `\x1b[2K${line.slice(0, width - 1)}\n`).join("");
    const rest = this.#drawn > lines.length ? "\x1b[J" : "";
    this.#drawn = lines.length;
    writeAll(2, new TextEncoder().encode(up + text + rest));
  }

  /** At most `height` of them, the total last. */
  #lines(height: number): string[] {
    const all = [...this.#steps].map(([id, step]) => ({ id, step }));
    const { shown, hidden } = visibleSteps(all, height - 1);
    const lines = shown.map(({ id, step }) => stepLine(id, step));
    if (hidden > 0 && height > 2) {
      const over = all.filter(({ step }) => isOver(step)).length;
      lines.push(`… ${hidden} more, ${over} of ${all.length} done`);
    }
    return [...lines, this.#totalLine()];
  }

  #totalLine(): string {
    let [current, total] = [0, 0];
    for (const step of this.#steps.values()) {
      const size = step.total ?? step.current;
      total += size;
      current += isOver(step) ? size : step.current;
    }
    const seconds = (performance.now() - this.#started) / 1000;
    const rate = seconds > 0 ? current / seconds : 0;
    const rest = current >= total ? `in ${clock(seconds)}` : `${clock((total - current) / rate)} to go`;
    return `total         ${humanSize(current)}/${humanSize(total)}  ${humanSize(Math.round(rate))}/s  ${rest}`;
  }
}
