/**
 * Compares an unpacked layer with the tar it came from: what is missing, what was added, whose type, mode,
 * owner, size, link target or content is another. Times and extended attributes are not compared.
 */
import type { TarEntry, TarSink } from "../archive/archive.ts";
import {
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../sys/const.ts";
import { EngineError } from "../core/error.ts";
import { componentsOf, Merged } from "./merged.ts";
import { Rooted } from "../sys/rooted.ts";
import type { Fd, Stat, Sys } from "../sys/sys.ts";

type Expected = Pick<TarEntry, "mode" | "uid" | "gid" | "size"> & {
  type: TarEntry["type"] | "whiteout";
  link: string;
  /** Of the content; undefined for sparse files, whose holes are not told. */
  hash?: string;
};

const FORMAT: Record<Exclude<Expected["type"], "hardlink" | "whiteout">, number> = {
  file: S_IFREG,
  symlink: S_IFLNK,
  char: S_IFCHR,
  block: S_IFBLK,
  directory: S_IFDIR,
  fifo: S_IFIFO,
};

const WHITEOUT = ".wh.";
/** The first few say enough; a layer may have a million files. */
const MAX_DIFFERENCES = 20;
const CHUNK = 1 << 20;

/** Feed it the tar, then ask. Names are kept as latin1 text, which keeps every byte. */
export class LayerCheck implements TarSink, Disposable {
  readonly #sys: Sys;
  readonly #root: Rooted;
  readonly #layer: Merged;
  readonly #expected = new Map<string, Expected>();
  readonly #parents = new Map<string, string>();
  /** Not in the tar, but needed by what is: copied up from lower layers (see copy-up.ts). */
  readonly #copied = new Set<string>();
  #current: { key: string; item: Expected; hasher: Bun.CryptoHasher; next: number } | undefined;
  readonly #differences: string[] = [];

  constructor(sys: Sys, diff: string) {
    this.#sys = sys;
    this.#root = Rooted.open(sys, diff);
    this.#layer = new Merged(sys, undefined, [diff]);
  }

  [Symbol.dispose](): void {
    this.#layer[Symbol.dispose]();
    this.#root[Symbol.dispose]();
  }

  entry(entry: TarEntry): void {
    const parts = componentsOf(Buffer.from(entry.name).toString("latin1"));
    const name = parts.pop() ?? "";
    const parent = this.#resolve(parts.join("/"));
    const { mode, uid, gid, size } = entry;
    const link = Buffer.from(entry.linkName).toString("latin1");
    const item: Expected = { type: entry.type, mode, uid, gid, size, link };
    if (name.startsWith(".wh..wh.")) return;
    if (name.startsWith(WHITEOUT)) {
      const key = join(parent, name.slice(WHITEOUT.length));
      // Something of that name in the same layer stays, whichever comes first.
      if (!this.#expected.has(key)) this.#expected.set(key, { ...item, type: "whiteout" });
      return;
    }
    const key = join(parent, name);
    if (entry.type === "hardlink") this.#linked(link);
    this.#replace(key, item);
    this.#current = { key, item, hasher: new Bun.CryptoHasher("sha256"), next: 0 };
  }

  data(chunk: Uint8Array, offset: number): void {
    const current = this.#current;
    if (current === undefined) return;
    current.next = current.next === offset ? offset + chunk.length : Number.NaN;
    current.hasher.update(chunk);
  }

  endEntry(): void {
    const current = this.#current;
    if (current?.item.type === "file" && current.next === current.item.size) {
      current.item.hash = current.hasher.digest("hex");
    }
    this.#current = undefined;
  }

  /** One line a difference, at most 20. */
  differences(): string[] {
    const parents = new Set<string>();
    for (const key of [...this.#expected.keys(), ...this.#copied]) {
      for (let at = key.indexOf("/"); at >= 0; at = key.indexOf("/", at + 1)) parents.add(key.slice(0, at));
    }
    for (const [key, item] of this.#expected) {
      // A directory that is only there for what is in it stays, whichever comes first, as a listed one does.
      if (item.type !== "whiteout" || !parents.has(key)) this.#compare(key, item);
    }
    this.#findAdded("", parents);
    return this.#differences;
  }

  /** The file that a hard link was made to may be a lower layer's. */
  #linked(target: string): void {
    const parts = componentsOf(target);
    const name = parts.pop();
    if (name !== undefined) this.#copied.add(join(this.#resolve(parts.join("/")), name));
  }

  /** The last entry of a name counts; a directory that becomes something else loses what was in it. */
  #replace(key: string, item: Expected): void {
    if (this.#expected.get(key)?.type === "directory" && item.type !== "directory") {
      for (const other of this.#expected.keys()) {
        if (other.startsWith(`${key}/`)) this.#expected.delete(other);
      }
    }
    this.#expected.set(key, item);
  }

  /** Where a directory of the tar really is: it may lead through links of the same layer or of lower ones. */
  #resolve(parent: string): string {
    const known = this.#parents.get(parent);
    if (known !== undefined) return known;
    let real = parent;
    try {
      real = Buffer.from(this.#root.realpath(Buffer.from(parent, "latin1")))
        .toString("latin1")
        .slice(1);
    } catch (error) {
      // Missing: the comparison will say so, under the name the tar gave it.
      if (!(error instanceof EngineError)) throw error;
    }
    this.#parents.set(parent, real);
    if (real !== parent) this.#through(parent);
    return real;
  }

  #through(parent: string): void {
    const trace = this.#layer.resolve(parent, true);
    for (const path of trace?.dirs ?? []) this.#copied.add(path);
    for (const { path } of trace?.links ?? []) this.#copied.add(path);
  }

  #report(key: string, what: string): void {
    if (this.#differences.length < MAX_DIFFERENCES) {
      this.#differences.push(`"/${Buffer.from(key, "latin1").toString()}" ${what}`);
    }
  }

  #compare(key: string, item: Expected): void {
    const path = Buffer.from(key, "latin1");
    let stat: Stat;
    try {
      stat = this.#root.lstat(path);
    } catch {
      return this.#report(key, "is missing");
    }
    const wrong = this.#difference(path, item, stat);
    if (wrong !== undefined) this.#report(key, wrong);
  }

  #difference(path: Uint8Array, item: Expected, stat: Stat): string | undefined {
    const format = stat.mode & S_IFMT;
    if (item.type === "whiteout") return format === S_IFCHR ? undefined : "is no whiteout";
    if (item.type === "hardlink") return format === S_IFDIR ? "is a directory" : undefined;
    if (format !== FORMAT[item.type]) return `is no ${item.type}`;
    if (stat.uid !== item.uid || stat.gid !== item.gid) return "has another owner";
    if (item.type === "symlink") {
      const target = Buffer.from(this.#root.readlink(path)).toString("latin1");
      return target === item.link ? undefined : "leads elsewhere";
    }
    if ((stat.mode & 0o7777) !== item.mode) return "has another mode";
    if (item.type !== "file") return undefined;
    if (stat.size !== item.size) return "has another size";
    return item.hash === undefined || item.hash === this.#hash(path) ? undefined : "has other content";
  }

  #hash(path: Uint8Array): string {
    const hasher = new Bun.CryptoHasher("sha256");
    const { fd } = this.#root.openRegular(path);
    try {
      const chunk = new Uint8Array(CHUNK);
      for (let length = this.#sys.read(fd, chunk); length > 0; length = this.#sys.read(fd, chunk)) {
        hasher.update(chunk.subarray(0, length));
      }
    } finally {
      this.#sys.close(fd);
    }
    return hasher.digest("hex");
  }

  #findAdded(dir: string, parents: Set<string>): void {
    const fd: Fd = this.#root.openFile(Buffer.from(dir, "latin1"), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    try {
      for (const { name } of this.#sys.readdir(fd)) {
        const key = join(dir, Buffer.from(name).toString("latin1"));
        const isKnown = this.#expected.has(key) || this.#copied.has(key) || parents.has(key);
        if (!isKnown) this.#report(key, "was added");
        const { mode } = this.#sys.stat(fd, name, AT_SYMLINK_NOFOLLOW);
        if ((mode & S_IFMT) === S_IFDIR) this.#findAdded(key, parents);
      }
    } finally {
      this.#sys.close(fd);
    }
  }
}

function join(parent: string, name: string): string {
  return parent === "" ? name : name === "" ? parent : `${parent}/${name}`;
}
