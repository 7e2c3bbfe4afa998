/**
 * The tar writer: headers for entries whose content the caller puts between them.
 *
 * Deterministic: the same entry always gives the same bytes. Plain ustar as long as it can say
 * everything; a PAX header stands before an entry only for what ustar cannot: a name that is
 * not ASCII or does not fit, a big number, extended attributes, and, if asked, the fraction of the mtime.
 * Names that are not UTF-8 go into PAX as they are, as other engines' writers do.
 *
 * Worked example: `out.write(tar.header({ name, type: "file", size, mode: 0o644 }))`, then `size` bytes,
 * then `tar.padding(size)`; after the last entry `tar.end()`.
 */
import { fail } from "../core/error.ts";
import type { EntryType, TarEntry } from "./archive.ts";
import { BLOCK, describeName } from "./tar-header.ts";

/** What an entry is made of; all that is absent is zero or empty. */
export type TarHeader = Partial<TarEntry> & Pick<TarEntry, "name" | "type">;

export interface TarWriterOptions {
  /** Keep the mtime's fraction of a second (in PAX); else it is cut off. */
  subSecond?: boolean;
}

const FLAGS: Record<EntryType, string> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

const MAX_8 = 0o7777777;
const MAX_12 = 0o77777777777;
const SLASH = 0x2f;
const NO_BYTES = new Uint8Array(0);
const ZEROS = new Uint8Array(BLOCK);

type Records = [key: string, value: Uint8Array][];

export class TarWriter {
  readonly #options: TarWriterOptions;

  constructor(options: TarWriterOptions = {}) {
    this.#options = options;
  }

  /** The header block of the entry, with its PAX blocks before it. A directory's name gets its final "/". */
  header(header: TarHeader): Uint8Array {
    const entry = { ...header, name: fullName(header) };
    const records: Records = [];
    const split = splitName(entry.name, records);
    const seconds = secondsOf(entry.mtimeNs ?? 0n);
    if (this.#options.subSecond === true) addFraction(records, entry.mtimeNs ?? 0n, seconds);
    const block = plainBlock(entry, split, { seconds, records });
    const keys = [...(entry.xattrs?.keys() ?? [])].toSorted();
    for (const key of keys) records.push([`SCHILY.xattr.${key}`, entry.xattrs?.get(key) as Uint8Array]);
    if (records.length === 0) return block;
    return withPax(block, records);
  }

  /** Zeros that fill the last block of a file's content. */
  padding(size: number): Uint8Array {
    return ZEROS.subarray(0, (BLOCK - (size % BLOCK)) % BLOCK);
  }

  /** The two blocks of zeros that end an archive. */
  end(): Uint8Array {
    return new Uint8Array(2 * BLOCK);
  }
}

function fullName(header: TarHeader): Uint8Array {
  if (header.name.includes(0)) throw fail("invalid-argument", `${describeName(header.name)}: NUL in a name`);
  if (header.type !== "directory" || header.name.at(-1) === SLASH) return header.name;
  const name = new Uint8Array(header.name.length + 1);
  name.set(header.name);
  name[header.name.length] = SLASH;
  return name;
}

function isAscii(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if ((bytes[i] as number) >= 0x80) return false;
  return true;
}

/** ustar keeps 100 bytes of name and 155 of leading directories; what does not fit goes to PAX. */
function splitName(name: Uint8Array, records: Records): { name: Uint8Array; prefix: Uint8Array } {
  const isPlain = isAscii(name);
  if (isPlain && name.length <= 100) return { name, prefix: NO_BYTES };
  if (isPlain && name.length <= 256) {
    // The slash between the two is not stored, and the name must not be empty.
    const cut = name.lastIndexOf(SLASH, Math.min(155, name.length - 2));
    if (cut > 0 && name.length - cut - 1 <= 100) {
      return { name: name.subarray(cut + 1), prefix: name.subarray(0, cut) };
    }
  }
  records.push(["path", name]);
  return { name: asciiTail(name), prefix: NO_BYTES };
}

/** A stand-in for readers without PAX: ASCII, at most 100 bytes, the end of the real name. */
function asciiTail(name: Uint8Array): Uint8Array {
  return name.slice(-100).map((byte) => (byte >= 0x80 ? 0x5f : byte));
}

function secondsOf(ns: bigint): number {
  const seconds = ns / 1_000_000_000n;
  return Number(ns % 1_000_000_000n < 0n ? seconds - 1n : seconds);
}

function text(value: string | number): Uint8Array {
  return Buffer.from(String(value));
}

function addFraction(records: Records, ns: bigint, seconds: number): void {
  const nanoseconds = ns - BigInt(seconds) * 1_000_000_000n;
  if (nanoseconds === 0n) return;
  const size = ns < 0n ? -ns : ns;
  const digits = (size % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  records.push(["mtime", text(`${ns < 0n ? "-" : ""}${size / 1_000_000_000n}.${digits}`)]);
}

interface Extra {
  seconds: number;
  records: Records;
}

function plainBlock(
  entry: TarHeader,
  split: { name: Uint8Array; prefix: Uint8Array },
  extra: Extra,
): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const { records, seconds } = extra;
  const link = entry.linkName ?? NO_BYTES;
  block.set(split.name, 0);
  putOctal(block, 100, 8, (entry.mode ?? 0) & 0o7777);
  putNumber(block, { at: 108, width: 8, key: "uid", value: entry.uid ?? 0 }, records);
  putNumber(block, { at: 116, width: 8, key: "gid", value: entry.gid ?? 0 }, records);
  const size = entry.type === "file" ? (entry.size ?? 0) : 0;
  putNumber(block, { at: 124, width: 12, key: "size", value: size }, records);
  const hasTime = records.some(([key]) => key === "mtime");
  putNumber(block, { at: 136, width: 12, key: "mtime", value: seconds }, hasTime ? [] : records);
  block[156] = FLAGS[entry.type].charCodeAt(0);
  if (link.length > 100 || !isAscii(link)) {
    records.push(["linkpath", link]);
    block.set(asciiTail(link), 157);
  } else block.set(link, 157);
  block.set(text("ustar\u000000"), 257);
  putOwner(block, { at: 265, key: "uname", value: entry.uname ?? "" }, records);
  putOwner(block, { at: 297, key: "gname", value: entry.gname ?? "" }, records);
  if (entry.type === "char" || entry.type === "block") putDevice(block, entry);
  block.set(split.prefix, 345);
  return withChecksum(block);
}

function putOctal(block: Uint8Array, at: number, width: number, value: number): void {
  block.set(text(value.toString(8).padStart(width - 1, "0")), at);
}

interface Field<V> {
  at: number;
  key: string;
  value: V;
}

function putNumber(block: Uint8Array, field: Field<number> & { width: 8 | 12 }, records: Records): void {
  const fits = field.value >= 0 && field.value <= (field.width === 8 ? MAX_8 : MAX_12);
  if (!fits) records.push([field.key, text(field.value)]);
  putOctal(block, field.at, field.width, fits ? field.value : 0);
}

function putOwner(block: Uint8Array, field: Field<string>, records: Records): void {
  const bytes = text(field.value);
  if (bytes.length <= 31 && isAscii(bytes)) block.set(bytes, field.at);
  else records.push([field.key, bytes]);
}

function putDevice(block: Uint8Array, entry: TarHeader): void {
  const { major, minor } = entry.device ?? { major: 0, minor: 0 };
  if (major > MAX_8 || minor > MAX_8 || major < 0 || minor < 0) {
    throw fail("invalid-argument", `${describeName(entry.name)}: device number out of range`);
  }
  putOctal(block, 329, 8, major);
  putOctal(block, 337, 8, minor);
}

/** Fills in the checksum; exported for archives that are wrong on purpose. */
export function withChecksum(block: Uint8Array): Uint8Array {
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += block[i] as number;
  block.set(text(sum.toString(8).padStart(6, "0")), 148);
  block[154] = 0;
  return block;
}

/** "LENGTH KEY=VALUE\n", where LENGTH counts its own digits. */
export function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const head = Buffer.from(` ${key}=`);
  const bare = head.length + value.length + 1;
  let length = bare + String(bare).length;
  if (String(length).length > String(bare).length) length = bare + String(length).length;
  return Buffer.concat([text(length), head, value, Buffer.from("\n")]);
}

function withPax(block: Uint8Array, records: Records): Uint8Array {
  const sorted = records.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const body = Buffer.concat(sorted.map(([key, value]) => paxRecord(key, value)));
  const header = new Uint8Array(BLOCK);
  header.set(text("PaxHeaders.0/entry"), 0);
  putOctal(header, 100, 8, 0o644);
  putOctal(header, 108, 8, 0);
  putOctal(header, 116, 8, 0);
  putOctal(header, 124, 12, body.length);
  putOctal(header, 136, 12, 0);
  header[156] = 0x78; // "x"
  header.set(text("ustar\u000000"), 257);
  const padding = new Uint8Array((BLOCK - (body.length % BLOCK)) % BLOCK);
  return Buffer.concat([withChecksum(header), body, padding, block]);
}
