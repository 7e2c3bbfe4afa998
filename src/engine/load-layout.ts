/** What an archive or a directory of images looks like to those who interpret it, and the OCI layout in a directory. */
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import { hasCode } from "../sys/errno.ts";
import { Rooted } from "../sys/rooted.ts";
import type { Sys } from "../sys/sys.ts";

export interface StoredFile {
  digest: Digest;
  /** Bytes. */
  size: number;
}

export interface ImageLayout {
  /** A document at the top ("index.json"), at most 4 MiB. */
  document(name: string): Uint8Array | undefined;
  /**
   * A regular file by its name, links followed within the archive. `plain` is the digest it is said to have if it is not
   * compressed: the receiver verifies it, so that nobody needs to read the file beforehand.
   */
  file(name: string, plain?: Digest): StoredFile | undefined;
  /** Whether {@link blob} would find it. */
  has(digest: Digest): boolean;
  /** Bytes by digest; verified by the receiver. Errors: not-found. */
  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array>;
}

const CHUNK = 1024 * 1024;

/** `path` is the user's own; what is in it is opened without leaving it, and only regular files. */
export class DirectoryLayout implements ImageLayout, Disposable {
  readonly #sys: Sys;
  readonly #root: Rooted;

  constructor(sys: Sys, path: string) {
    this.#sys = sys;
    this.#root = Rooted.open(sys, path);
  }

  document(name: string): Uint8Array | undefined {
    try {
      return this.#root.readFile(name, MAX_MANIFEST_BYTES);
    } catch (error) {
      if (hasCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  file(): undefined {
    return undefined;
  }

  has(digest: Digest): boolean {
    try {
      this.#sys.close(this.#open(digest));
      return true;
    } catch (error) {
      if (isKind(error, "not-found")) return false;
      throw error;
    }
  }

  async *blob(_ctx: Ctx, { digest }: Descriptor): AsyncGenerator<Uint8Array, void, undefined> {
    const fd = this.#open(digest);
    try {
      for (;;) {
        // A buffer of its own each time: the consumer may keep it.
        const buffer = Buffer.allocUnsafeSlow(CHUNK);
        const length = this.#sys.read(fd, buffer);
        if (length === 0) return;
        yield buffer.subarray(0, length);
      }
    } finally {
      this.#sys.close(fd);
    }
  }

  /** Where the OCI layout keeps it, or where skopeo's `dir:` does. */
  #open(digest: Digest): number {
    for (const path of [`blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`, digestHex(digest)]) {
      try {
        return this.#root.openRegular(path).fd;
      } catch (error) {
        if (!hasCode(error, "ENOENT", "ENOTDIR")) throw error;
      }
    }
    throw fail("not-found", `the directory lacks blob "${digest}"`, { reason: "archive-incomplete" });
  }

  [Symbol.dispose](): void {
    this.#root[Symbol.dispose]();
  }
}
