/**
 * An archive of images in a file, whose headers are read to see where its members lie; their bytes are then taken from there. A
 * compressed archive is inflated into an unnamed file of the store's own first.
 *
 * Names in the archive are only looked up among themselves, never in a file system.
 */
import { closeSync, fstatSync, openSync, read, readSync } from "node:fs";
import { detectCompression } from "../../archive/compress.ts";
import { TarReader } from "../../archive/tar-reader.ts";
import type { TarEntry, TarSink } from "../../archive/archive.ts";
import { checkCanceled, type Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { isDigest } from "../../image/digest.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../../image/manifest.ts";
import { ioError } from "../../storage/files.ts";
import { Rooted } from "../../sys/rooted.ts";
import { hostileMember, memberName } from "../archive-member.ts";
import type { Engine } from "../engine.ts";
import type { ImageLayout, StoredFile } from "../load-layout.ts";
import { StagedFile } from "./staged-file.ts";

const CHUNK = 1024 * 1024;
/** What is read for a header: the small members that follow often come along. */
const SCAN = 64 * 1024;
/** More than any magic number needs. */
const HEAD = 16;
const MAX_LINKS = 8;
const MAX_MEMBERS = 1_000_000;
const DOCUMENTS = new Set(["manifest.json", "index.json", "oci-layout", "repositories"]);

/** A stretch of the file. */
interface Extent {
  position: number;
  size: number;
}

export class TarFileLayout implements ImageLayout, Disposable {
  readonly #fd: number;
  readonly #members: Members;
  readonly #undo: DisposableStack;

  private constructor(fd: number, members: Members, undo: DisposableStack) {
    this.#fd = fd;
    this.#members = members;
    this.#undo = undo;
  }

  /** Errors: not-found, invalid-argument (not an archive, hostile members), data-loss (corrupt, truncated), resource-exhausted. */
  static async open(ctx: Ctx, engine: Engine, path: string): Promise<TarFileLayout> {
    using undo = new DisposableStack();
    const fd = openFile(path);
    undo.defer(() => closeSync(fd));
    if (isCompressed(fd)) {
      const { plainStream } = await import("../load-stream.ts");
      const plain = undo.use(unnamedFile(engine));
      const packed = chunksOf(ctx, fd, { position: 0, size: Infinity });
      for await (const chunk of plainStream(ctx, packed)) plain.write(chunk);
      return TarFileLayout.#scan(ctx, plain.fd, undo);
    }
    return TarFileLayout.#scan(ctx, fd, undo);
  }

  static #scan(ctx: Ctx, fd: number, undo: DisposableStack): TarFileLayout {
    const members = new Members();
    const { size } = fstatSync(fd);
    for (let position = 0; position < size;) {
      checkCanceled(ctx);
      const chunk = readNow(fd, position, SCAN);
      if (chunk.length === 0) break;
      members.write(chunk);
      position += chunk.length;
      position += members.skip(size - position);
    }
    members.end();
    return new TarFileLayout(fd, members, undo.move());
  }

  document(name: string): Uint8Array | undefined {
    return this.#members.documents.get(name);
  }

  file(name: string, plain?: Digest): StoredFile | undefined {
    const member = this.#members.find(name);
    if (member === undefined) return undefined;
    const { extent } = member;
    member.digest ??=
      plain !== undefined && !isCompressed(this.#fd, extent) ? plain : hashOf(this.#fd, extent);
    this.#members.extents.set(member.digest, extent);
    return { digest: member.digest, size: extent.size };
  }

  has(digest: Digest): boolean {
    return this.#members.extents.has(digest);
  }

  async *blob(ctx: Ctx, { digest }: Descriptor): AsyncGenerator<Uint8Array, void, undefined> {
    const extent = this.#members.extents.get(digest);
    if (extent === undefined) {
      throw fail("not-found", `the archive lacks blob "${digest}"`, { reason: "archive-incomplete" });
    }
    yield* chunksOf(ctx, this.#fd, extent);
  }

  [Symbol.dispose](): void {
    this.#undo.dispose();
  }
}

function openFile(path: string): number {
  try {
    const fd = openSync(path, "r");
    if (fstatSync(fd).isFile()) return fd;
    closeSync(fd);
  } catch (error) {
    throw ioError(error, `cannot read "${path}"`);
  }
  throw fail("invalid-argument", `"${path}" is not a regular file`, {
    reason: "not-regular",
    hint: 'a stream is read with "berth load"',
  });
}

/** By its first bytes, from `position` on. */
function isCompressed(fd: number, { position, size }: Extent = { position: 0, size: HEAD }): boolean {
  return detectCompression(readNow(fd, position, Math.min(size, HEAD))) !== "none";
}

function readNow(fd: number, position: number, length: number): Uint8Array {
  const buffer = Buffer.allocUnsafeSlow(length);
  try {
    return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
  } catch (error) {
    throw ioError(error, "cannot read the archive");
  }
}

/** Of a member that nobody vouches for: configs, and compressed layers of Docker's old archives. */
function hashOf(fd: number, { position, size }: Extent): Digest {
  const hasher = new Bun.CryptoHasher("sha256");
  for (let done = 0; done < size;) {
    const chunk = readNow(fd, position + done, Math.min(CHUNK, size - done));
    if (chunk.length === 0) break;
    hasher.update(chunk);
    done += chunk.length;
  }
  return `sha256:${hasher.digest("hex")}`;
}

function unnamedFile(engine: Engine): StagedFile {
  using root = Rooted.open(engine.sys, engine.paths.ingest);
  return StagedFile.open(engine.sys, root, "");
}

async function* chunksOf(
  ctx: Ctx,
  fd: number,
  { position, size }: Extent,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let done = 0; done < size;) {
    checkCanceled(ctx);
    const chunk = await readAt(fd, position + done, Math.min(CHUNK, size - done));
    if (chunk.length === 0) return;
    done += chunk.length;
    yield chunk;
  }
}

function readAt(fd: number, position: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(length);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  read(fd, buffer, 0, length, position, (error, count) =>
    error === null ? resolve(buffer.subarray(0, count)) : reject(ioError(error, "cannot read the archive")),
  );
  return promise;
}

/** What the tar reader tells, by name and by digest. */
class Members implements TarSink {
  readonly documents = new Map<string, Uint8Array>();
  readonly extents = new Map<Digest, Extent>();
  readonly #reader = new TarReader(this, { maxEntries: MAX_MEMBERS });
  readonly #files = new Map<string, FileMember>();
  readonly #links = new Map<string, string>();
  /** Bytes of the file before the chunk that is being read, and that chunk. */
  #before = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  #open: OpenMember | undefined;

  write(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#reader.write(chunk);
    this.#before += chunk.length;
  }

  /** Passes over what is left of a blob, at most `available` bytes. Returns how many. */
  skip(available: number): number {
    const count = Math.min(this.#reader.skippable, available);
    if (count === 0 || this.#open?.isDocument === true) return 0;
    this.#open?.skip(count, this.#before);
    this.#before += count;
    this.#reader.skip(count);
    return count;
  }

  end(): void {
    this.#reader.end();
  }

  find(name: string): FileMember | undefined {
    let at = memberName(name);
    for (let hops = 0; hops <= MAX_LINKS; hops++) {
      const file = this.#files.get(at);
      if (file !== undefined) return file;
      const next = this.#links.get(at);
      if (next === undefined) return undefined;
      at = next;
    }
    return undefined;
  }

  entry(entry: TarEntry): void {
    const name = memberName(Buffer.from(entry.name).toString());
    this.#open = undefined;
    if (entry.type === "directory" || name === "") return;
    if (entry.type === "hardlink" || entry.type === "symlink") {
      const target = Buffer.from(entry.linkName).toString();
      if (target.startsWith("/")) throw hostileMember(name, "is a link out of the archive");
      const from = entry.type === "symlink" ? `${name.slice(0, name.lastIndexOf("/") + 1)}${target}` : target;
      this.#links.set(name, memberName(from));
      return;
    }
    if (entry.type !== "file") throw hostileMember(name, "is neither a file, a link nor a directory");
    this.#open = new OpenMember(name, entry.size);
  }

  data(chunk: Uint8Array, offset: number): void {
    const member = this.#open;
    if (member === undefined) return;
    // The reader hands on views of the chunk it was given, which tell where in the file they are.
    member.add(chunk, offset, this.#before + chunk.byteOffset - this.#chunk.byteOffset);
  }

  endEntry(): void {
    const member = this.#open;
    if (member === undefined) return;
    this.#open = undefined;
    this.#links.delete(member.name);
    if (member.isDocument) this.#keepDocument(member.name, member.bytes());
    else {
      const file = member.finish();
      this.#files.set(member.name, file);
      if (file.digest !== undefined) this.extents.set(file.digest, file.extent);
    }
  }

  /** Two different ones are what two readers would see two different images in. */
  #keepDocument(name: string, bytes: Uint8Array): void {
    const before = this.documents.get(name);
    if (before !== undefined && !Buffer.from(before).equals(bytes))
      throw hostileMember(name, "is there twice");
    this.documents.set(name, bytes);
  }
}

/** A file of the archive; its digest where its name says so, or once somebody has asked for it. */
interface FileMember {
  digest: Digest | undefined;
  extent: Extent;
}

/** The file whose content is just coming by. */
class OpenMember {
  readonly name: string;
  readonly isDocument: boolean;
  readonly #size: number;
  /** Of a blob that has its digest for a name it is the receiver who looks whether that is true. */
  readonly #named: Digest | undefined;
  readonly #parts: Uint8Array[] = [];
  #position = 0;
  #length = 0;

  constructor(name: string, size: number) {
    const [, algorithm, hex] = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/.exec(name) ?? [];
    const digest = `${algorithm}:${hex}`;
    this.name = name;
    this.#size = size;
    this.#named = isDigest(digest) ? digest : undefined;
    this.isDocument = DOCUMENTS.has(name);
    if (this.isDocument && size > MAX_MANIFEST_BYTES) {
      throw fail("resource-exhausted", `"${name}" in the archive is ${size} bytes`, {
        reason: "document-too-large",
      });
    }
  }

  add(chunk: Uint8Array, offset: number, position: number): void {
    if (offset !== this.#length) throw hostileMember(this.name, "is sparse");
    if (offset === 0) this.#position = position;
    this.#length += chunk.length;
    if (this.isDocument) this.#parts.push(chunk.slice());
  }

  skip(count: number, position: number): void {
    if (this.#length === 0) this.#position = position;
    this.#length += count;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  finish(): FileMember {
    if (this.#length !== this.#size) throw hostileMember(this.name, "is sparse");
    return { digest: this.#named, extent: { position: this.#position, size: this.#size } };
  }
}
