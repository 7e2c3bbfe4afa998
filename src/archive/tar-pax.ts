/**
 * PAX extended headers (POSIX.1-2001): "LENGTH KEY=VALUE\n" records, values as raw bytes.
 *
 * A record with an empty value takes back what earlier headers said, so it counts as absent.
 * Errors: data-loss for records that do not parse, invalid-argument for values out of range.
 */
import { corrupt, clampTime, outOfRange } from "./tar-header.ts";
import { addExtent, type SparseFields } from "./tar-sparse.ts";

export interface PaxFields {
  path?: Uint8Array;
  linkPath?: Uint8Array;
  size?: number;
  uid?: number;
  gid?: number;
  uname?: string;
  gname?: string;
  mtimeNs?: bigint;
  atimeNs?: bigint;
  xattrs?: Map<string, Uint8Array>;
  sparse?: SparseFields;
}

interface Reading {
  fields: PaxFields;
  /** The entry as the plain header names it, for messages. */
  name: Uint8Array;
  maxExtents: number;
}

const EQUALS = 0x3d;
const NEWLINE = 0x0a;
const MAX_KEY = 1024;

/** Where the record's length ends; the length itself in `value`. */
function readLength(bytes: Uint8Array, at: number, name: Uint8Array): { value: number; end: number } {
  let value = 0;
  let i = at;
  for (; i < bytes.length && i - at < 9; i++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  if (i === at || bytes[i] !== 0x20) throw corrupt(name, "malformed pax record");
  return { value, end: i };
}

function decimal(value: Uint8Array, name: Uint8Array, what: string): number {
  const text = Buffer.from(value).toString("latin1");
  if (!/^-?\d+$/.test(text)) throw corrupt(name, `malformed pax ${what}`);
  const number = Number(text);
  if (number < 0 || number > Number.MAX_SAFE_INTEGER) throw outOfRange(name, what);
  return number;
}

function time(value: Uint8Array, name: Uint8Array, what: string): bigint {
  const match = /^(-?)(\d+)(?:\.(\d*))?$/.exec(Buffer.from(value).toString("latin1"));
  if (match === null) throw corrupt(name, `malformed pax ${what}`);
  const nanoseconds = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  const sign = match[1] === "-" ? -1 : 1;
  return clampTime(sign * Number(match[2]), sign * nanoseconds);
}

function withoutNul(value: Uint8Array, name: Uint8Array, what: string): Uint8Array {
  if (value.includes(0)) throw corrupt(name, `NUL in pax ${what}`);
  return value.slice();
}

function setXattr(reading: Reading, key: string, value: Uint8Array): void {
  if (key === "" || key.includes("\0")) throw corrupt(reading.name, "malformed extended attribute name");
  (reading.fields.xattrs ??= new Map()).set(key, value);
}

function setSparse(reading: Reading, key: string, value: Uint8Array): void {
  const { name, maxExtents } = reading;
  const sparse = (reading.fields.sparse ??= { extents: [] });
  if (key === "major") sparse.major = decimal(value, name, "sparse version");
  else if (key === "minor") sparse.minor = decimal(value, name, "sparse version");
  else if (key === "name") sparse.name = withoutNul(value, name, "sparse name");
  else if (key === "size" || key === "realsize") sparse.size = decimal(value, name, "sparse size");
  else if (key === "offset") sparse.pending = decimal(value, name, "sparse offset");
  else if (key === "numbytes") {
    if (sparse.pending === undefined) throw corrupt(name, "sparse length without an offset");
    addExtent(sparse.extents, [sparse.pending, decimal(value, name, "sparse length")], maxExtents, name);
    delete sparse.pending;
    sparse.hasMap = true;
  } else if (key === "map") readMap(reading, sparse, value);
}

/** GNU.sparse.map of format 0.1: "offset,length,offset,length". */
function readMap(reading: Reading, sparse: SparseFields, value: Uint8Array): void {
  sparse.hasMap = true;
  sparse.extents = [];
  let start = 0;
  let offset: number | undefined;
  for (let i = 0; i <= value.length; i++) {
    if (i < value.length && value[i] !== 0x2c) continue;
    const number = decimal(value.subarray(start, i), reading.name, "sparse map");
    start = i + 1;
    if (offset === undefined) {
      offset = number;
      continue;
    }
    addExtent(sparse.extents, [offset, number], reading.maxExtents, reading.name);
    offset = undefined;
  }
  if (offset !== undefined) throw corrupt(reading.name, "malformed pax sparse map");
}

function setText(reading: Reading, key: string, value: Uint8Array): boolean {
  const { fields, name } = reading;
  if (key === "path") fields.path = withoutNul(value, name, key);
  else if (key === "linkpath") fields.linkPath = withoutNul(value, name, key);
  else if (key === "uname") fields.uname = Buffer.from(value).toString();
  else if (key === "gname") fields.gname = Buffer.from(value).toString();
  else return false;
  return true;
}

function setNumber(reading: Reading, key: string, value: Uint8Array): boolean {
  const { fields, name } = reading;
  if (key === "size") fields.size = decimal(value, name, key);
  else if (key === "uid") fields.uid = decimal(value, name, key);
  else if (key === "gid") fields.gid = decimal(value, name, key);
  else if (key === "mtime") fields.mtimeNs = time(value, name, key);
  else if (key === "atime") fields.atimeNs = time(value, name, key);
  else return false;
  return true;
}

function setPrefixed(reading: Reading, key: string, value: Uint8Array): void {
  if (key.startsWith("SCHILY.xattr.")) setXattr(reading, key.slice(13), value.slice());
  else if (key.startsWith("GNU.sparse.")) setSparse(reading, key.slice(11), value);
  else if (key.startsWith("LIBARCHIVE.xattr.")) {
    const decoded = decodeURIComponentOr(key.slice(17));
    // libarchive writes both forms; the raw one is exact and wins whichever comes first.
    if (reading.fields.xattrs?.has(decoded) === true) return;
    setXattr(reading, decoded, new Uint8Array(Buffer.from(Buffer.from(value).toString("latin1"), "base64")));
  }
}

function decodeURIComponentOr(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Reads the payload of an "x" header. `name` is the header's own, for messages. */
export function readPax(bytes: Uint8Array, name: Uint8Array, maxExtents: number): PaxFields {
  const reading: Reading = { fields: {}, name, maxExtents };
  let at = 0;
  while (at < bytes.length) {
    const length = readLength(bytes, at, name);
    const end = at + length.value;
    const equals = bytes.indexOf(EQUALS, length.end + 1);
    const isWhole = end <= bytes.length && bytes[end - 1] === NEWLINE && end > length.end + 2;
    if (!isWhole || equals < 0 || equals >= end - 1 || equals === length.end + 1) {
      throw corrupt(name, "malformed pax record");
    }
    if (equals - length.end > MAX_KEY) throw corrupt(name, "pax key too long");
    const key = Buffer.from(
      bytes.buffer,
      bytes.byteOffset + length.end + 1,
      equals - length.end - 1,
    ).toString();
    const value = bytes.subarray(equals + 1, end - 1);
    // An xattr may well be empty; for all other keys that means "as if not given".
    if (value.length > 0 && (setText(reading, key, value) || setNumber(reading, key, value))) {
      at = end;
      continue;
    }
    if (value.length > 0 || key.startsWith("SCHILY.xattr.")) setPrefixed(reading, key, value);
    at = end;
  }
  return reading.fields;
}
