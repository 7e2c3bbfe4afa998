/**
 * A file that has no name until it is complete (O_TMPFILE, linkat): a process that is killed leaves nothing of it.
 * On file systems that cannot do that it is written beside its place under a name that begins with {@link ASIDE}.
 */
import { fsync } from "node:fs";
import { failpoint } from "../../core/failpoint.ts";
import * as k from "../../sys/const.ts";
import { hasCode } from "../../sys/errno.ts";
import type { Rooted } from "../../sys/rooted.ts";
import type { Fd, Sys } from "../../sys/sys.ts";
import { ioError, uniqueName } from "../../storage/files.ts";

export const ASIDE = ".berth-";

export class StagedFile implements Disposable {
  readonly #sys: Sys;
  readonly #root: Rooted;
  readonly #directory: string;
  /** Its name for the time being, where it must have one. */
  #aside: string | undefined;
  #fd: Fd | undefined;

  private constructor(sys: Sys, root: Rooted, directory: string) {
    this.#sys = sys;
    this.#root = root;
    this.#directory = directory;
  }

  /** `directory` is a path in the root ("" for the root itself) and must exist. */
  static open(sys: Sys, root: Rooted, directory: string): StagedFile {
    const file = new StagedFile(sys, root, directory);
    try {
      file.#fd = root.openFile(directory, k.O_TMPFILE | k.O_RDWR);
    } catch (error) {
      if (!hasCode(error, "EOPNOTSUPP", "EISDIR", "EINVAL")) throw error;
      file.#aside = `${ASIDE}${uniqueName()}`;
      file.#fd = root.openFile(
        file.#path(file.#aside),
        k.O_RDWR | k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW,
        0o600,
      );
    }
    return file;
  }

  #path(name: string): string {
    return this.#directory === "" ? name : `${this.#directory}/${name}`;
  }

  get fd(): Fd {
    return this.#fd as Fd;
  }

  write(bytes: Uint8Array, position?: number): void {
    this.#sys.write(this.fd, bytes, position);
  }

  /**
   * Makes it durable and gives it this name in its directory. `replace` takes the place of a file of that name in one
   * step; without it the file must not be there (EEXIST).
   */
  async publish(name: string, options: { replace: boolean; mode: number }): Promise<void> {
    this.#sys.fchmod(this.fd, options.mode);
    await synced(this.fd);
    failpoint("transfer.publish");
    const { dir } = this.#root.parent(this.#path(name));
    try {
      if (options.replace) this.#replace(dir, name);
      else this.#add(dir, name);
    } finally {
      this.#sys.close(dir);
    }
    failpoint("transfer.published");
  }

  #add(dir: Fd, name: string): void {
    this.#sys.linkFd(this.fd, dir, name);
    if (this.#aside !== undefined) this.#sys.unlink(dir, this.#aside);
    this.#aside = undefined;
  }

  #replace(dir: Fd, name: string): void {
    const named = this.#aside ?? `${ASIDE}${uniqueName()}`;
    if (this.#aside === undefined) this.#sys.linkFd(this.fd, dir, named);
    this.#aside = named;
    failpoint("transfer.replace");
    this.#sys.rename(dir, named, dir, name);
    this.#aside = undefined;
  }

  /** Nothing is left of a file that was not published. */
  [Symbol.dispose](): void {
    if (this.#aside !== undefined) {
      try {
        this.#root.remove(this.#path(this.#aside));
      } catch {
        // The directory is gone, and the file with it.
      }
    }
    this.#aside = undefined;
    if (this.#fd !== undefined) this.#sys.close(this.#fd);
    this.#fd = undefined;
  }
}

/** On a thread of the pool: others go on meanwhile. */
function synced(fd: Fd): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(fd, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(ioError(error, "cannot write the image"));
    });
  });
}
