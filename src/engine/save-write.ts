/** Files of a layout into a tar or a directory. Blobs are not read here: they go as open files, which the kernel can copy. */
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { TarWriter } from "../archive/tar-writer.ts";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import { ioError } from "../storage/files.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd } from "../sys/sys.ts";
import { stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";

/** A file of the layout: its bytes, or the blob that is its content. */
export type Member = { name: string; bytes: Uint8Array } | { name: string; digest: Digest; size: number };

/** A whole file, from its beginning; open until the next piece is asked for. */
export interface FilePiece {
  fd: Fd;
  /** Bytes. */
  size: number;
}

const COPY_STEP = 16 * 1024 * 1024;

export async function* tarPieces(
  ctx: Ctx,
  engine: Engine,
  members: Member[],
): AsyncGenerator<Uint8Array | FilePiece, void, undefined> {
  const tar = new TarWriter();
  const directories = new Set<string>();
  for (const member of members) {
    for (const name of parents(member.name)) {
      if (!directories.has(name))
        yield tar.header({ name: Buffer.from(name), type: "directory", mode: 0o755 });
      directories.add(name);
    }
    const size = "bytes" in member ? member.bytes.length : member.size;
    yield tar.header({ name: Buffer.from(member.name), type: "file", mode: 0o644, size });
    if ("bytes" in member) yield member.bytes;
    else yield* blobPiece(ctx, engine, member);
    yield tar.padding(size);
  }
  yield tar.end();
}

/** "a/b/c" → "a", "a/b". */
function parents(name: string): string[] {
  const parts = name.split("/").slice(0, -1);
  return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
}

async function* blobPiece(
  ctx: Ctx,
  engine: Engine,
  { digest, size }: { digest: Digest; size: number },
): AsyncGenerator<FilePiece, void, undefined> {
  checkCanceled(ctx);
  const id = stepId(digest);
  ctx.progress({ id, status: "uploading", current: 0, total: size });
  const fd = openBlob(engine, digest, size);
  try {
    yield { fd, size };
  } finally {
    closeSync(fd);
  }
  ctx.progress({ id, status: "done", current: size, total: size });
}

/** Errors: data-loss if it is not there or has another size. */
function openBlob(engine: Engine, digest: Digest, size: number): Fd {
  let fd: Fd;
  try {
    fd = openSync(engine.content.path(digest), "r");
  } catch (error) {
    throw hasCode(error, "ENOENT")
      ? damaged(`the file of blob "${digest}" is missing from the store`)
      : ioError(error, `cannot read blob "${digest}"`);
  }
  const found = fstatSync(fd).size;
  if (found === size) return fd;
  closeSync(fd);
  throw damaged(`blob "${digest}" in the store has ${found} bytes instead of ${size}`);
}

function damaged(problem: string): Error {
  return fail("data-loss", problem, { reason: "size-mismatch", hint: 'run "berth system check --repair"' });
}

/** Written beside and renamed when complete; nothing is left of a failure. Errors: already-exists. */
export async function writeDirectory(
  ctx: Ctx,
  engine: Engine,
  { members, path }: { members: Member[]; path: string },
): Promise<void> {
  const target = path.replace(/\/+$/, "") || "/";
  const aside = `${target}.berth-${process.pid}`;
  try {
    mkdirSync(dirname(target), { recursive: true });
    mkdirSync(aside);
    for (const member of members) await writeMember(ctx, engine, member, join(aside, member.name));
    // Takes an empty directory's place, and fails on one with files in it.
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (hasCode(error, "ENOTEMPTY", "EEXIST", "ENOTDIR")) {
      throw fail("already-exists", `"${path}" exists and is not an empty directory`, { cause: error });
    }
    throw ioError(error, `cannot write the image to "${path}"`);
  }
}

async function writeMember(ctx: Ctx, engine: Engine, member: Member, file: string): Promise<void> {
  mkdirSync(dirname(file), { recursive: true });
  if ("bytes" in member) writeFileSync(file, member.bytes);
  else for await (const piece of blobPiece(ctx, engine, member)) await copyFile(ctx, engine, piece, file);
}

async function copyFile(ctx: Ctx, engine: Engine, { fd, size }: FilePiece, path: string): Promise<void> {
  const to = openSync(path, "wx", 0o644);
  try {
    for (let left = size; left > 0;) {
      const count = engine.sys.copyRange(fd, to, Math.min(left, COPY_STEP));
      if (count === 0) throw damaged("a blob of the store is shorter than it was");
      left -= count;
      // Somebody may want to stop this.
      await Bun.sleep(0);
      checkCanceled(ctx);
    }
  } finally {
    closeSync(to);
  }
}
