/** Sizes as docker and podman read and print them (go-units). */
import { fail } from "../core/error.ts";

const BINARY: Record<string, number> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };
const DECIMAL_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/** "64m", "1.5g", "512", "10MiB", "8kb" in bytes; powers of 1024 throughout. "-1" stays -1. Errors: invalid-argument. */
export function parseSize(text: string): number {
  if (text === "-1") return -1;
  const match = /^(\d+\.?\d*|\.\d+) ?([kmgtp]?)(i?b)?$/i.exec(text);
  const factor = match === null ? undefined : BINARY[(match[2] as string).toLowerCase()];
  if (match === null || factor === undefined) {
    throw fail("invalid-argument", `invalid size "${text}"`, { hint: 'write it like "64m" or "1.5g"' });
  }
  return Math.floor(Number(match[1]) * factor);
}

/** A number with `digits` significant digits, without trailing zeros and never with an exponent (Go's %.4g for our range). */
function significant(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}

function scale(bytes: number, base: number, units: string[]): [number, string] {
  let value = bytes;
  let index = 0;
  while (value >= base && index < units.length - 1) {
    value /= base;
    index++;
  }
  return [value, units[index] as string];
}

/** 13631488 → "13.63MB" (four digits, powers of 1000); `gap` goes between number and unit. */
export function humanSize(bytes: number, options: { digits?: number; gap?: string } = {}): string {
  const [value, unit] = scale(bytes, 1000, DECIMAL_UNITS);
  return `${significant(value, options.digits ?? 4)}${options.gap ?? ""}${unit}`;
}

/** 67108864 → "64MiB" (four digits, powers of 1024). */
export function binarySize(bytes: number): string {
  const [value, unit] = scale(bytes, 1024, BINARY_UNITS);
  return `${significant(value, 4)}${unit}`;
}
