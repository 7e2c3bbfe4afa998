/** IP addresses and subnets as numbers: parse, print, count. Pure. */

export interface Ip {
  family: 4 | 6;
  value: bigint;
}

export interface Subnet {
  /** First address, host bits zero. */
  base: Ip;
  prefix: number;
}

const BITS = { 4: 32, 6: 128 } as const;

/** Strict: four decimal octets without leading zeros, or RFC 4291 text without a zone; undefined for anything else. */
export function parseIp(text: string): Ip | undefined {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return { family: 4, value: v4 };
  const v6 = parseIpv6(text);
  return v6 === undefined ? undefined : { family: 6, value: v6 };
}

function parseIpv4(text: string): bigint | undefined {
  if (!/^(\d{1,3}\.){3}\d{1,3}$/.test(text)) return undefined;
  const octets = text.split(".");
  if (octets.some((o) => Number(o) > 255 || (o.length > 1 && o.startsWith("0")))) return undefined;
  return octets.reduce((value, o) => (value << 8n) | BigInt(o), 0n);
}

function parseIpv6(text: string): bigint | undefined {
  if (!/^[0-9a-f:.]{2,45}$/i.test(text)) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => groups(half));
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const rest = tail ?? [];
  const missing = 8 - head.length - rest.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array.from({ length: missing }, () => 0), ...rest];
  return all.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** The 16-bit groups of one side of "::"; the last may be written as an IPv4 address. */
function groups(text: string): number[] | undefined {
  if (text === "") return [];
  const found: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    const v4 = index === parts.length - 1 && part.includes(".") ? parseIpv4(part) : undefined;
    if (v4 !== undefined) found.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
    else if (/^[0-9a-f]{1,4}$/i.test(part)) found.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return found;
}

/** RFC 5952: lower case, the longest run of zero groups as "::". */
export function formatIp(ip: Ip): string {
  const bytes = ipBytes(ip);
  if (ip.family === 4) return bytes.join(".");
  const words = Array.from(
    { length: 8 },
    (_, i) => ((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number),
  );
  const run = longestZeroRun(words);
  const hex = (part: number[]): string => part.map((w) => w.toString(16)).join(":");
  if (run.length < 2) return hex(words);
  return `${hex(words.slice(0, run.start))}::${hex(words.slice(run.start + run.length))}`;
}

function longestZeroRun(words: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < words.length; start++) {
    let length = 0;
    while (words[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  return best;
}

/** 4 or 16 bytes, network order. */
export function ipBytes(ip: Ip): Uint8Array {
  const bytes = new Uint8Array(BITS[ip.family] / 8);
  let value = ip.value;
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = Number(value & 0xffn);
    value >>= 8n;
  }
  return bytes;
}

export function ipFromBytes(bytes: Uint8Array): Ip {
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** "10.87.0.0/16"; host bits are cleared. Undefined for anything else. */
export function parseSubnet(text: string): Subnet | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const ip = match === null ? undefined : parseIp(match[1] as string);
  const prefix = Number(match?.[2]);
  if (ip === undefined || prefix > BITS[ip.family]) return undefined;
  return subnetOf(ip, prefix);
}

export function subnetOf(ip: Ip, prefix: number): Subnet {
  const hostBits = BigInt(BITS[ip.family] - prefix);
  return { base: { family: ip.family, value: (ip.value >> hostBits) << hostBits }, prefix };
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatIp(subnet.base)}/${subnet.prefix}`;
}

/** The address `slot` places behind the base. */
export function addressAt(subnet: Subnet, slot: bigint): Ip {
  return { family: subnet.base.family, value: subnet.base.value + slot };
}

/** How far behind the base; undefined when it lies outside. */
export function slotOf(subnet: Subnet, ip: Ip): bigint | undefined {
  if (ip.family !== subnet.base.family) return undefined;
  const slot = ip.value - subnet.base.value;
  return slot >= 0n && slot < sizeOf(subnet) ? slot : undefined;
}

/** Number of addresses in it, all of them. */
export function sizeOf(subnet: Subnet): bigint {
  return 1n << BigInt(BITS[subnet.base.family] - subnet.prefix);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return slotOf(a, b.base) !== undefined || slotOf(b, a.base) !== undefined;
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(ip: Ip): boolean {
  return ip.family === 4 ? ip.value >> 24n === 127n : ip.value === 1n;
}
