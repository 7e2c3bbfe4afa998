/**
 * Locks between processes: flock(2) on a file in the run directory. The kernel drops them with the process, so
 * a lock is never stale. The file is unlinked by its last exclusive holder, and whoever gets a lock
 * checks that its file is still the one at that name.
 *
 * Order, so that nobody waits in a circle: a layer's lock before a blob's, a higher layer's before
 * a lower one's is never needed, and no lock is waited for inside a database transaction.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O_CREAT, O_NOFOLLOW, O_RDWR } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Sys } from "../sys/sys.ts";

export type LockMode = "shared" | "exclusive";

export interface LockRequest {
  sys: Sys;
  /** The store's `run/locks`. */
  dir: string;
  /** Any text: what is no plain file name is hashed. */
  name: string;
  mode?: LockMode;
}

const FIRST_PAUSE_MS = 1;
const LAST_PAUSE_MS = 40;

export class FileLock implements Disposable {
  readonly #sys: Sys;
  readonly #path: string;
  readonly #mode: LockMode;
  #fd: Fd | undefined;

  private constructor(request: LockRequest, path: string, fd: Fd) {
    this.#sys = request.sys;
    this.#path = path;
    this.#mode = request.mode ?? "exclusive";
    this.#fd = fd;
  }

  /** The lock, or undefined when somebody else has it (also somebody in this process). */
  static try(request: LockRequest): FileLock | undefined {
    return FileLock.#take(request, false);
  }

  /**
   * Blocks the whole process until the lock is there: for commands that do one thing. Never for a lock that
   * this process itself may hold.
   */
  static sync(request: LockRequest): FileLock {
    return FileLock.#take(request, true) as FileLock;
  }

  /** Waits without blocking, trying with growing pauses. Errors: canceled. */
  static async acquire(ctx: Ctx, request: LockRequest): Promise<FileLock> {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
      checkCanceled(ctx);
      const lock = FileLock.try(request);
      if (lock !== undefined) return lock;
      // Two waiters that started together must not stay in step.
      await Bun.sleep(pause * (0.5 + Math.random()));
    }
  }

  static #take(request: LockRequest, wait: boolean): FileLock | undefined {
    const { sys, mode = "exclusive" } = request;
    const path = `${request.dir}/${lockFileName(request.name)}`;
    for (;;) {
      const fd = sys.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
      let keep = false;
      try {
        if (!sys.flock(fd, mode, wait)) return undefined;
        keep = isCurrent(sys, fd, path);
        if (keep) return new FileLock(request, path, fd);
      } finally {
        if (!keep) sys.close(fd);
      }
    }
  }

  /** Idempotent. `keepFile` saves two system calls for a lock that is taken again soon. */
  release(keepFile = false): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    try {
      if (this.#mode === "exclusive" && !keepFile) this.#sys.unlink(AT_FDCWD, this.#path);
    } catch (error) {
      // The run directory may be gone under us (`system reset`); the lock itself does not care.
      if (!hasCode(error, "ENOENT")) throw error;
    } finally {
      this.#sys.close(fd);
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Runs `body` with the lock held. */
export async function withLock<T>(ctx: Ctx, request: LockRequest, body: () => Promise<T> | T): Promise<T> {
  using _lock = await FileLock.acquire(ctx, request);
  return await body();
}

function isCurrent(sys: Sys, fd: Fd, path: string): boolean {
  try {
    const mine = sys.stat(fd, "", AT_EMPTY_PATH);
    const named = sys.stat(AT_FDCWD, path, 0);
    return mine.ino === named.ino && mine.dev.minor === named.dev.minor && mine.dev.major === named.dev.major;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return false;
    throw error;
  }
}

function lockFileName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$/.test(name)) return name;
  // Upper case in front keeps hashed names apart from plain ones of the engine, which are lower case.
  return `H${new Bun.CryptoHasher("sha256").update(name).digest("hex")}`;
}
