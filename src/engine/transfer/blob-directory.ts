/**
 * A directory that others read while we write to it: an OCI layout, or the files of the `dir:` transport.
 *
 * Whoever writes holds a shared lock on the directory itself, so that nobody takes away a blob that another one counts on;
 * files of images get their names when they are complete and verified. Links in the directory lead nowhere outside it.
 */
import { closeSync, mkdirSync, openSync, rmdirSync } from "node:fs";
import { checkCanceled, type Ctx } from "../../core/ctx.ts";
import { EngineError, fail } from "../../core/error.ts";
import { verifyStream } from "../../archive/digest.ts";
import { digestOf, digestAlgorithm } from "../../image/digest.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { ioError } from "../../storage/files.ts";
import * as k from "../../sys/const.ts";
import { hasCode } from "../../sys/errno.ts";
import { Rooted } from "../../sys/rooted.ts";
import type { Fd, Sys } from "../../sys/sys.ts";
import { StagedFile } from "./staged-file.ts";

const FILE_MODE = 0o644;

/** Missing directories of the path; only these are taken away again when nothing comes of it. */
function makeDirectories(path: string): string | undefined {
  try {
    return mkdirSync(path, { recursive: true });
  } catch (error) {
    throw ioError(error, `cannot write to "${path}"`);
  }
}

export class BlobDirectory implements Disposable {
  readonly path: string;
  readonly root: Rooted;
  readonly #sys: Sys;
  readonly #lock: Fd;
  /** Outermost directory made by us. */
  readonly #firstMade: string | undefined;
  /** What was made here, newest last, as paths in the directory. */
  readonly #made: string[] = [];
  #isClosed = false;

  private constructor(
    sys: Sys,
    path: string,
    parts: { root: Rooted; lock: Fd; firstMade: string | undefined },
  ) {
    this.#sys = sys;
    this.path = path;
    this.root = parts.root;
    this.#lock = parts.lock;
    this.#firstMade = parts.firstMade;
  }

  /** Makes the directory if it is missing and waits for the lock. Errors: permission-denied, not a directory, canceled. */
  static async open(ctx: Ctx, sys: Sys, path: string, mode: "shared" | "exclusive"): Promise<BlobDirectory> {
    const firstMade = makeDirectories(path);
    let lock: Fd;
    try {
      lock = openSync(path, k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC);
    } catch (error) {
      throw ioError(error, `cannot write to "${path}"`);
    }
    try {
      await locked(ctx, () => sys.flock(lock, mode, false));
      return new BlobDirectory(sys, path, { root: Rooted.open(sys, path), lock, firstMade });
    } catch (error) {
      closeSync(lock);
      throw error;
    }
  }

  /** Size of the regular file of that name; undefined if there is none. */
  sizeOf(name: string): number | undefined {
    try {
      const { mode, size } = this.root.lstat(name);
      return (mode & k.S_IFMT) === k.S_IFREG ? size : undefined;
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
  }

  /** Names of what is in the directory itself. */
  names(): string[] {
    const fd = this.root.openFile("", k.O_RDONLY | k.O_DIRECTORY);
    try {
      return this.#sys.readdir(fd).map(({ name }) => Buffer.from(name).toString());
    } finally {
      this.#sys.close(fd);
    }
  }

  /** A file of these very bytes, durable, in one step. */
  async write(name: string, bytes: Uint8Array): Promise<void> {
    const { directory, base } = split(name);
    try {
      if (directory !== "") this.root.mkdirAll(directory, 0o755);
      const isNew = this.sizeOf(name) === undefined;
      using file = StagedFile.open(this.#sys, this.root, directory);
      file.write(bytes);
      await file.publish(base, { replace: true, mode: FILE_MODE });
      if (isNew) this.#made.push(name);
    } catch (error) {
      throw writeFailure(error, this.path);
    }
  }

  /** The blob under this name, verified. True if it was there already. Errors: data-loss, resource-exhausted, those of the source. */
  async put(
    ctx: Ctx,
    name: string,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
  ): Promise<boolean> {
    if (this.sizeOf(name) === descriptor.size && this.#isRight(name, descriptor)) return true;
    const { directory, base } = split(name);
    try {
      if (directory !== "") this.root.mkdirAll(directory, 0o755);
      using file = StagedFile.open(this.#sys, this.root, directory);
      for await (const chunk of verifyStream(open(), descriptor)) {
        checkCanceled(ctx);
        file.write(chunk);
      }
      await file.publish(base, { replace: true, mode: FILE_MODE });
      this.#made.push(name);
      return false;
    } catch (error) {
      throw writeFailure(error, this.path);
    }
  }

  /** A file of the right size is taken for the blob: its name is its digest, and it got it when it was complete. Small ones are looked at. */
  #isRight(name: string, { digest, size }: Descriptor): boolean {
    const SMALL = 64 * 1024;
    return size > SMALL || digestOf(this.root.readFile(name, SMALL), digestAlgorithm(digest)) === digest;
  }

  /** Runs `body` alone among all who call this for the directory. */
  async exclusive<T>(ctx: Ctx, name: string, body: () => Promise<T>): Promise<T> {
    const fd = this.root.openFile(name, k.O_RDONLY | k.O_NOFOLLOW);
    try {
      await locked(ctx, () => this.#sys.flock(fd, "exclusive", false));
      return await body();
    } finally {
      this.#sys.close(fd);
    }
  }

  remove(name: string): void {
    this.root.remove(name);
  }

  /** What was made here goes, if nobody else writes here and may count on it. */
  undo(): void {
    if (this.#isClosed || !this.#sys.flock(this.#lock, "exclusive", false)) return;
    for (const name of this.#made.toReversed()) this.root.remove(name);
    for (const name of ["blobs/sha256", "blobs/sha512", "blobs"]) this.#removeEmpty(name);
    this.#made.length = 0;
    if (this.#firstMade === undefined) return;
    for (let at = this.path; at.length >= this.#firstMade.length; at = at.slice(0, at.lastIndexOf("/"))) {
      try {
        rmdirSync(at);
      } catch {
        // Somebody has put something there meanwhile.
        return;
      }
    }
  }

  #removeEmpty(name: string): void {
    if (this.#firstMade === undefined) return;
    try {
      const { dir, name: base } = this.root.parent(name);
      try {
        this.#sys.unlink(dir, base, k.AT_REMOVEDIR);
      } finally {
        this.#sys.close(dir);
      }
    } catch (error) {
      if (!hasCode(error, "ENOENT", "ENOTEMPTY", "ENOTDIR")) throw error;
    }
  }

  /** The end of a writer: what it made stays only if all of it was committed. */
  close(isCommitted: boolean): void {
    try {
      if (!isCommitted) this.undo();
    } finally {
      this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.root[Symbol.dispose]();
    closeSync(this.#lock);
  }
}

const FULL = "free space there, or choose another place";

/** A failed write as people understand it; any other error as it is. */
export function writeFailure(error: unknown, path: string): unknown {
  const code = String((error as { code?: unknown } | null)?.code ?? "");
  const facts = { reason: code, cause: error };
  const what = `cannot write to "${path}"`;
  if (code === "ENOSPC" || code === "EDQUOT")
    return fail("resource-exhausted", `${what}: no space left on the device`, { ...facts, hint: FULL });
  if (code === "EROFS") return fail("permission-denied", `${what}: the file system is read-only`, facts);
  if (code === "EACCES" || code === "EPERM")
    return fail("permission-denied", `${what}: permission denied`, facts);
  return error instanceof EngineError ? error : ioError(error, what);
}

export function blobName(digest: Digest): string {
  const colon = digest.indexOf(":");
  return `blobs/${digest.slice(0, colon)}/${digest.slice(colon + 1)}`;
}

function split(name: string): { directory: string; base: string } {
  const slash = name.lastIndexOf("/");
  return { directory: name.slice(0, Math.max(0, slash)), base: name.slice(slash + 1) };
}

/** Waits without blocking, trying with growing pauses. Errors: canceled. */
async function locked(ctx: Ctx, tryIt: () => boolean): Promise<void> {
  for (let pause = 1; !tryIt(); pause = Math.min(pause * 2, 50)) {
    checkCanceled(ctx);
    await Bun.sleep(pause * (0.5 + Math.random()));
  }
}
