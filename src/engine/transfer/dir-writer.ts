/**
 * `dir:PATH` as a destination: skopeo's and podman's directory of loose files, for one image or one index with its images.
 *
 * A directory that has an image already gets the new one in its place: blobs are named by their digests, so both lie side by side
 * until the new manifest.json takes the old one's name; only then what the old image alone had is taken away.
 */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { digestHex } from "../../image/digest.ts";
import type { Descriptor } from "../../image/image.ts";
import type { PushedBlob } from "../../registry/registry.ts";
import type { Sys } from "../../sys/sys.ts";
import { BlobDirectory } from "./blob-directory.ts";
import { ASIDE } from "./staged-file.ts";
import type { ImageWriter, Place } from "./transfer.ts";

const VERSION_FILE = "version";
const VERSION_BYTES = new TextEncoder().encode("Directory Transport Version: 1.1\n");
const KNOWN_VERSION = /^Directory Transport Version: 1\.\d+\s*$/;
/** What this transport calls its files: nothing else is ever taken away. */
const OWN_FILE =
  /^([0-9a-f]{64}|[0-9a-f]{128})(\.manifest\.json)?$|^([0-9a-f]+-)?signature-\d+$|^\.berth-[0-9a-f]{16}$/;

type PutManifest = Parameters<ImageWriter["putManifest"]>[1];

export class DirWriter implements ImageWriter {
  readonly place: Place;
  readonly takesIndexes = true;
  readonly leavesForeign = false;
  readonly takesReferrers = false;
  readonly #directory: BlobDirectory;
  readonly #files = new Set<string>();
  #top: Uint8Array | undefined;
  #isCommitted = false;

  private constructor(place: Place, directory: BlobDirectory) {
    this.place = place;
    this.#directory = directory;
  }

  /** Errors: already-exists for a directory with anything but an image in it. */
  static async open(ctx: Ctx, sys: Sys, place: Place): Promise<DirWriter> {
    const directory = await BlobDirectory.open(ctx, sys, place.path as string, "exclusive");
    const writer = new DirWriter(place, directory);
    try {
      checkIsOurs(directory);
      if (directory.sizeOf(VERSION_FILE) === undefined) await directory.write(VERSION_FILE, VERSION_BYTES);
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  async putBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
  ): Promise<PushedBlob> {
    const name = digestHex(descriptor.digest);
    this.#files.add(name);
    return (await this.#directory.put(ctx, name, descriptor, open)) ? "exists" : "uploaded";
  }

  async putManifest(_ctx: Ctx, { bytes, digest, top }: PutManifest): Promise<void> {
    if (top) {
      this.#top = bytes;
      return;
    }
    const name = `${digestHex(digest)}.manifest.json`;
    this.#files.add(name);
    await this.#directory.write(name, bytes);
  }

  async commit(): Promise<void> {
    await this.#directory.write("manifest.json", this.#top as Uint8Array);
    this.#isCommitted = true;
    for (const name of this.#directory.names()) {
      if (OWN_FILE.test(name) && !this.#files.has(name)) this.#directory.remove(name);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#directory.close(this.#isCommitted);
    return Promise.resolve();
  }
}

function checkIsOurs(directory: BlobDirectory): void {
  const names = directory.names().filter((name) => !name.startsWith(ASIDE));
  if (names.length === 0) return;
  const version =
    directory.sizeOf(VERSION_FILE) === undefined
      ? ""
      : Buffer.from(directory.root.readFile(VERSION_FILE, 1024)).toString();
  if (KNOWN_VERSION.test(version)) return;
  throw fail("already-exists", `"${directory.path}" has files in it and is no image directory`, {
    reason: "not-an-image-directory",
    hint: "name an empty or a new directory",
  });
}
