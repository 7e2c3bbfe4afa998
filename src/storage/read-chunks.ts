/** Files of the store as streams, read on a thread of the pool. */
import { closeSync, fstatSync, openSync, read } from "node:fs";
import { hasCode } from "../sys/errno.ts";
import { ioError } from "./files.ts";

const CHUNK = 1024 * 1024;

/** Chunks of up to 1 MiB, each its own memory. `lost` makes the error for a file that is not there. */
export async function* readChunks(path: string, lost: () => Error): AsyncGenerator<Uint8Array> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw hasCode(error, "ENOENT") ? lost() : ioError(error, `cannot read "${path}"`);
  }
  try {
    const { size } = fstatSync(fd);
    for (let offset = 0; offset < size;) {
      const chunk = await readAt(fd, offset, Math.min(CHUNK, size - offset));
      if (chunk.byteLength === 0) return;
      offset += chunk.byteLength;
      yield chunk;
    }
  } finally {
    closeSync(fd);
  }
}

/** Up to `length` bytes; fewer only at the end of the file. */
export function readAt(fd: number, offset: number, length: number): Promise<Uint8Array> {
  // A fresh buffer each time: the consumer may keep it.
  const buffer = Buffer.allocUnsafeSlow(length);
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, length, offset, (error, count) =>
      error === null || error === undefined ? resolve(buffer.subarray(0, count)) : reject(error),
    );
  });
}
