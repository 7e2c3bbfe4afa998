/**
 * Progress on stderr, in the form `--progress` asks for: on a terminal bars that are drawn again and again, as "plain" a line a
 * change, as "json" an object a line for other programs. "auto" is bars on a terminal and nothing elsewhere, because nobody watches.
 */
import type { ProgressEvent } from "../core/ctx.ts";
import type { FlagTable } from "./flags.ts";
import { isTerminal } from "./terminal.ts";

export interface Progress extends Disposable {
  /** Bound: it travels as `ctx.progress`. */
  readonly report: (event: ProgressEvent) => void;
  /** Tells the last state; with bars, leaves it standing. */
  finish(): void;
}

const MODES = ["auto", "plain", "json", "tty"] as const;

/** For every command that moves images; goes into {@link createProgress} as `mode`. */
export const progressFlag = {
  progress: {
    type: "string",
    value: "MODE",
    default: "auto",
    choices: MODES,
    help: "How to show progress: auto, plain, json, tty",
  },
} as const satisfies FlagTable;

/** What is known of one step: the last report, completed by those before it. */
export interface Step {
  status: ProgressEvent["status"];
  current: number;
  total: number | undefined;
}

export const WORDS: Record<ProgressEvent["status"], string> = {
  waiting: "waiting",
  downloading: "downloading",
  extracting: "extracting",
  uploading: "uploading",
  done: "done",
  exists: "already here",
};

/** "sha256:0123456789abcdef…" as people see it: "0123456789ab". */
export function stepName(id: string): string {
  return id.replace(/^sha(256|512):/, "").slice(0, 12);
}

export function mergeStep(old: Step | undefined, event: ProgressEvent): Step {
  return {
    status: event.status,
    current: event.current ?? old?.current ?? 0,
    total: event.total ?? old?.total,
  };
}

const silent: Progress = { report: () => {}, finish: () => {}, [Symbol.dispose]: () => {} };

/** `mode`: the value of {@link progressFlag}; `quiet` wins over it. */
export function createProgress(options: { quiet: boolean; mode?: string }): Progress {
  const mode = options.mode ?? "auto";
  if (options.quiet || (mode === "auto" && !isTerminal(2))) return silent;
  if (mode === "plain" || mode === "json") {
    const { ProgressLines } = require("./progress-lines.ts") as typeof import("./progress-lines.ts");
    return new ProgressLines(mode);
  }
  const { ProgressBars } = require("./progress-bars.ts") as typeof import("./progress-bars.ts");
  return new ProgressBars();
}
