/**
 * Unpacking: the sink of the tar reader that makes files. Runs in the sandboxed child, with the target as its root.
 *
 * The order for each entry is the one that keeps what it sets: create, content, owner (which clears
 * setuid and capabilities), extended attributes, mode, times; times of directories at the very end, after
 * all their children. No call follows a link in the last component. Layer rules: OCI image-spec 1.1, layer.md.
 */
import type { TarEntry, TarSink } from "../archive/archive.ts";
import { fail } from "../core/error.ts";
import * as k from "../sys/const.ts";
import { hasCode, type SysError } from "../sys/errno.ts";
import { joined } from "../sys/path-bytes.ts";
import type { Fd, Sys } from "../sys/sys.ts";
import { type Place, cleanPath, keyOf, pointsOutside, shown, type UnpackTree } from "./unpack-tree.ts";
import { putXattrs, putXattrsByName } from "./unpack-xattrs.ts";
import { whiteoutOf } from "./unpack-whiteout.ts";

export interface ExtractOptions {
  /** "layer" translates whiteouts into overlayfs' form; "plain" takes every name as it is. */
  mode: "layer" | "plain";
  /** Without privileges device files are left out with a warning. */
  unprivileged: boolean;
  /** Directory that all names are relative to; the root by default. */
  inside?: string | undefined;
  /** As in the request of `spawnUnpack`. */
  above?: "first" | "prepared" | undefined;
}

const CREATE = k.O_WRONLY | k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW;
const MAX_WARNINGS = 20;
/** Bytes of directory names above which times are set at once, and may be touched by later entries: memory stays bounded. */
const MAX_DIRECTORY_TIMES = 32 << 20;

/** Bytes of the names of hard links' targets that are not in the archive. */
const MAX_MISSING = 32 << 20;

const TYPE_BITS = { char: k.S_IFCHR, block: k.S_IFBLK, fifo: k.S_IFIFO };

export class Extractor implements TarSink {
  readonly #sys: Sys;
  readonly #tree: UnpackTree;
  readonly #options: ExtractOptions;
  readonly #directoryTimes = new Map<string, { atimeNs: bigint; mtimeNs: bigint }>();
  #directoryBytes = 0;
  readonly warnings: string[] = [];
  /** Targets of the hard links that were left out. */
  readonly missing: Uint8Array[] = [];
  #missingBytes = 0;
  /** `written` is -1 once a hole was passed. */
  #file: { fd: Fd; entry: TarEntry; written: number } | undefined;
  #size = 0;
  readonly #inside: Uint8Array[];

  constructor(sys: Sys, tree: UnpackTree, options: ExtractOptions) {
    this.#sys = sys;
    this.#tree = tree;
    this.#options = options;
    this.#inside = cleanPath(Buffer.from(options.inside ?? ""));
  }

  /** Bytes of regular files so far, holes included. */
  get size(): number {
    return this.#size;
  }

  entry(entry: TarEntry): void {
    try {
      this.#entry(entry);
    } catch (error) {
      if (!hasCode(error, "ELOOP", "ENAMETOOLONG")) throw error;
      const { code } = error as SysError;
      throw fail("invalid-argument", `tar entry "${shown(entry.name)}" cannot be made: ${code}`, {
        reason: code,
        cause: error,
      });
    }
  }

  #entry(entry: TarEntry): void {
    const own = cleanPath(entry.name);
    if (own.length === 0) return this.#root(entry);
    const parts = [...this.#inside, ...own];
    if (this.#options.mode === "layer" && this.#whiteout(parts)) return;
    if (entry.type === "directory") return this.#directory(entry, parts);
    const place = this.#tree.place(parts);
    if (entry.type === "file") this.#create(entry, place);
    else if (entry.type === "hardlink") this.#hardlink(entry, place);
    else if (entry.type === "symlink") this.#symlink(entry, place);
    else this.#node(entry, place, TYPE_BITS[entry.type]);
  }

  data(chunk: Uint8Array, offset: number): void {
    const file = this.#file;
    if (file === undefined) return;
    if (offset === file.written) {
      this.#sys.write(file.fd, chunk);
      file.written += chunk.length;
      return;
    }
    // Positioned writes leave the descriptor's offset behind: from the first hole on all are positioned.
    file.written = -1;
    this.#sys.write(file.fd, chunk, offset);
  }

  endEntry(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    try {
      if (file.written !== file.entry.size) this.#sys.truncate(file.fd, file.entry.size);
      this.#metadata(file.fd, file.entry);
      this.#sys.utimes(file.fd, "", accessTime(file.entry), file.entry.mtimeNs);
    } finally {
      this.#sys.close(file.fd);
    }
  }

  /** After the last entry: the directories' times. */
  finish(): void {
    for (const [key, times] of this.#directoryTimes) {
      const place = key === "" ? { dir: this.#tree.rootFd, name: "" } : this.#directoryAt(key);
      if (place !== undefined) this.#sys.utimes(place.dir, place.name, times.atimeNs, times.mtimeNs);
    }
  }

  /** Undefined if a later entry has put something else there. */
  #directoryAt(key: string): Place | undefined {
    const place = this.#tree.find(cleanPath(Buffer.from(key, "latin1")));
    const stat = place === undefined ? undefined : this.#tree.lstat(place);
    return stat !== undefined && (stat.mode & k.S_IFMT) === k.S_IFDIR ? place : undefined;
  }

  /** Closes what an error left open. */
  [Symbol.dispose](): void {
    if (this.#file !== undefined) this.#sys.close(this.#file.fd);
    this.#file = undefined;
  }

  #root(entry: TarEntry): void {
    if (entry.type !== "directory") {
      throw fail("invalid-argument", `tar entry for the root is a ${entry.type}, not a directory`, {
        reason: "root-not-directory",
      });
    }
    const fd = this.#tree.openDirectory(this.#inside);
    try {
      this.#metadata(fd, entry);
    } finally {
      this.#sys.close(fd);
    }
    this.#tree.notImplied(this.#inside);
    this.#directoryTimes.set(this.#inside.length === 0 ? "" : keyOf(joined(this.#inside)), {
      atimeNs: accessTime(entry),
      mtimeNs: entry.mtimeNs,
    });
  }

  #directory(entry: TarEntry, parts: Uint8Array[]): void {
    const fd = this.#tree.makeDirectory(parts);
    this.#metadata(fd, entry);
    const times = { atimeNs: accessTime(entry), mtimeNs: entry.mtimeNs };
    const key = keyOf(joined(parts));
    this.#directoryBytes += key.length + 64;
    if (this.#directoryBytes < MAX_DIRECTORY_TIMES) this.#directoryTimes.set(key, times);
    else this.#sys.utimes(fd, "", times.atimeNs, times.mtimeNs);
  }

  #create(entry: TarEntry, place: Place): void {
    const fd = this.#make(place, () => this.#sys.openat(place.dir, place.name, CREATE, 0o600));
    this.#file = { fd, entry, written: 0 };
    this.#size += entry.size;
  }

  #symlink(entry: TarEntry, place: Place): void {
    this.#make(place, () => this.#sys.symlink(entry.linkName, place.dir, place.name));
    this.#sys.chown(place.dir, place.name, entry.uid, entry.gid);
    putXattrsByName(this.#sys, place, entry, (text) => this.#warn(text));
    this.#sys.utimes(place.dir, place.name, accessTime(entry), entry.mtimeNs);
  }

  #node(entry: TarEntry, place: Place, type: number): void {
    const mode = type | entry.mode;
    try {
      // The umask is zero, so that the mode is complete here: there is no descriptor to change it by.
      this.#make(place, () => this.#sys.mknod(place.dir, place.name, mode, entry.device));
    } catch (error) {
      if (!this.#options.unprivileged || !hasCode(error, "EPERM")) throw error;
      return this.#warn(`device "${shown(entry.name)}" left out: making it needs privileges`);
    }
    this.#sys.chown(place.dir, place.name, entry.uid, entry.gid);
    putXattrsByName(this.#sys, place, entry, (text) => this.#warn(text));
    this.#sys.utimes(place.dir, place.name, accessTime(entry), entry.mtimeNs);
  }

  /** The name gets no metadata of its own: it is the same file. */
  #hardlink(entry: TarEntry, place: Place): void {
    try {
      if (!this.#link(entry, place)) this.#missing(entry);
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      const target = this.#linkTarget(entry);
      const wanted = target === undefined ? undefined : this.#tree.lstat(target);
      if (wanted === undefined) return this.#missing(entry);
      if (this.#tree.lstat(place)?.ino === wanted.ino) return;
      this.#tree.clear(place);
      this.#link(entry, place);
    }
  }

  /** False if the target is not there. Finds it anew each time: clearing a place closes directories. */
  #link(entry: TarEntry, place: Place): boolean {
    const target = this.#linkTarget(entry);
    if (target === undefined) return false;
    try {
      this.#sys.link(target.dir, target.name, place.dir, place.name);
      return true;
    } catch (error) {
      if (hasCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  #linkTarget(entry: TarEntry): Place | undefined {
    if (entry.linkName.length === 0) throw pointsOutside(entry.linkName);
    return this.#tree.find([...this.#inside, ...cleanPath(entry.linkName)]);
  }

  #missing(entry: TarEntry): void {
    this.#missingBytes += entry.linkName.length + 64;
    if (this.#options.above === "first" && this.#missingBytes < MAX_MISSING) {
      this.missing.push(joined(cleanPath(entry.linkName)));
      return;
    }
    const where = this.#options.above === undefined ? "the archive" : "this layer or those below it";
    throw fail(
      "invalid-argument",
      `tar entry "${shown(entry.name)}" is a hard link to "${shown(entry.linkName)}", which is not in ${where}`,
      { reason: "link-target-missing" },
    );
  }

  /** Makes something where nothing is, removing what stands in the way. */
  #make<T>(place: Place, body: () => T): T {
    try {
      return body();
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      this.#tree.clear(place);
      return body();
    }
  }

  #metadata(fd: Fd, entry: TarEntry): void {
    this.#sys.chown(fd, "", entry.uid, entry.gid);
    if (entry.xattrs.size > 0) putXattrs(this.#sys, fd, entry, (text) => this.#warn(text));
    this.#sys.fchmod(fd, entry.mode);
  }

  /** True if the entry was a whiteout (or a leftover of aufs) and is dealt with. Its type does not matter. */
  #whiteout(parts: Uint8Array[]): boolean {
    const whiteout = whiteoutOf(parts);
    if (whiteout === undefined) return false;
    const parent = parts.slice(0, -1);
    if (whiteout === "skip") return true;
    if (whiteout === "opaque") this.#tree.markOpaque(parent);
    else this.#hide([...parent, whiteout]);
    return true;
  }

  /** Hides what lower layers have there. What this layer itself has stays: whiteouts speak of lower layers only. */
  #hide(parts: Uint8Array[]): void {
    const place = this.#tree.place(parts);
    const stat = this.#tree.lstat(place);
    if (stat === undefined) {
      this.#sys.mknod(place.dir, place.name, k.S_IFCHR, { major: 0, minor: 0 });
    } else if ((stat.mode & k.S_IFMT) === k.S_IFDIR) {
      this.#tree.markOpaque(parts);
      this.#tree.notImplied(parts);
    }
  }

  #warn(text: string): void {
    if (this.warnings.length < MAX_WARNINGS) this.warnings.push(text);
  }
}

/** Some programs write 0 or nothing: never older than the content. */
function accessTime(entry: TarEntry): bigint {
  const { atimeNs, mtimeNs } = entry;
  return atimeNs !== undefined && atimeNs > mtimeNs ? atimeNs : mtimeNs;
}
