/**
 * Where a command's words go. stdout is what a script wants, stderr is all talk. Writes are
 * synchronous system calls: process.stdout costs start-up time and loses what is queued at exit.
 */
import { writeSync } from "node:fs";

/** Thrown when the reader of stdout has gone; main ends quietly as SIGPIPE would. */
export class BrokenPipe extends Error {}

export interface Output {
  /** Text for stdout, buffered until `flush` or 64 KiB. */
  write(text: string): void;
  line(text: string): void;
  /** Bytes for stdout, at once and in order with the text. */
  bytes(bytes: Uint8Array): void;
  /** A line for people, on stderr, at once. */
  error(text: string): void;
  errorBytes(bytes: Uint8Array): void;
  flush(): void;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** Writes all of it; a pipe somebody made non-blocking (EAGAIN) is waited for. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      if (codeOf(error) === "EPIPE") throw new BrokenPipe("broken pipe");
      if (codeOf(error) !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}

const FLUSH_AT = 64 * 1024;

export function createOutput(stdout = 1, stderr = 2): Output {
  const encoder = new TextEncoder();
  let pending = "";
  const flush = (): void => {
    if (pending === "") return;
    const text = pending;
    pending = "";
    writeAll(stdout, encoder.encode(text));
  };
  const write = (text: string): void => {
    pending += text;
    if (pending.length >= FLUSH_AT) flush();
  };
  return {
    write,
    line: (text) => write(`${text}\n`),
    bytes: (bytes) => {
      flush();
      writeAll(stdout, bytes);
    },
    error: (text) => {
      flush();
      writeAll(stderr, encoder.encode(`${text}\n`));
    },
    errorBytes: (bytes) => {
      flush();
      writeAll(stderr, bytes);
    },
    flush,
  };
}
