/**
 * From the monitor's attach socket to our own descriptors. Each packet is one byte (2 stdout, 3 stderr) and at most 8 KiB
 * of data; packets are gathered into one buffer, so that a flood costs one write for many of them.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { EAGAIN, EINTR, POLLOUT } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { tryCall } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";
import type { Fd, PollEntry } from "../sys/sys.ts";

const LARGEST_PACKET = 8192;
const BUFFER = 256 * 1024;
const STDERR = 3;
const EPIPE = 32;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** A pipe that polls as writable takes this much without blocking (PIPE_BUF). */
const SAFE_WRITE = 4096;

/** One of our own descriptors, written without ever blocking this thread for long. */
export class Sink implements Disposable {
  /** What to poll for POLLOUT. */
  readonly fd: Fd;
  readonly #own: boolean;
  readonly #kind: "file" | "socket" | "reopened" | "blocking";

  constructor(fd: Fd) {
    const stat = fstatSync(fd);
    const reopened = stat.isFIFO() || stat.isCharacterDevice() ? reopen(fd) : undefined;
    this.#own = reopened !== undefined;
    this.fd = reopened ?? fd;
    if (reopened !== undefined) this.#kind = "reopened";
    else if (stat.isSocket()) this.#kind = "socket";
    else this.#kind = stat.isFile() ? "file" : "blocking";
  }

  /** Bytes written, which may be 0 when it is full; undefined when nobody reads any more. */
  write(bytes: Uint8Array): number | undefined {
    const blocking = this.#kind === "blocking";
    if (blocking && (linux.poll([{ fd: this.fd, events: POLLOUT }], 0)[0] ?? 0) === 0) return 0;
    const part = blocking ? bytes.subarray(0, SAFE_WRITE) : bytes;
    const result =
      this.#kind === "socket"
        ? tryCall("sendto", this.fd, part, part.length, MSG_DONTWAIT | MSG_NOSIGNAL)
        : tryCall("write", this.fd, part, part.length);
    if (result >= 0) return result;
    return result === -EAGAIN || result === -EINTR ? 0 : undefined;
  }

  [Symbol.dispose](): void {
    if (this.#own) closeSync(this.fd);
  }
}

/**
 * The same pipe or terminal, non-blocking only for us: the flag belongs to the open file, which we share with whoever
 * started us and must not change.
 */
function reopen(fd: Fd): Fd | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (hasCode(error, "EACCES", "ENXIO", "EPERM", "ENOENT")) return undefined;
    throw error;
  }
}

/** A run of bytes of the buffer that goes to one sink. */
interface Segment {
  sink: Sink;
  start: number;
  end: number;
}

export type OutputState = "open" | "ended" | "broken";

/** Moves packets from the socket to the sinks. A stream without a sink is dropped. */
export class OutputPump {
  readonly #socket: Fd;
  readonly #sinks: { stdout: Sink | undefined; stderr: Sink | undefined };
  // One byte in front, where the type of the first packet lands.
  readonly #buffer = new Uint8Array(1 + BUFFER);
  #segments: Segment[] = [];
  #end = 1;
  #eof = false;

  constructor(socket: Fd, sinks: { stdout: Sink | undefined; stderr: Sink | undefined }) {
    this.#socket = socket;
    this.#sinks = sinks;
  }

  /**
   * Receives and writes what goes without waiting. "ended": the monitor has closed and all is written; "broken": our reader
   * has gone away.
   */
  turn(): OutputState {
    for (;;) {
      // What was blocked goes first, and the socket is then read in this same turn: to a caller who knows that the container has
      // ended, "open" with nothing blocked means that this was all.
      const more = this.#segments.length > 0 || this.#receive();
      const state = this.#write();
      if (state !== "written") return state === "broken" ? "broken" : "open";
      if (this.#eof) return "ended";
      if (!more) return "open";
    }
  }

  /** What to wait for before the next turn. */
  entry(socketEvents: number): PollEntry {
    const [blocked] = this.#segments;
    if (blocked !== undefined) return { fd: blocked.sink.fd, events: POLLOUT };
    return { fd: this.#socket, events: socketEvents };
  }

  /** True while bytes wait for a reader of ours. */
  get blocked(): boolean {
    return this.#segments.length > 0;
  }

  /** Fills the buffer; false when the socket had no more than that for now. */
  #receive(): boolean {
    while (this.#end + LARGEST_PACKET <= this.#buffer.length) {
      // Each packet is received over the last byte of the one before, which is put back: so the data of all lie end to end.
      const at = this.#end - 1;
      const covered = this.#buffer[at] as number;
      const length = this.#packet(this.#buffer.subarray(at, at + 1 + LARGEST_PACKET));
      const type = this.#buffer[at];
      this.#buffer[at] = covered;
      if (length === undefined) return false;
      if (length === 0) {
        this.#eof = true;
        return false;
      }
      this.#append(type === STDERR ? this.#sinks.stderr : this.#sinks.stdout, length - 1);
    }
    return true;
  }

  #packet(into: Uint8Array): number | undefined {
    try {
      return linux.receive(this.#socket, into);
    } catch (error) {
      // Said once, when the monitor goes without having read all our input; what it sent is still to be had.
      if (!hasCode(error, "ECONNRESET")) throw error;
      return linux.receive(this.#socket, into);
    }
  }

  #append(sink: Sink | undefined, length: number): void {
    if (sink === undefined || length === 0) return;
    const last = this.#segments.at(-1);
    if (last !== undefined && last.sink === sink) last.end += length;
    else this.#segments.push({ sink, start: this.#end, end: this.#end + length });
    this.#end += length;
  }

  #write(): "written" | "blocked" | "broken" {
    for (const segment of this.#segments) {
      while (segment.start < segment.end) {
        const written = segment.sink.write(this.#buffer.subarray(segment.start, segment.end));
        if (written === undefined) return "broken";
        segment.start += written;
        if (written === 0) {
          this.#segments = this.#segments.filter((s) => s.start < s.end);
          return "blocked";
        }
      }
    }
    this.#segments = [];
    this.#end = 1;
    return "written";
  }
}

/** EPIPE on the way to a monitor that has gone. */
export function isBroken(error: unknown): boolean {
  return hasCode(error, "EPIPE", "ECONNRESET", "ENOTCONN") || (error as { errno?: unknown }).errno === EPIPE;
}
