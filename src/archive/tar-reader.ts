/**
 * The tar reader: a push parser that never copies content.
 *
 * Reads ustar, GNU, star, v7 and PAX archives in chunks of any size and tells a {@link TarSink}.
 * What decides where an entry ends (pax `size` before the header's, no content for links,
 * directories and devices) follows Go's archive/tar, because that is what other engines read
 * the same layers with, and two readers that disagree are a hole. Global headers are skipped. An
 * archive may end without its two blocks of zeros, but only between entries; after them,
 * anything is padding.
 */
import { fail } from "../core/error.ts";
import type { EntryType, TarEntry, TarLimits, TarSink } from "./archive.ts";
import {
  BLOCK,
  corrupt,
  describeName,
  outOfRange,
  readDevice,
  readHeader,
  type RawHeader,
} from "./tar-header.ts";
import { type PaxFields, readPax } from "./tar-pax.ts";
import { checkExtents, readGnuExtension, readGnuHeader, SparseMapReader } from "./tar-sparse.ts";

const DEFAULTS: TarLimits = {
  maxHeaderBytes: 1 << 20,
  maxSparseExtents: 65_536,
  maxEntries: 10_000_000,
  maxTotalBytes: 2 ** 40,
};

const TYPES: Record<string, EntryType> = {
  "0": "file",
  "7": "file",
  S: "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};

/** 2^32 - 1 means "leave the owner alone" to chown(2), so it can name nobody. */
const MAX_ID = 0xfffffffe;
const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
const NO_BYTES = new Uint8Array(0);
const NO_DEVICE = { major: 0, minor: 0 };

type State = "header" | "meta" | "sparse-blocks" | "sparse-map" | "data" | "skip" | "done";

/** What extended headers said about the next entry. */
interface Pending {
  pax?: PaxFields;
  longName?: Uint8Array;
  longLink?: Uint8Array;
  bytes: number;
}

/** An extended header whose payload is being gathered. */
interface Meta {
  flag: string;
  name: Uint8Array;
  bytes: Uint8Array;
  filled: number;
}

interface Sparse {
  extents: number[];
  /** Index into `extents` and bytes already taken of that extent. */
  index: number;
  taken: number;
  map?: SparseMapReader;
}

export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: TarLimits;
  #state: State = "header";
  /** A block that straddles two chunks is put together here. */
  readonly #block = new Uint8Array(BLOCK);
  #held = 0;
  #pending: Pending = { bytes: 0 };
  #meta: Meta | undefined;
  #zeroBlocks = 0;
  #entries = 0;
  #total = 0;
  #entry: TarEntry | undefined;
  #sparse: Sparse | undefined;
  /** Stored bytes left of the current entry, its padding, and the offset of the next byte of the file. */
  #left = 0;
  #padding = 0;
  #offset = 0;

  constructor(sink: TarSink, limits: Partial<TarLimits> = {}) {
    this.#sink = sink;
    this.#limits = { ...DEFAULTS, ...limits };
  }

  /** Entries told so far. */
  get entries(): number {
    return this.#entries;
  }

  /** Takes the next bytes; the sink is called before this returns. Errors: data-loss, invalid-argument. */
  write(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "done") return;
      if (this.#state === "data") at = this.#takeData(chunk, at);
      else if (this.#state === "skip") at = this.#takeSkip(chunk, at);
      else if (this.#state === "meta") at = this.#takeMeta(chunk, at);
      else at = this.#takeBlock(chunk, at);
    }
  }

  /** Bytes that come next and belong to the current file: {@link skip} may stand for them. 0 between files, and in sparse ones. */
  get skippable(): number {
    return this.#state === "data" && this.#sparse === undefined ? this.#left : 0;
  }

  /** As if that many of the {@link skippable} bytes had been written; the sink is not told of them. */
  skip(count: number): void {
    if (count > this.skippable) throw new RangeError(`cannot skip ${count} bytes`);
    this.#offset += count;
    this.#left -= count;
    if (count > 0 && this.#left === 0) this.#endEntry();
  }

  /** Must be called after the last byte. Errors: data-loss for a truncated archive. */
  end(): void {
    const isBetween = this.#state === "header" && this.#held === 0 && this.#pending.bytes === 0;
    if (this.#state === "done" || isBetween) return;
    const where = this.#entry === undefined ? "" : ` in ${describeName(this.#entry.name)}`;
    throw fail("data-loss", `tar archive is truncated${where}`, { reason: "tar-truncated" });
  }

  #takeBlock(chunk: Uint8Array, at: number): number {
    if (this.#held === 0 && chunk.length - at >= BLOCK) {
      this.#onBlock(chunk, at);
      return at + BLOCK;
    }
    const take = Math.min(BLOCK - this.#held, chunk.length - at);
    this.#block.set(chunk.subarray(at, at + take), this.#held);
    this.#held += take;
    if (this.#held === BLOCK) {
      this.#held = 0;
      this.#onBlock(this.#block, 0);
    }
    return at + take;
  }

  #onBlock(block: Uint8Array, at: number): void {
    if (this.#state === "header") this.#onHeader(block, at);
    else if (this.#state === "sparse-blocks") this.#onSparseBlock(block, at);
    else this.#onSparseMap(block, at);
  }

  #onHeader(block: Uint8Array, at: number): void {
    const header = readHeader(block, at);
    if (header === undefined) {
      if (++this.#zeroBlocks === 2) this.#onEndMarker();
      return;
    }
    if (this.#zeroBlocks > 0) throw corrupt(header.name, "stands after a block of zeros");
    const flag = String.fromCharCode(header.typeFlag);
    if (flag === "x" || flag === "g" || flag === "L" || flag === "K") this.#onMetaHeader(flag, header);
    else if (flag === "V") this.#skip(header.size);
    else this.#onEntryHeader(flag, header, { block, at });
  }

  #onEndMarker(): void {
    if (this.#pending.bytes > 0) {
      throw fail("data-loss", "tar archive ends after an extended header", { reason: "tar-truncated" });
    }
    this.#state = "done";
  }

  #onMetaHeader(flag: string, header: RawHeader): void {
    this.#pending.bytes += BLOCK + header.size;
    if (this.#pending.bytes > this.#limits.maxHeaderBytes) {
      const limit = this.#limits.maxHeaderBytes;
      throw fail("invalid-argument", `${describeName(header.name)}: extended headers over ${limit} bytes`, {
        reason: "tar-limit",
      });
    }
    if (flag === "g") {
      // Says nothing about the next entry alone: an archive may well end after it.
      this.#pending.bytes -= BLOCK + header.size;
      this.#skip(header.size);
      return;
    }
    this.#meta = { flag, name: header.name, bytes: new Uint8Array(header.size), filled: 0 };
    this.#padding = paddingOf(header.size);
    this.#state = "meta";
    if (header.size === 0) this.#onMeta();
  }

  #takeMeta(chunk: Uint8Array, at: number): number {
    const meta = this.#meta as Meta;
    const take = Math.min(meta.bytes.length - meta.filled, chunk.length - at);
    meta.bytes.set(chunk.subarray(at, at + take), meta.filled);
    meta.filled += take;
    if (meta.filled === meta.bytes.length) this.#onMeta();
    return at + take;
  }

  #onMeta(): void {
    const { flag, name, bytes } = this.#meta as Meta;
    this.#meta = undefined;
    if (flag === "x") this.#pending.pax = readPax(bytes, name, this.#limits.maxSparseExtents);
    else {
      const nul = bytes.indexOf(0);
      const text = nul < 0 ? bytes : bytes.subarray(0, nul);
      if (flag === "L") this.#pending.longName = text;
      else this.#pending.longLink = text;
    }
    this.#state = "skip";
    this.#left = 0;
    this.#finishSkip();
  }

  #skip(size: number): void {
    this.#left = size + paddingOf(size);
    this.#padding = 0;
    this.#state = "skip";
    this.#finishSkip();
  }

  #takeSkip(chunk: Uint8Array, at: number): number {
    const take = Math.min(this.#left + this.#padding, chunk.length - at);
    const ofLeft = Math.min(take, this.#left);
    this.#left -= ofLeft;
    this.#padding -= take - ofLeft;
    this.#finishSkip();
    return at + take;
  }

  #finishSkip(): void {
    if (this.#left + this.#padding === 0) this.#state = "header";
  }

  #onEntryHeader(flag: string, header: RawHeader, where: { block: Uint8Array; at: number }): void {
    const type = TYPES[flag];
    const pax = this.#pending.pax ?? {};
    const entry = buildEntry(header, type ?? "file", this.#pending);
    if (type === undefined) {
      throw fail("invalid-argument", `${describeName(entry.name)}: type "${flag}" is not supported`, {
        reason: "tar-type",
      });
    }
    this.#pending = { bytes: 0 };
    if (type === "char" || type === "block") entry.device = readDevice(where.block, where.at, entry.name);
    if (++this.#entries > this.#limits.maxEntries) {
      throw fail("invalid-argument", `tar archive has more than ${this.#limits.maxEntries} entries`, {
        reason: "tar-limit",
      });
    }
    this.#entry = entry;
    this.#left = type === "file" ? (pax.size ?? header.size) : 0;
    this.#padding = paddingOf(this.#left);
    this.#offset = 0;
    this.#sparse = undefined;
    if (flag === "S") this.#beginGnuSparse(where);
    else if (type === "file" && pax.sparse !== undefined) this.#beginPaxSparse(pax);
    else this.#beginEntry(this.#left);
  }

  #into(): { extents: number[]; max: number; name: Uint8Array } {
    const name = this.#entry?.name ?? NO_BYTES;
    return { extents: this.#sparse?.extents ?? [], max: this.#limits.maxSparseExtents, name };
  }

  #beginGnuSparse({ block, at }: { block: Uint8Array; at: number }): void {
    this.#sparse = { extents: [], index: 0, taken: 0 };
    const { size, more } = readGnuHeader(block, at, this.#into());
    (this.#entry as TarEntry).size = size;
    if (more) this.#state = "sparse-blocks";
    else this.#beginEntry(size);
  }

  #onSparseBlock(block: Uint8Array, at: number): void {
    if (!readGnuExtension(block, at, this.#into())) this.#beginEntry((this.#entry as TarEntry).size);
  }

  #beginPaxSparse(pax: PaxFields): void {
    const entry = this.#entry as TarEntry;
    const sparse = pax.sparse as NonNullable<PaxFields["sparse"]>;
    if (sparse.name !== undefined) entry.name = sparse.name;
    const hasMapInData = sparse.major === 1 && sparse.minor === 0;
    if (!hasMapInData && sparse.hasMap !== true) return this.#beginEntry(this.#left);
    entry.size = sparse.size ?? this.#left;
    this.#sparse = { extents: sparse.extents, index: 0, taken: 0 };
    if (!hasMapInData) return this.#beginEntry(entry.size);
    this.#sparse.extents = [];
    this.#sparse.map = new SparseMapReader(this.#into());
    this.#state = "sparse-map";
  }

  #onSparseMap(block: Uint8Array, at: number): void {
    if (this.#left + this.#padding < BLOCK) throw corrupt(this.#into().name, "sparse map is cut off");
    const isComplete = this.#sparse?.map?.block(block, at) === true;
    const ofLeft = Math.min(BLOCK, this.#left);
    this.#left -= ofLeft;
    this.#padding -= BLOCK - ofLeft;
    if (isComplete) this.#beginEntry((this.#entry as TarEntry).size);
  }

  /** The header is complete, extents and all: tell the sink. `size` is the file's, holes included. */
  #beginEntry(size: number): void {
    const entry = this.#entry as TarEntry;
    entry.size = size;
    if (this.#sparse !== undefined) checkExtents(this.#sparse.extents, size, this.#left, entry.name);
    this.#total += size;
    if (this.#total > this.#limits.maxTotalBytes) {
      throw fail("invalid-argument", `tar archive holds more than ${this.#limits.maxTotalBytes} bytes`, {
        reason: "tar-limit",
      });
    }
    this.#sink.entry(entry);
    this.#state = "data";
    if (this.#left === 0) this.#endEntry();
  }

  #takeData(chunk: Uint8Array, at: number): number {
    let take = Math.min(this.#left, chunk.length - at);
    const sparse = this.#sparse;
    if (sparse !== undefined) {
      const length = sparse.extents[sparse.index + 1] as number;
      take = Math.min(take, length - sparse.taken);
      this.#offset = (sparse.extents[sparse.index] as number) + sparse.taken;
      sparse.taken += take;
      if (sparse.taken === length) {
        sparse.index += 2;
        sparse.taken = 0;
      }
    }
    this.#sink.data(take === chunk.length ? chunk : chunk.subarray(at, at + take), this.#offset);
    this.#offset += take;
    this.#left -= take;
    if (this.#left === 0) this.#endEntry();
    return at + take;
  }

  #endEntry(): void {
    this.#sink.endEntry();
    this.#entry = undefined;
    this.#sparse = undefined;
    this.#state = "skip";
    this.#finishSkip();
  }
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** The header with what extended headers override; sizes and devices are put in by the reader. */
function buildEntry(header: RawHeader, type: EntryType, pending: Pending): TarEntry {
  const pax = pending.pax ?? {};
  const name = pending.longName ?? pax.path ?? header.name;
  const entry: TarEntry = {
    name,
    type,
    linkName: pending.longLink ?? pax.linkPath ?? header.linkName,
    mode: header.mode,
    uid: checkId(pax.uid ?? header.uid, name, "uid"),
    gid: checkId(pax.gid ?? header.gid, name, "gid"),
    uname: pax.uname ?? header.uname,
    gname: pax.gname ?? header.gname,
    size: 0,
    mtimeNs: pax.mtimeNs ?? header.mtimeNs,
    device: NO_DEVICE,
    xattrs: pax.xattrs ?? NO_XATTRS,
  };
  if (pax.atimeNs !== undefined) entry.atimeNs = pax.atimeNs;
  return entry;
}

function checkId(id: number, name: Uint8Array, what: string): number {
  if (id < 0 || id > MAX_ID) throw outOfRange(name, what);
  return id;
}
