/**
 * Where a command's words go. stdout is what a script wants, stderr is all talk.
 *
 * Start-up counts here: process.stdout costs 12 ms and node:fs 1.3 ms on first use, Bun.write
 * nothing. So a command's text is collected and leaves with one Bun.write at the end; only what
 * must be out at once (streams, errors, more than 64 KiB) takes a synchronous write.
 */

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
  /** What is still buffered, at the end of the program. Errors: BrokenPipe. */
  end(): Promise<void>;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** Writes all of it; a pipe somebody made non-blocking (EAGAIN) is waited for. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  const { writeSync } = process.getBuiltinModule("node:fs");
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

async function writeLast(text: string): Promise<void> {
  try {
    await Bun.write(Bun.stdout, text);
  } catch (error) {
    throw codeOf(error) === "EPIPE" ? new BrokenPipe("broken pipe") : error;
  }
}

const FLUSH_AT = 64 * 1024;

export function createOutput(): Output {
  const encoder = new TextEncoder();
  let pending = "";
  const take = (): string => {
    const text = pending;
    pending = "";
    return text;
  };
  const flush = (): void => {
    if (pending !== "") writeAll(1, encoder.encode(take()));
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
      writeAll(1, bytes);
    },
    error: (text) => {
      flush();
      writeAll(2, encoder.encode(`${text}\n`));
    },
    errorBytes: (bytes) => {
      flush();
      writeAll(2, bytes);
    },
    flush,
    end: async () => {
      if (pending !== "") await writeLast(take());
    },
  };
}
