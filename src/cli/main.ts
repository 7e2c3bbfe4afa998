/** The program: finds the command, parses its flags, runs it, and turns errors into words and exit codes. */
import { createCtx, type Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import { createLog, type Log } from "../core/log.ts";
import type { Engine } from "../engine/engine.ts";
import type { AnyCommand, Invocation } from "./command.ts";
import { commandTable, type EntryTable, findEntry } from "./command-table.ts";
import { exitCodeOf, printError } from "./errors.ts";
import { parseFlags, type ParsedFlags } from "./flags.ts";
import {
  globalFlags,
  globalFlagsWithoutLetters,
  type GlobalValues,
  logLevel,
  openOptions,
} from "./global-flags.ts";
import { BrokenPipe, createOutput } from "./output.ts";
import { personalityOf } from "./personality.ts";
import { abortOnSignals, type Signals } from "./signals.ts";
import { suggestion } from "./suggest.ts";

/** As a program that SIGPIPE ended. */
const PIPE_EXIT = 141;

/** One run of the program: what is known so far about the call, for messages and for cleaning up. */
class Program {
  readonly out = createOutput();
  readonly personality = personalityOf(process.argv0);
  readonly #argv: string[];
  #path: string[] = [];
  #command: AnyCommand | undefined;
  #globals: GlobalValues | undefined;
  #engine: Engine | undefined;
  #signals: Signals | undefined;

  constructor(argv: string[]) {
    this.#argv = argv;
  }

  async run(): Promise<number> {
    try {
      const code = await this.#dispatch();
      await this.out.end();
      return code;
    } catch (error) {
      return error instanceof BrokenPipe ? PIPE_EXIT : this.#failed(error);
    } finally {
      await this.#settleOrphans();
      this.#engine?.close();
    }
  }

  /** The answer is out; what was seen to be left over goes now. */
  async #settleOrphans(): Promise<void> {
    const engine = this.#engine;
    if (engine === undefined || engine.orphans.size === 0) return;
    const { settleOrphans } = await import("../engine/cleanup.ts");
    await settleOrphans(createCtx({ log: this.#log(this.#globals as GlobalValues) }), engine);
  }

  #failed(error: unknown): number {
    // Who pressed Ctrl-C need not be told.
    const signal = this.#signals?.received();
    if (signal !== undefined && isKind(error, "canceled")) return 128 + signal;
    const path = this.#path.join(" ");
    const { out, personality } = this;
    const trace = this.#globals?.trace === true || process.env["BERTH_TRACE"] === "1";
    const usage = this.#command?.usage;
    const code = exitCodeOf(error, path, personality);
    if (code !== 0)
      printError(error, { out, personality, path, trace, ...(usage === undefined ? {} : { usage }) });
    out.flush();
    return code;
  }

  async #dispatch(): Promise<number> {
    if (!this.personality.finished) {
      const { name } = this.personality;
      throw fail("unimplemented", `berth does not speak as "${name}" yet`, {
        hint: "call it as berth, docker, podman or skopeo",
      });
    }
    const { table, argv } = await this.#spoken();
    const parsed = parseFlags(globalFlags, argv, { interspersed: false });
    this.#globals = parsed.values as GlobalValues;
    if (this.#globals.version) return this.#version();
    const [word, ...rest] = parsed.args;
    if (word === undefined) return this.#help(table);
    if (word === "help") return rest.length === 0 ? this.#help(table) : this.#enter(table, rest, true);
    return this.#enter(table, parsed.args, parsed.help);
  }

  /** The commands and the arguments, as the program is called. */
  async #spoken(): Promise<{ table: EntryTable; argv: string[] }> {
    if (this.personality.name !== "skopeo") return { table: commandTable, argv: this.#argv };
    const { skopeoArgv, skopeoTable } = await import("./skopeo.ts");
    return { table: skopeoTable, argv: skopeoArgv(this.#argv) };
  }

  async #version(): Promise<number> {
    const { versionFacts } = await import("../engine/version.ts");
    const { version, gitCommit } = versionFacts();
    const { docker, name } = this.personality;
    this.out.line(docker ? `Docker version ${version}, build ${gitCommit}` : `${name} version ${version}`);
    return 0;
  }

  async #help(table: EntryTable): Promise<number> {
    const { groupHelp } = await import("./help.ts");
    this.out.write(groupHelp(this.personality.name, this.#path, table));
    return 0;
  }

  /** Walks from the table to a command; `help` asks for words about it instead of running it. */
  async #enter(table: EntryTable, argv: string[], help: boolean): Promise<number> {
    const [word, ...rest] = argv;
    if (word === undefined || word === "--help" || word === "-h") return this.#help(table);
    const found = findEntry(table, word);
    if (found === undefined) throw this.#unknownCommand(table, word);
    this.#path.push(found.name);
    if (found.entry.commands !== undefined) return this.#enter(found.entry.commands, rest, help);
    const command = await (found.entry.load as () => Promise<AnyCommand>)();
    this.#command = command;
    return this.#call(command, rest, help);
  }

  #unknownCommand(table: EntryTable, word: string): Error {
    const { name } = this.personality;
    const names = Object.entries(table).flatMap(([key, entry]) => (entry.hidden === true ? [] : [key]));
    const near = suggestion(word, names);
    const called = [name, ...this.#path, word].join(" ");
    const see = `try '${[name, ...this.#path].join(" ")} --help'`;
    const guess = near === undefined ? undefined : `did you mean "${near}"?`;
    // docker's error ends with the same advice anyway.
    const hint = this.personality.docker
      ? guess
      : [guess, see].filter((part) => part !== undefined).join(" ");
    const message = this.personality.docker
      ? `unknown command: ${called}`
      : `unrecognized command \`${called}\``;
    return fail("invalid-argument", message, {
      reason: "unknown-command",
      ...(hint === undefined ? {} : { hint }),
    });
  }

  async #call(command: AnyCommand, argv: string[], help: boolean): Promise<number> {
    const table = { ...globalFlagsWithoutLetters(), ...command.flags };
    const parsed = help
      ? undefined
      : parseFlags(table, argv, { interspersed: command.interspersed !== false });
    if (parsed === undefined || parsed.help) {
      const { commandHelp } = await import("./help.ts");
      this.out.write(commandHelp(this.personality.name, this.#path, command));
      return 0;
    }
    this.#adoptGlobals(command, parsed);
    for (const warning of parsed.warnings) this.out.error(warning);
    checkArguments(command, parsed.args);
    return (await command.run(this.#invocation(command, parsed))) ?? 0;
  }

  /** Global flags that stood among the command's own. */
  #adoptGlobals(command: AnyCommand, parsed: ParsedFlags): void {
    for (const name of parsed.changed) {
      if (Object.hasOwn(globalFlags, name) && !Object.hasOwn(command.flags, name)) {
        (this.#globals as Record<string, unknown>)[name] = parsed.values[name];
      }
    }
  }

  #invocation(command: AnyCommand, parsed: ParsedFlags): Invocation {
    const abort = new AbortController();
    this.#signals = command.quick === true ? undefined : abortOnSignals(abort);
    const globals = this.#globals as GlobalValues;
    const ctx = createCtx({ signal: abort.signal, log: this.#log(globals) });
    return {
      ctx,
      flags: parsed.values as Invocation["flags"],
      args: parsed.args,
      changed: parsed.changed,
      out: this.out,
      personality: this.personality,
      path: this.#path.join(" "),
      options: () => openOptions(globals),
      engine: () => this.#open(ctx, globals),
      releaseSignals: () => this.#signals?.release(),
    };
  }

  #log(globals: GlobalValues): Log {
    const areas = process.env["BERTH_DEBUG"];
    return createLog({
      level: logLevel(globals),
      trace: globals.trace || process.env["BERTH_TRACE"] === "1",
      write: (line) => this.out.errorBytes(new TextEncoder().encode(line)),
      ...(areas === undefined ? {} : { debugAreas: new Set(areas.split(",")) }),
    });
  }

  async #open(ctx: Ctx, globals: GlobalValues): Promise<Engine> {
    if (this.#engine === undefined) {
      const [{ openEngine }, { needsRecovery }] = await Promise.all([
        import("../engine/open.ts"),
        import("../engine/needs-recovery.ts"),
      ]);
      this.#engine = openEngine(ctx, openOptions(globals));
      if (needsRecovery(this.#engine))
        await (await import("../engine/recover.ts")).recover(ctx, this.#engine);
    }
    return this.#engine;
  }
}

function checkArguments(command: AnyCommand, args: string[]): void {
  const { min, max } = command.args;
  if (args.length < min) {
    throw fail("invalid-argument", `requires at least ${min} arg(s), only received ${args.length}`, {
      reason: "arguments",
    });
  }
  if (max === 0 && args.length > 0) {
    throw fail("invalid-argument", `"${args[0]}" was given, but no arguments are taken`, {
      reason: "arguments",
    });
  }
  if (max !== undefined && args.length > max) {
    throw fail("invalid-argument", `accepts at most ${max} arg(s), received ${args.length}`, {
      reason: "arguments",
    });
  }
}

/** Verbs for our own children, before anything else is looked at. */
async function hiddenVerb(verb: string | undefined): Promise<boolean> {
  if (verb !== "__unpack") return false;
  Bun.unsafe.setJITPolicy(1);
  const { runUnpackChild } = await import("../storage/unpack-child.ts");
  await runUnpackChild();
  return true;
}

/**
 * The binary starts with a compiler that is slow to act (`--compile-jit-policy` in scripts/build.sh): most commands end before compiled
 * code would have paid. One that lives longer than this many milliseconds gets the usual one.
 */
const LONG_LIFE_MS = 150;

if (import.meta.main) {
  setTimeout(() => Bun.unsafe.setJITPolicy(1), LONG_LIFE_MS).unref();
  const argv = process.argv.slice(2);
  // process.exit rather than the end of the event loop: nothing that still waits may hold the shell.
  if (!(await hiddenVerb(argv[0]))) process.exit(await new Program(argv).run());
}
