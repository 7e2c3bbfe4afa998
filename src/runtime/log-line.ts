/**
 * The log format of the CRI, as conmon's k8s-file driver writes it: `TIME STREAM TAG TEXT\n` with TAG `F` for a
 * line that ended and `P` for a piece of one that goes on in the next record of the same stream.
 */
export interface LogLine {
  /** RFC 3339 with nanoseconds, as the monitor wrote it. */
  time: string;
  stream: "stdout" | "stderr";
  /** Exact bytes, without the newline that ended the line. */
  text: Uint8Array;
  /** True if no newline followed (yet): the line goes on in the next record of this stream, or the output ended. */
  partial: boolean;
}

const SPACE = 0x20;
const P = 0x50;

/** Parses one record without its newline; undefined for what is not one. */
export function parseRecord(bytes: Uint8Array): LogLine | undefined {
  const timeEnd = bytes.indexOf(SPACE);
  const streamEnd = bytes.indexOf(SPACE, timeEnd + 1);
  if (timeEnd < 20 || streamEnd !== timeEnd + 7) return undefined;
  const tagEnd = bytes.indexOf(SPACE, streamEnd + 1);
  if (tagEnd < 0) return undefined;
  const isError = bytes[timeEnd + 4] === 0x65; // the first letter that differs: std(e)rr, std(o)ut
  return {
    time: String.fromCharCode(...bytes.subarray(0, timeEnd)),
    stream: isError ? "stderr" : "stdout",
    text: bytes.subarray(tagEnd + 1),
    partial: bytes[streamEnd + 1] === P,
  };
}

/** True if the record ends a line. */
export function endsLine(bytes: Uint8Array): boolean {
  const streamEnd = bytes.indexOf(SPACE, bytes.indexOf(SPACE) + 1);
  return bytes[streamEnd + 1] !== P;
}

/** Pieces of a line are joined up to this size, then handed on as they are. */
const LONGEST_JOINED = 256 * 1024;

/** Joins the pieces of each stream's lines. */
export class LineJoiner {
  readonly #held = new Map<LogLine["stream"], { time: string; pieces: Uint8Array[]; size: number }>();

  /** The line that this record completes, or undefined while it goes on. */
  push(record: LogLine): LogLine | undefined {
    const held = this.#held.get(record.stream);
    if (held === undefined && !record.partial) return record;
    const line = held ?? { time: record.time, pieces: [], size: 0 };
    line.pieces.push(record.text);
    line.size += record.text.length;
    if (record.partial && line.size < LONGEST_JOINED) {
      this.#held.set(record.stream, line);
      return undefined;
    }
    this.#held.delete(record.stream);
    return { ...record, time: line.time, text: Buffer.concat(line.pieces) };
  }

  /** What is held back, as partial lines. */
  flush(): LogLine[] {
    const lines = [...this.#held].map(([stream, { time, pieces }]) => ({
      time,
      stream,
      text: Buffer.concat(pieces),
      partial: true,
    }));
    this.#held.clear();
    return lines;
  }
}
