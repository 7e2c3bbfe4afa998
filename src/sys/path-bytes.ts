/** Paths as bytes, because file names are not text: splitting and joining without resolving anything. */
import type { Name } from "./sys.ts";

const SLASH = 47;
const DOT = 46;

export function toBytes(name: Name): Uint8Array {
  return typeof name === "string" ? Buffer.from(name) : name;
}

/** True for "..". */
export function isDotDot(name: Uint8Array): boolean {
  return name.length === 2 && name[0] === DOT && name[1] === DOT;
}

export function isAbsolute(path: Uint8Array): boolean {
  return path[0] === SLASH;
}

/** Components without empty ones and "."; ".." stays, because only the kernel may resolve it. */
export function components(path: Name): Uint8Array[] {
  const bytes = toBytes(path);
  const parts: Uint8Array[] = [];
  for (let start = 0; start <= bytes.length;) {
    const slash = bytes.indexOf(SLASH, start);
    const end = slash < 0 ? bytes.length : slash;
    const dot = end - start === 1 && bytes[start] === DOT;
    if (end > start && !dot) parts.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return parts;
}

/** A relative path; "." for no component. */
export function joined(parts: Uint8Array[]): Uint8Array {
  if (parts.length === 0) return Uint8Array.of(DOT);
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length + 1, -1));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
    if (at < out.length) out[at++] = SLASH;
  }
  return out;
}

/** 16 hexadecimal digits, for a name that nobody else has. (Loading node:crypto would cost 2 ms.) */
export function randomName(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
}
