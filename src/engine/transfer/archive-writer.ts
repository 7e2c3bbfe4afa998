/**
 * `oci-archive:FILE[:REF]` and `docker-archive:FILE[:REF]` as destinations: an OCI layout in a tar, the latter with Docker's
 * manifest.json beside it, as `berth save` and docker 25 write it.
 *
 * The file has no name before it is complete. Sizes are known beforehand, so every member gets its stretch of the file at once and several
 * are written at the same time. Documents that name the others come last.
 */
import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { verifyStream } from "../../archive/digest.ts";
import { TarWriter } from "../../archive/tar-writer.ts";
import { checkCanceled, type Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { excerpt } from "../../image/digest.ts";
import type { Descriptor, Digest, Manifest, Reference } from "../../image/image.ts";
import { isIndex, parseManifest } from "../../image/manifest.ts";
import { isImageConfigType, OCI_INDEX } from "../../image/media-types.ts";
import { familiarReference, formatReference } from "../../image/reference.ts";
import type { PushedBlob } from "../../registry/registry.ts";
import { Rooted } from "../../sys/rooted.ts";
import type { Sys } from "../../sys/sys.ts";
import { blobName, writeFailure } from "./blob-directory.ts";
import { CONTAINERD_NAME, REF_NAME } from "./oci-index.ts";
import { LAYOUT_BYTES, LAYOUT_FILE } from "./oci-writer.ts";
import { StagedFile } from "./staged-file.ts";
import type { ImageWriter, Place } from "./transfer.ts";

type PutManifest = Parameters<ImageWriter["putManifest"]>[1];

const FILE_MODE = 0o644;

export interface ArchiveWriterRequest {
  place: Place;
  /** docker-archive: more names for the image. */
  names: Reference[];
}

export class ArchiveWriter implements ImageWriter {
  readonly place: Place;
  readonly family?: "oci";
  readonly takesIndexes: boolean;
  readonly leavesForeign: boolean;
  readonly takesReferrers: boolean;
  readonly #isDocker: boolean;
  readonly #names: Reference[];
  readonly #root: Rooted;
  readonly #file: StagedFile;
  readonly #tar = new TarWriter();
  readonly #blobs = new Map<Digest, Promise<void>>();
  readonly #directories = new Set<string>();
  readonly #entries: Descriptor[] = [];
  #top: Manifest | undefined;
  /** Where the next member begins. */
  #end = 0;

  private constructor({ place, names }: ArchiveWriterRequest, root: Rooted, file: StagedFile) {
    this.place = place;
    this.#isDocker = place.transport === "docker-archive";
    if (!this.#isDocker) this.family = "oci";
    this.takesIndexes = !this.#isDocker;
    this.leavesForeign = !this.#isDocker;
    this.takesReferrers = !this.#isDocker;
    this.#names = [...(place.reference === undefined ? [] : [place.reference]), ...names];
    this.#root = root;
    this.#file = file;
  }

  /** Errors: already-exists unless the file is missing or empty; not-found or permission-denied for its directory. */
  static open(sys: Sys, request: ArchiveWriterRequest): ArchiveWriter {
    const { text, position, path } = request.place;
    if (position !== undefined) {
      throw fail("invalid-argument", `"${text}": a position cannot be written to`, {
        reason: "invalid-place",
      });
    }
    checkIsFree(path as string);
    using undo = new DisposableStack();
    try {
      const root = undo.use(Rooted.open(sys, dirname(path as string)));
      const writer = new ArchiveWriter(request, root, undo.use(StagedFile.open(sys, root, "")));
      undo.move();
      return writer;
    } catch (error) {
      throw writeFailure(error, path as string);
    }
  }

  async putBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
  ): Promise<PushedBlob> {
    const known = this.#blobs.get(descriptor.digest);
    if (known !== undefined) {
      await known;
      return "exists";
    }
    const writing = this.#write(ctx, descriptor, open);
    this.#blobs.set(descriptor.digest, writing);
    await writing;
    return "uploaded";
  }

  async #write(ctx: Ctx, descriptor: Descriptor, open: () => AsyncIterable<Uint8Array>): Promise<void> {
    let position = this.#member(blobName(descriptor.digest), descriptor.size);
    for await (const chunk of verifyStream(open(), descriptor)) {
      checkCanceled(ctx);
      this.#put(chunk, position);
      position += chunk.length;
    }
  }

  /** Writes the header and keeps the room for the content; returns where that goes. What pads it is never written: a hole reads as zeros. */
  #member(name: string, size: number): number {
    const parts = name.split("/").slice(0, -1);
    for (let i = 1; i <= parts.length; i++) this.#directory(parts.slice(0, i).join("/"));
    const header = this.#tar.header({ name: Buffer.from(name), type: "file", mode: FILE_MODE, size });
    const position = this.#append(header);
    this.#end += size + this.#tar.padding(size).length;
    return position;
  }

  #directory(name: string): void {
    if (this.#directories.has(name)) return;
    this.#directories.add(name);
    this.#append(this.#tar.header({ name: Buffer.from(name), type: "directory", mode: 0o755 }));
  }

  /** Returns the position after it. */
  #append(bytes: Uint8Array): number {
    this.#put(bytes, this.#end);
    this.#end += bytes.length;
    return this.#end;
  }

  #put(bytes: Uint8Array, position: number): void {
    try {
      this.#file.write(bytes, position);
    } catch (error) {
      throw writeFailure(error, this.place.path as string);
    }
  }

  async putManifest(ctx: Ctx, { bytes, mediaType, digest, top }: PutManifest): Promise<void> {
    const document = parseManifest(bytes, mediaType);
    if (this.#isDocker) this.#top = this.#checkImage(document);
    const descriptor = { mediaType, digest, size: bytes.length };
    await this.putBlob(ctx, descriptor, async function* () {
      yield bytes;
    });
    if (top) this.#entries.push(...this.#named(descriptor));
    else if (document.subject !== undefined) this.#entries.push(descriptor);
  }

  #checkImage(document: ReturnType<typeof parseManifest>): Manifest {
    if (!isIndex(document) && isImageConfigType(document.config.mediaType)) return document;
    const type = isIndex(document) ? document.mediaType : document.config.mediaType;
    throw fail(
      "invalid-argument",
      `"${this.place.text}": Docker's archives hold images, not "${excerpt(type)}"`,
      {
        reason: "destination-format",
        hint: "use oci-archive",
      },
    );
  }

  /** containerd and podman look for the one name, everybody else for the other. */
  #named(descriptor: Descriptor): Descriptor[] {
    const { refName } = this.place;
    if (refName !== undefined) return [{ ...descriptor, annotations: { [REF_NAME]: refName } }];
    if (!this.#isDocker || this.#names.length === 0) return [descriptor];
    return this.#names.map((name) => ({
      ...descriptor,
      annotations: { [CONTAINERD_NAME]: formatReference(name), [REF_NAME]: name.tag as string },
    }));
  }

  async commit(): Promise<void> {
    this.#document("index.json", { schemaVersion: 2, mediaType: OCI_INDEX, manifests: this.#entries });
    this.#document(LAYOUT_FILE, LAYOUT_BYTES);
    if (this.#top !== undefined) this.#document("manifest.json", [dockerEntry(this.#top, this.#names)]);
    this.#append(this.#tar.end());
    const path = this.place.path as string;
    try {
      // Somebody may have put a file there meanwhile: only an empty one that was there before is replaced.
      await this.#file.publish(basename(path), { replace: checkIsFree(path), mode: FILE_MODE });
    } catch (error) {
      throw writeFailure(error, path);
    }
  }

  #document(name: string, value: object): void {
    const bytes = value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value));
    this.#put(bytes, this.#member(name, bytes.length));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#file[Symbol.dispose]();
    this.#root[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** True if there is an empty file, whose place will be taken. Errors: already-exists. */
function checkIsFree(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (stat.isFile() && stat.size === 0) return true;
  throw fail("already-exists", `"${path}" exists; an archive cannot be added to`, {
    reason: "archive-exists",
    hint: "remove it first, or name another file",
  });
}

function dockerEntry({ config, layers }: Manifest, names: Reference[]): object {
  return {
    Config: blobName(config.digest),
    RepoTags: names.map(familiarReference),
    Layers: layers.map((layer) => blobName(layer.digest)),
  };
}
