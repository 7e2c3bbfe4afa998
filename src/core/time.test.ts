import { expect, test } from "bun:test";
import { humanDuration, now, parseDuration, parseTimestamp } from "./time.ts";

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const D = 24 * H;

// What docker/go-units HumanDuration prints.
const AGES: [number, string][] = [
  [0, "Less than a second"],
  [999, "Less than a second"],
  [S, "1 second"],
  [59 * S, "59 seconds"],
  [M, "About a minute"],
  [2 * M - 1, "About a minute"],
  [2 * M, "2 minutes"],
  [59 * M, "59 minutes"],
  [H, "About an hour"],
  [1.4 * H, "About an hour"],
  [1.6 * H, "2 hours"],
  [47 * H, "47 hours"],
  [2 * D, "2 days"],
  [13 * D, "13 days"],
  [14 * D, "2 weeks"],
  [59 * D, "8 weeks"],
  [60 * D, "2 months"],
  [729 * D, "24 months"],
  [730 * D, "2 years"],
];

test.each(AGES)("humanDuration(%d) is %s", (ms, text) => {
  expect(humanDuration(ms)).toBe(text);
});

const DURATIONS: [string, number][] = [
  ["0", 0],
  ["1s", S],
  ["1.5s", 1.5 * S],
  ["1h30m", 1.5 * H],
  ["2m3.5s", 2 * M + 3.5 * S],
  ["100ms", 100],
  ["-10m", -10 * M],
  [".5s", 500],
];

test.each(DURATIONS)("parseDuration(%s)", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each(["", "5", "1x", "h", "1h 30m", "1s;", "--1s", "1.2.3s"])("parseDuration refuses %p", (text) => {
  expect(() => parseDuration(text)).toThrow(`invalid duration "${text}"`);
});

test("parseTimestamp takes RFC 3339, Unix seconds and ages", () => {
  const at = Date.parse("2026-01-02T03:04:05Z");
  expect(parseTimestamp("2026-01-02T03:04:05Z")).toBe(at);
  expect(parseTimestamp("2026-01-02T03:04:05.123456789Z")).toBe(at + 123);
  expect(parseTimestamp("2026-01-02T04:04:05+01:00")).toBe(at);
  expect(parseTimestamp(String(at / 1000))).toBe(at);
  expect(parseTimestamp("1767323045.5")).toBe(1767323045500);
  expect(parseTimestamp("10m", at)).toBe(at - 10 * M);
});

test.each(["yesterday", "2026-13-45", "12:00", ""])("parseTimestamp refuses %p", (text) => {
  expect(() => parseTimestamp(text)).toThrow();
});

test("now is RFC 3339 with nine digits, in UTC", () => {
  expect(now()).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
});
