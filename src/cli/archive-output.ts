/** Where `export` and `save` write: a file that appears whole or not at all, or a stdout that is no terminal. */
import { closeSync, fstatSync, lstatSync, openSync, readSync, renameSync, rmSync } from "node:fs";
import { fail, ioText } from "../core/error.ts";
import { hasCode } from "../sys/errno.ts";
import { type Output, writeAll } from "./output.ts";
import { isTerminal } from "./terminal.ts";

/** Errors: invalid-argument when the bytes would go to a terminal. */
export function refuseTerminal(file: string | undefined): void {
  if (file === undefined && isTerminal(1)) {
    throw fail("invalid-argument", "refusing to write an archive to a terminal", {
      hint: "redirect standard output, or name a file with --output",
    });
  }
}

/** A whole file that is to be copied, from its beginning; open until the next piece is asked for. */
interface FilePiece {
  fd: number;
  /** Bytes. */
  size: number;
}

type Pieces = AsyncIterable<Uint8Array | FilePiece>;

const CHUNK = 1024 * 1024;
/** What the kernel copies in one go, between which a signal is heard. */
const COPY_STEP = 16 * 1024 * 1024;

/** Errors: those of the stream; invalid-argument for a file that cannot be written. */
export async function writeArchive(out: Output, file: string | undefined, stream: Pieces): Promise<void> {
  if (file === undefined) {
    const write = (chunk: Uint8Array): void => out.bytes(chunk);
    for await (const piece of stream) {
      if (piece instanceof Uint8Array) write(piece);
      else await pump(piece, write);
    }
    return;
  }
  if (!mayBeReplaced(file)) return writeTo(file, file, stream);
  const aside = `${file}.${process.pid}.part`;
  try {
    await writeTo(aside, file, stream);
    renameSync(aside, file);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

/** Devices, pipes and what a link leads to are written in place. */
function mayBeReplaced(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false })?.isFile() ?? true;
}

/** Through a buffer of our own: pipes and terminals take nothing from the kernel's copy. */
async function pump({ fd, size }: FilePiece, write: (chunk: Uint8Array) => void): Promise<void> {
  const buffer = new Uint8Array(CHUNK);
  for (let done = 0; done < size;) {
    const count = readSync(fd, buffer, 0, Math.min(CHUNK, size - done), done);
    if (count === 0) throw cutShort(size, done);
    write(buffer.subarray(0, count));
    done += count;
    await Bun.sleep(0);
  }
}

async function copy(piece: FilePiece, to: number): Promise<void> {
  const { linux } = await import("../sys/linux.ts");
  for (let left = piece.size; left > 0;) {
    let count: number;
    try {
      count = linux.copyRange(piece.fd, to, Math.min(left, COPY_STEP));
    } catch (error) {
      if (left < piece.size || !hasCode(error, "EINVAL", "EXDEV", "EOPNOTSUPP", "EBADF")) throw error;
      return await pump(piece, (chunk) => writeAll(to, chunk));
    }
    if (count === 0) throw cutShort(piece.size, piece.size - left);
    left -= count;
    await Bun.sleep(0);
  }
}

function cutShort(size: number, found: number): Error {
  return fail("data-loss", `a blob of the store has ${found} bytes instead of ${size}`, {
    reason: "size-mismatch",
    hint: 'run "berth system check --repair"',
  });
}

async function writeTo(path: string, shown: string, stream: Pieces): Promise<void> {
  let fd: number;
  try {
    fd = openSync(path, "w", 0o644);
  } catch (cause) {
    throw fail("invalid-argument", `cannot write "${shown}": ${ioText(cause)}`, { cause });
  }
  try {
    for await (const piece of stream) {
      if (piece instanceof Uint8Array) writeAll(fd, piece);
      else await copy(piece, fd);
    }
  } finally {
    closeSync(fd);
  }
}

/** Standard input as a path, where it is a file that has not been read from: such a one can be read from anywhere. */
export async function standardInputPath(): Promise<string | undefined> {
  if (!fstatSync(0).isFile()) return undefined;
  const { offsetOf } = await import("../sys/files.ts");
  return offsetOf(0) === 0 ? "/dev/stdin" : undefined;
}

/** Standard input as chunks. */
export async function* standardInput(): AsyncIterable<Uint8Array> {
  // Of a file Bun reads from the beginning, whatever has been read of it.
  if (fstatSync(0).isFile()) yield* fileInput();
  else yield* Bun.stdin.stream() as unknown as AsyncIterable<Uint8Array>;
}

/** From where it has been read to; each chunk its own memory. */
function* fileInput(): Generator<Uint8Array> {
  for (;;) {
    const chunk = new Uint8Array(CHUNK);
    const count = readSync(0, chunk);
    if (count === 0) return;
    yield chunk.subarray(0, count);
  }
}
