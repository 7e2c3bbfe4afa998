/**
 * What a command of the command line is: flags, arguments and a body. One file per command in
 * `commands/`; `command-table.ts` names them and loads them when they are called.
 *
 * Vocabulary: a *command* is a leaf ("run", "image prune"); a *group* only holds others ("image").
 * The *invocation* is one call of a command with its flags parsed. A body prints what a script wants
 * on `out`, all talk on `out.error`, and returns the exit code (nothing means 0); it throws EngineError for the rest.
 *
 * Worked example: `berth rm -f web` → entry "rm" → `commands/rm.ts` → flags {force: true}, args
 * ["web"] → engine/remove → "web\n" on stdout → 0.
 */
import type { Ctx } from "../core/ctx.ts";
import type { Engine, OpenOptions } from "../engine/engine.ts";
import type { FlagTable, FlagValues } from "./flags.ts";
import type { Output } from "./output.ts";
import type { Personality } from "./personality.ts";

export interface Invocation<T extends FlagTable = FlagTable> {
  readonly ctx: Ctx;
  readonly flags: FlagValues<T>;
  readonly args: string[];
  /** Names of the flags that were given, in whatever form. */
  readonly changed: ReadonlySet<string>;
  readonly out: Output;
  readonly personality: Personality;
  /** "image prune": the words that led here, without the program. */
  readonly path: string;
  /** What the global flags and the environment say of the engine; for verbs that need no store. */
  options(): OpenOptions;
  /** Opens the store on first use; closed when the command is over. */
  engine(): Promise<Engine>;
  /** From now on Ctrl-C and friends are not ours: an attached container gets them. */
  releaseSignals(): void;
}

/** What may stand where the arguments stand, for completion. */
export type Completes =
  | "containers"
  | "running"
  | "images"
  | "networks"
  | "objects"
  | "files"
  | "commands"
  | "none";

export interface Command<T extends FlagTable = FlagTable> {
  /** What follows the command's name: "[options] CONTAINER [CONTAINER...]". */
  usage: string;
  description: string;
  examples?: string[];
  flags: T;
  /** Bounds on the number of arguments; `max` absent means any number. */
  args: { min: number; max?: number };
  /** False where flags stop at the first argument, because the rest is somebody else's argv. */
  interspersed?: boolean;
  /** Only reads, and is over before anybody could lose patience: needs no handling of signals. */
  quick?: boolean;
  /** What completes the first argument, and the ones after it (default: the same). */
  completes?: { first: Completes | readonly string[]; rest?: Completes };
  run(invocation: Invocation<T>): Promise<number | void> | number | void;
}

/** A command whose flag table is not known by type: how the table and the help see it. */
export type AnyCommand = Command;

/** Keeps the flag table's exact type, so that `flags.force` is a boolean in the body. */
export function defineCommand<const T extends FlagTable>(command: Command<T>): AnyCommand {
  return command as unknown as AnyCommand;
}
