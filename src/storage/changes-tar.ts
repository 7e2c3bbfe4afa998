/**
 * Walking a tree and writing it as a tar, without following links and without trusting it to stay as
 * it is: a file that shrinks meanwhile is filled up with zeros, one that is gone is left out.
 * Deterministic: names sorted by bytes, the first name of a hard-linked file carries the content.
 */
import { TarWriter, type TarHeader, type TarWriterOptions } from "../archive/tar-writer.ts";
import { fail } from "../core/error.ts";
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Fd, Sys } from "../sys/sys.ts";
import { type Found, headerOf, look } from "./changes-entry.ts";
import { shown } from "./unpack-tree.ts";
import { isWhiteoutName, OPAQUE_NAME, WHITEOUT_PREFIX } from "./unpack-whiteout.ts";

export interface WalkOptions extends TarWriterOptions {
  /** The tree is one layer of an overlay: its marks become whiteouts. */
  overlay?: boolean;
  /** Called before each entry, with its name in the archive and its header, which it may change; false leaves the entry out. */
  filter?: (header: TarHeader) => boolean;
}

const CHUNK = 1 << 20;
/** One open directory a level. */
const MAX_DEPTH = 900;
const SLASH = Buffer.from("/");
const NO_BYTES = new Uint8Array(0);

interface At {
  dir: Fd;
  /** Name in `dir`. */
  name: Uint8Array;
  /** Name in the archive. */
  path: Uint8Array;
  depth: number;
}

function join(prefix: Uint8Array, name: Uint8Array): Uint8Array {
  return prefix.length === 0 ? name : Buffer.concat([prefix, SLASH, name]);
}

/** Collects the archive's bytes into chunks of 1 MiB, each its own memory. */
export class TreeTar {
  readonly #sys: Sys;
  readonly #options: WalkOptions;
  readonly #tar: TarWriter;
  readonly #links = new Map<string, Uint8Array>();
  #buffer = Buffer.allocUnsafeSlow(CHUNK);
  #filled = 0;

  constructor(sys: Sys, options: WalkOptions = {}) {
    this.#sys = sys;
    this.#options = options;
    this.#tar = new TarWriter(options);
  }

  /** All that is in the directory, which stays the caller's. `prefix` is its name in the archive. */
  *children(dir: Fd, prefix: Uint8Array = NO_BYTES, depth = 0): Generator<Uint8Array> {
    if (depth > MAX_DEPTH) {
      throw fail(
        "resource-exhausted",
        `directories below "${shown(prefix)}" are nested more than ${MAX_DEPTH} deep`,
        {
          reason: "too-deep",
        },
      );
    }
    const names = this.#sys.readdir(dir).map((entry) => entry.name);
    names.sort((a, b) => Buffer.compare(a, b));
    const found: { at: At; what: Found }[] = [];
    for (const name of names) {
      const at = { dir, name, path: join(prefix, name), depth };
      if (this.#options.overlay !== true) {
        yield* this.entry(at);
        continue;
      }
      const what = look(this.#sys, dir, name, true);
      if (what?.whiteout === true) yield* this.#mark(join(prefix, Buffer.concat([WHITEOUT_PREFIX, name])));
      else if (what !== undefined) found.push({ at, what });
    }
    // Whiteouts stand before what the layer adds, as the specification prefers.
    for (const { at, what } of found) yield* this.#found(at, what);
  }

  /** One entry and all below it. */
  *entry(at: At): Generator<Uint8Array> {
    const what = look(this.#sys, at.dir, at.name, this.#options.overlay === true);
    if (what !== undefined) yield* this.#found(at, what);
  }

  /** The header of a directory that is open; its children are written by {@link children}. */
  *directory(path: Uint8Array, what: Found): Generator<Uint8Array> {
    const header = headerOf(what);
    if (header !== undefined) yield* this.#header({ ...header, name: path });
    if (what.opaque) yield* this.opaqueMark(path);
  }

  /** Hides what lower layers have in the directory. */
  *opaqueMark(path: Uint8Array = NO_BYTES): Generator<Uint8Array> {
    yield* this.#mark(join(path, OPAQUE_NAME));
  }

  /** The end of the archive and what has not been given out yet. */
  *end(): Generator<Uint8Array> {
    yield* this.#put(this.#tar.end());
    if (this.#filled > 0) yield this.#buffer.subarray(0, this.#filled);
  }

  *#found(at: At, what: Found): Generator<Uint8Array> {
    const fields = headerOf(what);
    if (fields === undefined) return;
    if (this.#options.overlay === true && isWhiteoutName(at.name)) {
      throw fail("invalid-argument", `a layer cannot hold a file named "${shown(at.path)}"`, {
        reason: "whiteout-name",
        hint: 'names that begin with ".wh." mean deleted files in a layer; rename or remove it',
      });
    }
    const header: TarHeader = { ...fields, name: at.path };
    if (header.type === "directory") return yield* this.#directory(at, what);
    if (header.type === "symlink") {
      const target = this.#gone(() => this.#sys.readlink(at.dir, at.name));
      if (target !== undefined) yield* this.#header({ ...header, linkName: target.slice() });
      return;
    }
    const first = this.#firstName(at, what);
    if (first !== undefined) {
      // With the metadata: other engines set owner and mode again from a later name, which would clear capabilities.
      yield* this.#header({ ...header, type: "hardlink", linkName: first });
    } else if (header.type === "file") yield* this.#file(at, header);
    else yield* this.#header(header);
  }

  /** The archive's name of the file's first link, if this is a later one. */
  #firstName(at: At, { stat }: Found): Uint8Array | undefined {
    if (stat.nlink < 2) return undefined;
    const key = `${stat.dev.major}:${stat.dev.minor}:${stat.ino}`;
    const first = this.#links.get(key);
    if (first === undefined) this.#links.set(key, at.path);
    return first;
  }

  *#directory(at: At, what: Found): Generator<Uint8Array> {
    const flags = k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW | k.O_NONBLOCK;
    const fd = this.#gone(() => this.#sys.openat(at.dir, at.name, flags));
    if (fd === undefined) return;
    try {
      yield* this.directory(at.path, what);
      yield* this.children(fd, at.path, at.depth + 1);
    } finally {
      this.#sys.close(fd);
    }
  }

  *#file(at: At, header: TarHeader): Generator<Uint8Array> {
    const fd = this.#openRegular(at);
    if (fd === undefined) return;
    try {
      const size = header.size ?? 0;
      if (!(yield* this.#header(header))) return;
      yield* this.#content(fd, size);
      yield* this.#put(this.#tar.padding(size));
    } finally {
      this.#sys.close(fd);
    }
  }

  /** Never opens a device or a fifo, whatever takes the file's place in the meantime. */
  #openRegular({ dir, name }: At): Fd | undefined {
    const handle = this.#gone(() => this.#sys.openat(dir, name, k.O_PATH | k.O_NOFOLLOW));
    if (handle === undefined) return undefined;
    try {
      if ((this.#sys.stat(handle, "", 0).mode & k.S_IFMT) !== k.S_IFREG) return undefined;
      return this.#sys.open(`/proc/self/fd/${handle}`, k.O_RDONLY | k.O_NONBLOCK);
    } finally {
      this.#sys.close(handle);
    }
  }

  *#content(fd: Fd, size: number): Generator<Uint8Array> {
    let left = size;
    while (left > 0) {
      const into = this.#buffer.subarray(this.#filled, Math.min(CHUNK, this.#filled + left));
      let length = this.#sys.read(fd, into);
      if (length === 0) length = into.fill(0).length;
      left -= length;
      yield* this.#took(length);
    }
  }

  /** False if the filter leaves the entry out. */
  *#header(header: TarHeader): Generator<Uint8Array, boolean> {
    if (this.#options.filter?.(header) === false) return false;
    yield* this.#put(this.#tar.header(header));
    return true;
  }

  /** A whiteout has no metadata of its own, and must not differ from one run to the next. */
  *#mark(path: Uint8Array): Generator<Uint8Array> {
    yield* this.#header({ name: path, type: "file", mode: 0o600 });
  }

  *#put(bytes: Uint8Array): Generator<Uint8Array> {
    let done = 0;
    while (done < bytes.length) {
      const take = Math.min(bytes.length - done, CHUNK - this.#filled);
      this.#buffer.set(bytes.subarray(done, done + take), this.#filled);
      done += take;
      yield* this.#took(take);
    }
  }

  *#took(length: number): Generator<Uint8Array> {
    this.#filled += length;
    if (this.#filled < CHUNK) return;
    yield this.#buffer;
    this.#buffer = Buffer.allocUnsafeSlow(CHUNK);
    this.#filled = 0;
  }

  #gone<T>(body: () => T): T | undefined {
    try {
      return body();
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return undefined;
      throw error;
    }
  }
}
