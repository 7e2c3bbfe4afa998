/**
 * Reading a container's log file: its last lines, a span of time, and what is still to come. Writing is the monitor's.
 *
 * The monitor rotates by renaming a new file over the old one (`logMaxSize`); a reader that follows finishes the old file
 * and goes on with the new one. `json-file` is kept in the same format, see runtime.ts.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { IN_CREATE, IN_DELETE, IN_MODIFY, IN_MOVE_SELF, IN_MOVED_TO, POLLIN } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import type { Fd } from "../sys/sys.ts";
import { endsLine, LineJoiner, type LogLine, parseRecord } from "./log-line.ts";
import { waitReady } from "./wait-ready.ts";

export interface LogQuery {
  path: string;
  /** Only the last lines, counted before `sinceMs` and `untilMs` choose among them. */
  tail?: number;
  /** Epoch milliseconds; the line must not be older. */
  sinceMs?: number;
  /** Epoch milliseconds; the line must not be younger. */
  untilMs?: number;
}

export interface FollowQuery extends LogQuery {
  /** True when no more will be written: the container has ended. Asked before each look at the file, so it may be slow-ish. */
  ended: () => boolean;
  /** The directory where the exit file will appear; the reader wakes up by it. */
  exitDir: string;
  /** The wait may block this thread; see wait-ready.ts. Default false. */
  blocking?: boolean;
}

const NEWLINE = 0x0a;
const CHUNK = 256 * 1024;
/** A record is at most 8 KiB of text and its head; more without a newline is damage. */
const LONGEST_RECORD = 64 * 1024;

/** An open log file and how far it has been read. */
class LogReader implements Disposable {
  readonly fd: Fd;
  readonly inode: bigint;
  #offset: number;
  #carry: Uint8Array = new Uint8Array();

  constructor(fd: Fd, offset: number) {
    this.fd = fd;
    this.inode = fstatSync(fd, { bigint: true }).ino;
    this.#offset = offset;
  }

  /** Complete records (without newlines) from where the last call ended to the present end of the file. */
  *records(): Generator<Uint8Array> {
    // A file that was cut short is read from its beginning.
    if (fstatSync(this.fd).size < this.#offset) {
      this.#offset = 0;
      this.#carry = new Uint8Array();
    }
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const length = readSync(this.fd, chunk, 0, CHUNK, this.#offset);
      if (length === 0) return;
      this.#offset += length;
      yield* this.#split(chunk.subarray(0, length));
    }
  }

  *#split(chunk: Buffer): Generator<Uint8Array> {
    let bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      yield bytes.subarray(0, end);
      bytes = bytes.subarray(end + 1);
    }
    this.#carry = bytes.length > LONGEST_RECORD ? new Uint8Array() : bytes;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** Undefined if there is no such file (the container has never run, or its driver is `none`). */
function openLog(path: string, tail?: number): LogReader | undefined {
  let fd: Fd;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    return new LogReader(fd, tail === undefined ? 0 : tailOffset(fd, tail));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Where the last `count` lines begin; a line goes on until a record with tag F, or to the end of the file. */
function tailOffset(fd: Fd, count: number): number {
  const { size } = fstatSync(fd);
  if (count === 0) return size;
  const state = { lines: 0, start: size };
  // `rest` holds the beginning of a record whose start lies in the chunk before.
  let rest: Uint8Array = new Uint8Array();
  for (let at = size; at > 0;) {
    const length = Math.min(CHUNK, at);
    at -= length;
    const chunk = Buffer.allocUnsafe(length);
    readSync(fd, chunk, 0, length, at);
    const bytes = rest.length === 0 ? chunk : Buffer.concat([chunk, rest]);
    let end = bytes.length;
    for (;;) {
      const newline = end === 0 ? -1 : bytes.lastIndexOf(NEWLINE, end - 1);
      const isTerminator = newline === end - 1 && end === bytes.length && at + bytes.length === size;
      if (newline < 0) break;
      if (!isTerminator && enough(state, bytes.subarray(newline + 1, end), count)) return state.start;
      if (!isTerminator) state.start = at + newline + 1;
      end = newline;
    }
    rest = bytes.subarray(0, end);
  }
  return enough(state, rest, count) ? state.start : 0;
}

/** Counts the record (met going backwards); true if it belongs to one line too many. */
function enough(state: { lines: number }, record: Uint8Array, count: number): boolean {
  if (state.lines === 0 || endsLine(record)) state.lines++;
  return state.lines > count;
}

/** The filter of time; lines come in the order in which they were written. */
function inSpan(line: LogLine, query: LogQuery): "before" | "in" | "after" {
  if (query.sinceMs === undefined && query.untilMs === undefined) return "in";
  const at = Date.parse(line.time);
  if (query.sinceMs !== undefined && at < query.sinceMs) return "before";
  return query.untilMs !== undefined && at > query.untilMs ? "after" : "in";
}

function* linesOf(reader: LogReader, joiner: LineJoiner): Generator<LogLine> {
  for (const bytes of reader.records()) {
    const record = parseRecord(bytes);
    const line = record === undefined ? undefined : joiner.push(record);
    if (line !== undefined) yield line;
  }
}

/** What the file holds now, oldest first. A file that is not there has no lines. */
export function* readLogFile(query: LogQuery): Generator<LogLine> {
  using reader = openLog(query.path, query.tail);
  if (reader === undefined) return;
  const joiner = new LineJoiner();
  for (const line of linesOf(reader, joiner)) {
    const span = inSpan(line, query);
    if (span === "after") return;
    if (span === "in") yield line;
  }
  for (const line of joiner.flush()) {
    if (inSpan(line, query) === "in") yield line;
  }
}

/** A container whose monitor was killed ends without a trace in the watched directories. */
const LOOK_MS = 1000;

/**
 * As {@link readLogFile}, and then what is written until the container has ended and all is read, or until
 * `untilMs`. An unfinished line is handed on as soon as nothing more comes for the moment. Errors: canceled.
 */
export async function* followLogFile(ctx: Ctx, query: FollowQuery): AsyncGenerator<LogLine> {
  using watch = watchDirectories(dirname(query.path), query.exitDir);
  // Removed before we could look: it has no lines, as for `readLogFile`.
  if (watch === undefined) return;
  using current = new CurrentLog(query.path, query.tail);
  for (;;) {
    const ended = query.ended();
    for (const line of current.lines()) {
      const span = inSpan(line, query);
      if (span === "after") return;
      if (span === "in") yield line;
    }
    if (ended) return;
    checkCanceled(ctx);
    const timeoutMs = Math.min((query.untilMs ?? Number.POSITIVE_INFINITY) - Date.now(), LOOK_MS);
    if (timeoutMs <= 0) return;
    await waitReady([{ fd: watch.fd, events: POLLIN }], {
      blocking: query.blocking ?? false,
      signal: ctx.signal,
      timeoutMs,
    });
    linux.readEvents(watch.fd);
  }
}

/** Undefined if one of them is gone. */
function watchDirectories(...directories: string[]): (Disposable & { fd: Fd }) | undefined {
  const fd = linux.inotify();
  try {
    for (const directory of new Set(directories)) {
      linux.watch(fd, directory, IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE | IN_MOVE_SELF);
    }
  } catch (error) {
    linux.close(fd);
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  return { fd, [Symbol.dispose]: () => linux.close(fd) };
}

/** The file that the path names now, through rotations. */
class CurrentLog implements Disposable {
  readonly #path: string;
  #reader: LogReader | undefined;
  readonly #joiner = new LineJoiner();

  constructor(path: string, tail: number | undefined) {
    this.#path = path;
    this.#reader = openLog(path, tail);
  }

  /** Everything new, in order. */
  *lines(): Generator<LogLine> {
    for (;;) {
      this.#reader ??= openLog(this.#path);
      if (this.#reader === undefined) return;
      // Looked at before reading: whatever the old file got before it was replaced is read now.
      const replaced = this.#isReplaced(this.#reader);
      yield* linesOf(this.#reader, this.#joiner);
      if (!replaced) break;
      this.#reader[Symbol.dispose]();
      this.#reader = undefined;
    }
    yield* this.#joiner.flush();
  }

  #isReplaced(reader: LogReader): boolean {
    const found = statSync(this.#path, { bigint: true, throwIfNoEntry: false });
    return found !== undefined && found.ino !== reader.inode;
  }

  [Symbol.dispose](): void {
    this.#reader?.[Symbol.dispose]();
    this.#reader = undefined;
  }
}
