import { expect, test } from "bun:test";
import * as k from "./const.ts";
import { call } from "./libc.ts";
import { linux } from "./linux.ts";

/** A new pseudo-terminal: the end of the terminal emulator and the end of the program. */
function terminal(): { emulator: number; program: number } {
  const TIOCSPTLCK = 0x40045431;
  const TIOCGPTN = 0x80045430;
  const emulator = linux.open("/dev/ptmx", k.O_RDWR | k.O_NOCTTY);
  call("ioctl", "ptmx", emulator, TIOCSPTLCK, Int32Array.of(0));
  const number = new Int32Array(1);
  call("ioctl", "ptmx", emulator, TIOCGPTN, number);
  return { emulator, program: linux.open(`/dev/pts/${number[0]}`, k.O_RDWR | k.O_NOCTTY) };
}

function readNow(fd: number): string {
  const into = new Uint8Array(256);
  if (linux.poll([{ fd, events: k.POLLIN }], 100)[0] !== k.POLLIN) return "";
  return Buffer.from(into.subarray(0, linux.read(fd, into))).toString();
}

test("raw mode hands on every byte and echoes nothing; putting back is idempotent", () => {
  const { emulator, program } = terminal();
  expect(linux.isTty(program)).toBe(true);
  const restore = linux.rawMode(program);
  const restoreAgain = linux.rawMode(program);
  linux.write(emulator, Buffer.from("\x03\rq"));
  expect(readNow(program)).toBe("\x03\rq");
  linux.write(program, Buffer.from("a\nb"));
  expect(readNow(emulator)).toBe("a\nb");
  // In either order, and more than once: it is cooked only after the last of them.
  restore();
  restore();
  linux.write(emulator, Buffer.from("\r"));
  expect(readNow(program)).toBe("\r");
  restoreAgain();
  linux.write(emulator, Buffer.from("hi\r"));
  expect(readNow(program)).toBe("hi\n");
  expect(readNow(emulator)).toBe("hi\r\n");
  linux.close(program);
  linux.close(emulator);
});

test("without echo a line is read as it is, and only its end is seen", () => {
  const { emulator, program } = terminal();
  const restore = linux.echoOff(program);
  linux.write(emulator, Buffer.from("secrets\x7f\r"));
  expect(readNow(program)).toBe("secret\n");
  expect(readNow(emulator)).toBe("\r\n");
  restore();
  restore();
  linux.write(emulator, Buffer.from("hi\r"));
  expect(readNow(emulator)).toBe("hi\r\n");
  linux.close(program);
  linux.close(emulator);
});

test("putting back a terminal that is gone is no error", () => {
  const { emulator, program } = terminal();
  const restore = linux.rawMode(program);
  linux.close(emulator);
  linux.close(program);
  restore();
});

test("window size, and what is no terminal", () => {
  const { emulator, program } = terminal();
  linux.setWindowSize(emulator, { rows: 24, columns: 132 });
  expect(linux.windowSize(program)).toEqual({ rows: 24, columns: 132 });
  linux.close(program);
  linux.close(emulator);
  const file = linux.memfd("no terminal");
  expect(linux.isTty(file)).toBe(false);
  expect(linux.windowSize(file)).toBeUndefined();
  expect(() => linux.rawMode(file)).toThrow("ENOTTY");
  linux.close(file);
});
