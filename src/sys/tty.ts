/** Terminals: the TerminalCalls of `sys.ts`. */
import { call, tryCall } from "./libc.ts";
import type { Fd } from "./sys.ts";

const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;

/** The kernel's struct termios: iflag, oflag, cflag, lflag (u32), line (u8), 19 control characters. */
const TERMIOS = 36;
const CONTROL_CHARACTERS = 17;
const VTIME = 5;
const VMIN = 6;

/** IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON */
const INPUT_COOKED = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400;
const OPOST = 0x1;
/** ISIG ICANON ECHO ECHONL IEXTEN */
const LOCAL_COOKED = 0x1 | 0x2 | 0x8 | 0x40 | 0x8000;
const CSIZE_PARENB = 0x30 | 0x100;
const CS8 = 0x30;

export function isTty(fd: Fd): boolean {
  return tryCall("ioctl", fd, TCGETS, new Uint8Array(TERMIOS)) === 0;
}

export function windowSize(fd: Fd): { rows: number; columns: number } | undefined {
  const size = new Uint16Array(4);
  if (tryCall("ioctl", fd, TIOCGWINSZ, size) !== 0) return undefined;
  const [rows = 0, columns = 0] = size;
  return { rows, columns };
}

export function setWindowSize(fd: Fd, size: { rows: number; columns: number }): void {
  call("ioctl", `terminal ${fd}`, fd, TIOCSWINSZ, Uint16Array.of(size.rows, size.columns, 0, 0));
}

/** As cfmakeraw(3): every byte is handed on as it comes, one at a time, and nothing is echoed. */
function makeRaw(state: Uint8Array): Uint8Array {
  const rawState = state.slice();
  const view = new DataView(rawState.buffer);
  const clear = (offset: number, bits: number): void =>
    view.setUint32(offset, view.getUint32(offset, true) & ~bits, true);
  clear(0, INPUT_COOKED);
  clear(4, OPOST);
  clear(8, CSIZE_PARENB);
  view.setUint32(8, view.getUint32(8, true) | CS8, true);
  clear(12, LOCAL_COOKED);
  rawState[CONTROL_CHARACTERS + VTIME] = 0;
  rawState[CONTROL_CHARACTERS + VMIN] = 1;
  return rawState;
}

const ECHO = 0x8;
const ECHONL = 0x40;

export function echoOff(fd: Fd): () => void {
  const before = new Uint8Array(TERMIOS);
  call("ioctl", `terminal ${fd}`, fd, TCGETS, before);
  const quiet = before.slice();
  const view = new DataView(quiet.buffer);
  view.setUint32(12, (view.getUint32(12, true) & ~ECHO) | ECHONL, true);
  call("ioctl", `terminal ${fd}`, fd, TCSETS, quiet);
  let done = false;
  return () => {
    if (!done) tryCall("ioctl", fd, TCSETS, before);
    done = true;
  };
}

/** Terminals in raw mode: what they were before, and by how many they are used. */
const raw = new Map<Fd, { before: Uint8Array; users: number }>();

export function rawMode(fd: Fd): () => void {
  const current = new Uint8Array(TERMIOS);
  call("ioctl", `terminal ${fd}`, fd, TCGETS, current);
  const entry = raw.get(fd) ?? { before: current, users: 0 };
  call("ioctl", `terminal ${fd}`, fd, TCSETS, makeRaw(entry.before));
  entry.users++;
  raw.set(fd, entry);
  let done = false;
  return () => {
    if (done) return;
    done = true;
    if (--entry.users > 0) return;
    raw.delete(fd);
    // The terminal may be gone by then (a closed window); nobody is left to tell.
    tryCall("ioctl", fd, TCSETS, entry.before);
  };
}
