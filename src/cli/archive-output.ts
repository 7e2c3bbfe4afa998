/** Where `export` and `save` write: a file that appears whole or not at all, or a stdout that is no terminal. */
import { closeSync, lstatSync, openSync, renameSync, rmSync } from "node:fs";
import { fail, ioText } from "../core/error.ts";
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

/** Errors: those of the stream; invalid-argument for a file that cannot be written. */
export async function writeArchive(
  out: Output,
  file: string | undefined,
  stream: AsyncIterable<Uint8Array>,
): Promise<void> {
  if (file === undefined) {
    for await (const chunk of stream) out.bytes(chunk);
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

async function writeTo(path: string, shown: string, stream: AsyncIterable<Uint8Array>): Promise<void> {
  let fd: number;
  try {
    fd = openSync(path, "w", 0o644);
  } catch (cause) {
    throw fail("invalid-argument", `cannot write "${shown}": ${ioText(cause)}`, { cause });
  }
  try {
    for await (const chunk of stream) writeAll(fd, chunk);
  } finally {
    closeSync(fd);
  }
}

/** Standard input as chunks. */
export async function* standardInput(): AsyncIterable<Uint8Array> {
  yield* Bun.stdin.stream() as unknown as AsyncIterable<Uint8Array>;
}
