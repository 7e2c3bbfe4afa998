/**
 * One 512-byte tar header block: ustar (POSIX.1-1988), GNU, star and the older v7 form.
 *
 * Only what the block itself says; extended headers are applied by the reader. Errors: data-loss
 * for a block that is no header, invalid-argument for numbers outside what a file can have.
 */
import { fail } from "../core/error.ts";

export const BLOCK = 512;

/** Seconds a file system can keep: ext4's range with 256-byte inodes, which others contain. */
const MIN_SECONDS = -0x80000000;
const MAX_SECONDS = 0x37fffffff;

export interface RawHeader {
  name: Uint8Array;
  linkName: Uint8Array;
  /** The type flag's character code; NUL is told as "0" unless the name ends in "/", which v7 uses for directories. */
  typeFlag: number;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtimeNs: bigint;
  uname: string;
  gname: string;
}

/** How an entry is named in messages: readable, and bounded. */
export function describeName(name: Uint8Array): string {
  const text = Buffer.from(name.buffer, name.byteOffset, Math.min(name.length, 200)).toString();
  // oxlint-disable-next-line no-control-regex -- names from an archive must not reach a terminal raw
  return `tar entry "${text.replace(/[\u0000-\u001f\u007f]/g, "?")}${name.length > 200 ? "…" : ""}"`;
}

export function outOfRange(name: Uint8Array, what: string): Error {
  return fail("invalid-argument", `${describeName(name)}: ${what} out of range`, { reason: "tar-range" });
}

export function corrupt(name: Uint8Array, what: string): Error {
  return fail("data-loss", `${describeName(name)}: ${what}`, { reason: "tar-corrupt" });
}

/** Nanoseconds since the epoch, clamped; `seconds` may be infinite. */
export function clampTime(seconds: number, nanoseconds = 0): bigint {
  if (seconds < MIN_SECONDS) return BigInt(MIN_SECONDS) * 1_000_000_000n;
  if (seconds > MAX_SECONDS) return BigInt(MAX_SECONDS) * 1_000_000_000n;
  return BigInt(Math.trunc(seconds)) * 1_000_000_000n + BigInt(nanoseconds);
}

function base256(block: Uint8Array, at: number, length: number): number {
  const first = block[at] as number;
  const negative = first === 0xff;
  let value = negative ? -1 : first & 0x7f;
  for (let i = at + 1; i < at + length; i++) value = value * 256 + (block[i] as number);
  return value;
}

/**
 * A number field: octal digits between optional spaces, ended by NUL or space, or base-256 when the
 * top bit is set. Large base-256 values lose precision but stay large: callers check the range.
 * Undefined for anything else.
 */
export function readNumber(block: Uint8Array, at: number, length: number): number | undefined {
  if ((block[at] as number) >= 0x80) return base256(block, at, length);
  const end = at + length;
  let i = at;
  while (i < end && block[i] === 0x20) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (block[i] as number) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  while (i < end && block[i] === 0x20) i++;
  return i === end || block[i] === 0 ? value : undefined;
}

/** The bytes up to the first NUL, copied: the block is reused. */
function readBytes(block: Uint8Array, at: number, length: number): Uint8Array {
  let end = at;
  while (end < at + length && block[end] !== 0) end++;
  return block.slice(at, end);
}

function readText(block: Uint8Array, at: number, length: number): string {
  return block[at] === 0 ? "" : Buffer.from(readBytes(block, at, length)).toString();
}

function isZero(block: Uint8Array, at: number): boolean {
  for (let i = at; i < at + BLOCK; i++) if (block[i] !== 0) return false;
  return true;
}

/** The sum counts the checksum field as spaces; some old programs summed signed bytes. */
function checksumFits(block: Uint8Array, at: number): boolean {
  let sum = 0;
  let high = 0;
  for (let i = at; i < at + BLOCK; i++) {
    const byte = block[i] as number;
    sum += byte;
    high += byte >> 7;
  }
  for (let i = at + 148; i < at + 156; i++) {
    const byte = block[i] as number;
    sum += 0x20 - byte;
    high -= byte >> 7;
  }
  const stored = readNumber(block, at + 148, 8);
  return stored === sum || stored === sum - 256 * high;
}

/** Length of the ustar `prefix` field: 155 in POSIX, 131 in star, none in GNU and v7. */
function prefixLength(block: Uint8Array, at: number): number {
  const isUstar =
    block[at + 257] === 0x75 && // "ustar\0"
    block[at + 258] === 0x73 &&
    block[at + 259] === 0x74 &&
    block[at + 260] === 0x61 &&
    block[at + 261] === 0x72 &&
    block[at + 262] === 0;
  if (!isUstar) return 0;
  return block[at + 508] === 0x74 && block[at + 509] === 0x61 && block[at + 510] === 0x72 ? 131 : 155;
}

function readName(block: Uint8Array, at: number): Uint8Array {
  const name = readBytes(block, at, 100);
  const length = prefixLength(block, at);
  if (length === 0 || block[at + 345] === 0) return name;
  const prefix = readBytes(block, at + 345, length);
  const whole = new Uint8Array(prefix.length + 1 + name.length);
  whole.set(prefix);
  whole[prefix.length] = 0x2f;
  whole.set(name, prefix.length + 1);
  return whole;
}

function typeFlagOf(flag: number, name: Uint8Array): number {
  if (flag !== 0) return flag;
  return name.at(-1) === 0x2f ? 0x35 : 0x30;
}

/** The header at `at`, or undefined for a block of zeros. Sizes are whole and not negative; ids are not checked. */
export function readHeader(block: Uint8Array, at: number): RawHeader | undefined {
  if (block[at] === 0 && isZero(block, at)) return undefined;
  if (!checksumFits(block, at)) {
    throw fail("data-loss", "not a tar header: the checksum is wrong", { reason: "tar-checksum" });
  }
  const name = readName(block, at);
  const number = (offset: number, length: number, what: string): number => {
    const value = readNumber(block, at + offset, length);
    if (value === undefined) throw corrupt(name, `malformed ${what}`);
    return value;
  };
  const size = number(124, 12, "size");
  if (size < 0 || size > Number.MAX_SAFE_INTEGER) throw outOfRange(name, "size");
  return {
    name,
    linkName: block[at + 157] === 0 ? new Uint8Array(0) : readBytes(block, at + 157, 100),
    typeFlag: typeFlagOf(block[at + 156] as number, name),
    mode: number(100, 8, "mode") & 0o7777,
    uid: number(108, 8, "uid"),
    gid: number(116, 8, "gid"),
    size,
    mtimeNs: clampTime(number(136, 12, "mtime")),
    uname: readText(block, at + 265, 32),
    gname: readText(block, at + 297, 32),
  };
}

/** Device numbers of a char or block entry. Linux keeps 12 bits of major and 20 of minor. */
export function readDevice(
  block: Uint8Array,
  at: number,
  name: Uint8Array,
): { major: number; minor: number } {
  const major = readNumber(block, at + 329, 8);
  const minor = readNumber(block, at + 337, 8);
  if (major === undefined || major < 0 || major > 0xfff) throw outOfRange(name, "device major");
  if (minor === undefined || minor < 0 || minor > 0xfffff) throw outOfRange(name, "device minor");
  return { major, minor };
}
