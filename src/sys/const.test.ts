import { constants } from "node:fs";
import os from "node:os";
import { expect, test } from "bun:test";
import * as abi from "./const.ts";
import { signalName, signalNumber } from "./const.ts";

const ours = new Map<string, unknown>(Object.entries(abi));

test("open flags agree with the C library on this architecture", () => {
  for (const name of [
    "O_CREAT",
    "O_EXCL",
    "O_TRUNC",
    "O_APPEND",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
  ]) {
    expect([name, ours.get(name)]).toEqual([name, constants[name as "O_CREAT"]]);
  }
});

test("errno numbers agree with the C library", () => {
  for (const [name, number] of Object.entries(os.constants.errno)) {
    if (ours.has(name)) expect([name, ours.get(name)]).toEqual([name, number]);
  }
});

test("signals by every spelling", () => {
  for (const [name, number] of Object.entries(os.constants.signals)) {
    expect(signalNumber(name)).toBe(number);
    expect(signalNumber(name.slice(3).toLowerCase())).toBe(number);
    expect(signalNumber(String(number))).toBe(number);
  }
  expect(signalNumber("RTMIN")).toBe(34);
  expect(signalNumber("SIGRTMIN+3")).toBe(37);
  expect(signalNumber("rtmax-1")).toBe(63);
});

test("what is no signal is refused by name", () => {
  for (const text of ["", "0", "65", "SIG", "NOPE", "15x", "-9", "RTMAX+1", "RTMIN-3", "toString"]) {
    expect(() => signalNumber(text)).toThrow(`invalid signal "${text}"`);
  }
});

test("names lead back to their numbers", () => {
  for (let number = 1; number <= 31; number++) expect(signalNumber(signalName(number))).toBe(number);
  for (let number = 34; number <= 64; number++) expect(signalNumber(signalName(number))).toBe(number);
  expect(signalName(9)).toBe("SIGKILL");
  expect(signalName(32)).toBe("32");
});
