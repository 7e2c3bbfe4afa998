/**
 * Progress on stderr: on a terminal one bar per layer and a line with total, rate and time to go,
 * redrawn at most every 80 ms; elsewhere nothing, because nobody watches.
 */
import type { ProgressEvent } from "../core/ctx.ts";
import { writeAll } from "./output.ts";
import { isTerminal, terminalWidth } from "./terminal.ts";
import { humanSize } from "./units.ts";

const REDRAW_MS = 80;
const BAR = 24;

export interface Progress extends Disposable {
  /** Bound: it travels as `ctx.progress`. */
  readonly report: (event: ProgressEvent) => void;
  /** Draws the last state and leaves it standing. */
  finish(): void;
}

interface Step {
  status: ProgressEvent["status"];
  current: number;
  total: number | undefined;
}

const WORDS: Record<ProgressEvent["status"], string> = {
  waiting: "waiting",
  downloading: "downloading",
  extracting: "extracting",
  uploading: "uploading",
  done: "done",
  exists: "already here",
};

function isOver(step: Step): boolean {
  return step.status === "done" || step.status === "exists";
}

export function progressBar(current: number, total: number, width: number): string {
  const filled = total <= 0 ? width : Math.min(width, Math.floor((current / total) * width));
  const head = filled < width ? ">" : "";
  return `[${"=".repeat(filled)}${head}${" ".repeat(Math.max(0, width - filled - head.length))}]`;
}

function stepLine(id: string, step: Step): string {
  const name = id
    .replace(/^sha256:/, "")
    .slice(0, 12)
    .padEnd(12);
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

class Bars implements Progress {
  readonly #steps = new Map<string, Step>();
  readonly #started = performance.now();
  #drawn = 0;
  #lastDraw = -Infinity;
  #finished = false;

  readonly report = (event: ProgressEvent): void => {
    const old = this.#steps.get(event.id);
    this.#steps.set(event.id, {
      status: event.status,
      current: event.current ?? old?.current ?? 0,
      total: event.total ?? old?.total,
    });
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
    const lines = [...this.#steps].map(([id, step]) => stepLine(id, step));
    lines.push(this.#totalLine());
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    const text = lines.map((line) => `\x1b[2K${line.slice(0, width - 1)}\n`).join("");
    this.#drawn = lines.length;
    writeAll(2, new TextEncoder().encode(up + text));
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

const silent: Progress = { report: () => {}, finish: () => {}, [Symbol.dispose]: () => {} };

export function createProgress(options: { quiet: boolean }): Progress {
  return options.quiet || !isTerminal(2) ? silent : new Bars();
}
