/**
 * Standing between a person's terminal and a container: input to the monitor's attach socket, output from it, window
 * sizes to its control fifo, signals to a callback.
 *
 * The pump blocks this thread in ppoll(2) between turns, because it serves one terminal and nobody else; servers use
 * `attach-stream.ts`. Each turn gives the JS loop a chance, so that signal handlers and timers run. The terminal is put
 * back into its former mode however the pump ends, also when a signal ends the process.
 *
 * Worked example: `create` → `using stream = openAttach(…)` → runtime `start` → `await stream.pump()`.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { EAGAIN, EINTR, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, signalNumber } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { tryCall } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";
import type { Fd, PollEntry } from "../sys/sys.ts";
import { isBroken, OutputPump, Sink } from "./attach-output.ts";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";
import { type ExitRequest, type ExitStatus, ExitWatch } from "./exit.ts";
import { nextTurn, waitReady } from "./wait-ready.ts";

export interface AttachIo {
  /** Pass our stdin on. Without it the container sees neither input nor its end. */
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** The container has a terminal. */
  terminal: boolean;
  /** "ctrl-p,ctrl-q"; "" switches detaching off. Looked for only with a terminal. */
  detachKeys: string;
  /** Pass signals that we get on to the container. */
  sigProxy: boolean;
  /** Overrides `stdin` (`attach --no-stdin`). */
  noStdin?: boolean;
}

export interface AttachRequest {
  /** Path of the monitor's attach socket. */
  socket: string;
  controlFifo: string;
  io: AttachIo;
  /** Gets the number of each signal that came, with `io.sigProxy`. */
  onSignal?: (signal: number) => void;
  /**
   * Ends the pump when the container has ended, with all output written. Needed where the monitor has an exit delay:
   * its side of the socket stays open meanwhile. Without it, the pump ends when the monitor closes.
   */
  exit?: ExitRequest;
}

export type AttachEnd = "ended" | "detached";

/** conmon reads at most this much of a packet. */
const LARGEST_INPUT = 8192;

const PROXIED = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGTERM",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGCONT",
] as const;

/** Connects; whoever connects before `start` misses nothing. Errors: not-found when the monitor has gone, invalid-argument. */
export function openAttach(ctx: Ctx, request: AttachRequest): AttachStream {
  return new AttachStream(ctx, request);
}

export class AttachStream implements Disposable {
  readonly #ctx: Ctx;
  readonly #request: AttachRequest;
  readonly #resources = new DisposableStack();
  readonly #socket: Fd;
  readonly #scanner: DetachScanner;
  readonly #input = new Uint8Array(LARGEST_INPUT);
  /** Input that the socket would not take yet. */
  #pending: Uint8Array | undefined;
  #stdinOpen: boolean;
  #output: OutputPump | undefined;
  #exit: ExitWatch | undefined;
  #status: ExitStatus | undefined;

  constructor(ctx: Ctx, request: AttachRequest) {
    const { io } = request;
    this.#ctx = ctx;
    this.#request = request;
    this.#stdinOpen = io.stdin && io.noStdin !== true;
    const keys = parseDetachKeys(io.detachKeys);
    this.#scanner = new DetachScanner(io.terminal ? keys : new Uint8Array());
    this.#socket = this.#resources.adopt(connectAttach(request.socket), linux.close);
    linux.setNonBlocking(this.#socket);
    // Before the command runs, so that it never sees a window of no size.
    if (io.terminal) this.#resize();
  }

  /**
   * Passes bytes until the container's output ends ("ended") or the detach keys come ("detached"; also when nobody reads
   * our stdout any more). Closes the stream. Errors: canceled.
   */
  async pump(): Promise<AttachEnd> {
    using _resources = this.#resources;
    const { io } = this.#request;
    this.#output = new OutputPump(this.#socket, {
      stdout: io.stdout ? this.#resources.use(new Sink(1)) : undefined,
      stderr: io.stderr ? this.#resources.use(new Sink(2)) : undefined,
    });
    if (this.#request.exit !== undefined) {
      this.#exit = this.#resources.use(new ExitWatch(this.#request.exit));
    }
    this.#resources.use(listenToSignals(this.#request, this.#takeTerminal()));
    for (let exited = false; ;) {
      // First the exit, then the output: all output is in the socket before the exit file is there.
      exited ||= this.#exitDue && this.#exit?.check() !== undefined;
      const state = this.#output.turn();
      if (state === "broken") return "detached";
      if (state === "ended" || (exited && !this.#output.blocked)) return "ended";
      if (this.#sendPending() && this.#inputReady && this.#readInput() === "detached") return "detached";
      await this.#wait(exited);
      checkCanceled(this.#ctx);
    }
  }

  /** How the container ended, if that is what ended the pump and `exit` was given. Somebody may have removed the exit file since. */
  get status(): ExitStatus | undefined {
    return this.#status;
  }

  /** Lets go; idempotent. Called by `pump` itself. */
  close(): void {
    this.#resources.dispose();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #inputReady = false;
  /** Looking at the exit costs more than a packet, so it is done only when something says so. */
  #exitDue = true;

  /** Blocks until something can be done, then lets the JS loop have its turn. */
  async #wait(exited: boolean): Promise<void> {
    const waitsToSend = this.#pending !== undefined;
    const entries: PollEntry[] = [
      (this.#output as OutputPump).entry(waitsToSend ? POLLIN | POLLOUT : POLLIN),
      ...((exited ? undefined : this.#exit?.entries()) ?? []),
    ];
    const readsInput = this.#stdinOpen && !waitsToSend;
    if (readsInput) entries.push({ fd: 0, events: POLLIN });
    const ready = await waitReady(entries, { blocking: true, signal: this.#ctx.signal });
    const events = ready.at(-1) ?? 0;
    this.#exitDue = ready.slice(1, entries.length - (readsInput ? 1 : 0)).some((one) => one !== 0);
    if (readsInput && (events & POLLNVAL) !== 0) this.#stdinOpen = false;
    this.#inputReady = readsInput && (events & (POLLIN | POLLHUP | POLLERR)) !== 0;
    await nextTurn();
  }

  #readInput(): "more" | "detached" {
    const length = tryCall("read", 0, this.#input, this.#input.length);
    if (length === -EAGAIN || length === -EINTR) return "more";
    if (length <= 0) {
      this.#send(this.#scanner.rest());
      this.#endInput();
      return "more";
    }
    const { pass, detached } = this.#scanner.push(this.#input.subarray(0, length));
    this.#send(pass);
    return detached ? "detached" : "more";
  }

  #endInput(): void {
    this.#stdinOpen = false;
    try {
      if (this.#pending === undefined) linux.shutdown(this.#socket, "write");
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
  }

  #send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    try {
      if (linux.send(this.#socket, bytes) === undefined) this.#pending = bytes.slice();
    } catch (error) {
      // The container has closed its stdin or ended; its output may still come.
      if (!isBroken(error)) throw error;
      this.#stdinOpen = false;
    }
  }

  /** True when nothing waits to be sent any more. */
  #sendPending(): boolean {
    const bytes = this.#pending;
    if (bytes === undefined) return true;
    this.#pending = undefined;
    this.#send(bytes);
    if (this.#pending !== undefined) return false;
    if (!this.#stdinOpen) this.#endInput();
    return true;
  }

  /** Raw mode and window size; returns what a new window size is told with and what puts the terminal back. */
  #takeTerminal(): Terminal {
    if (!this.#request.io.terminal) return { resize: () => {}, restore: () => {} };
    const restore = this.#stdinOpen && linux.isTty(0) ? linux.rawMode(0) : () => {};
    this.#resources.defer(restore);
    this.#resize();
    return { resize: () => this.#resize(), restore };
  }

  #resize(): void {
    const size = linux.windowSize(0) ?? linux.windowSize(1);
    if (size !== undefined) writeWindowSize(this.#request.controlFifo, size);
  }
}

interface Terminal {
  resize: () => void;
  restore: () => void;
}

/** A connection to the monitor; whoever connects before `start` misses nothing. Errors: not-found when it has gone. */
export function connectAttach(path: string): Fd {
  try {
    return linux.connectSeqpacket(path);
  } catch (error) {
    if (!hasCode(error, "ENOENT", "ECONNREFUSED", "ENOTDIR")) throw error;
    throw fail("not-found", `nobody serves the attach socket "${path}"`, {
      reason: "no-attach-socket",
      hint: "the container has ended, or its monitor was killed",
      cause: error,
    });
  }
}

/** Tells the container's terminal its size. Silently nothing when the monitor has gone. */
export function writeWindowSize(controlFifo: string, size: { rows: number; columns: number }): void {
  let fd: Fd;
  try {
    fd = openSync(controlFifo, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENXIO")) return;
    throw error;
  }
  try {
    writeSync(fd, `1 ${size.rows} ${size.columns}\n`);
  } finally {
    closeSync(fd);
  }
}

/** Handlers for as long as the result is not disposed of. */
function listenToSignals(request: AttachRequest, terminal: Terminal): Disposable {
  const listeners = new Map<NodeJS.Signals, () => void>();
  if (request.io.terminal) listeners.set("SIGWINCH", terminal.resize);
  for (const name of PROXIED) {
    const deadly = name !== "SIGCONT";
    if (request.io.sigProxy && request.onSignal !== undefined) {
      const { onSignal } = request;
      listeners.set(name, () => onSignal(signalNumber(name)));
    } else if (request.io.terminal && deadly) {
      // Nobody else restores the terminal of a process that a signal ends.
      listeners.set(name, () => {
        terminal.restore();
        process.removeListener(name, listeners.get(name) as () => void);
        process.kill(process.pid, name);
      });
    }
  }
  for (const [name, listener] of listeners) process.on(name, listener);
  process.on("exit", terminal.restore);
  return {
    [Symbol.dispose]: () => {
      for (const [name, listener] of listeners) process.removeListener(name, listener);
      process.removeListener("exit", terminal.restore);
    },
  };
}
