/**
 * Time as the field writes it: RFC 3339 with nanoseconds in UTC, Go durations, and the way docker
 * and podman speak of ages ("About a minute", "3 weeks").
 */
import { fail } from "./error.ts";

/** Now, as RFC 3339 with nanosecond digits (the clock gives milliseconds; the rest are zeros). */
export function now(): string {
  return rfc3339(Date.now());
}

function rfc3339(epochMs: number): string {
  return new Date(epochMs).toISOString().replace("Z", "000000Z");
}

const UNIT_MS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 6e4,
  h: 3.6e6,
};

/** A Go duration ("1h30m", "1.5s") in milliseconds. A bare "0" is allowed. Errors: invalid-argument. */
export function parseDuration(text: string): number {
  const body = text.replace(/^[+-]/, "");
  if (body === "0") return 0;
  const terms = [...body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  if (terms.length === 0 || terms.map((t) => t[0]).join("") !== body) {
    throw fail("invalid-argument", `invalid duration "${text}"`, { hint: 'write it like "30s" or "1h15m"' });
  }
  const sum = terms.reduce((ms, t) => ms + Number(t[1]) * (UNIT_MS[t[2] as string] as number), 0);
  return text.startsWith("-") ? -sum : sum;
}

/** Nanoseconds as Go prints a duration: "92.927603ms", "1m2.5s", "0s". */
export function goDuration(nanos: bigint): string {
  const ns = Number(nanos);
  const scaled = (unit: number, name: string): string => `${Number((ns / unit).toFixed(9))}${name}`;
  if (ns === 0) return "0s";
  if (ns < 1e3) return scaled(1, "ns");
  if (ns < 1e6) return scaled(1e3, "µs");
  if (ns < 1e9) return scaled(1e6, "ms");
  const minutes = Math.floor(ns / 6e10);
  const seconds = `${Number(((ns - minutes * 6e10) / 1e9).toFixed(9))}s`;
  if (minutes === 0) return seconds;
  return minutes < 60 ? `${minutes}m${seconds}` : `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds}`;
}

/**
 * `--since` and `--until`: RFC 3339 in full or in part, Unix seconds with an optional fraction, or
 * a Go duration counted back from now. Returns epoch milliseconds. Errors: invalid-argument.
 */
export function parseTimestamp(text: string, nowMs: number = Date.now()): number {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^\d{4}-\d{2}-\d{2}/.test(text)) {
    const parsed = Date.parse(text.replace(/(\.\d{3})\d+/, "$1"));
    if (!Number.isNaN(parsed)) return parsed;
  } else if (/^[+-]?[\d.]/.test(text)) {
    return nowMs - parseDuration(text);
  }
  throw fail("invalid-argument", `invalid time "${text}"`, {
    hint: 'write an RFC 3339 time, Unix seconds or a duration such as "10m"',
  });
}

/** docker/go-units HumanDuration: "Less than a second", "5 seconds", "About an hour", "2 weeks". */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(ms / 3.6e6);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}
