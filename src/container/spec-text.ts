/**
 * The one gate for text that comes from an image or a request and ends up in files, in the environment or in a runtime's
 * configuration. Bytes that separate lines or end strings there are refused here and nowhere else.
 */
import { fail } from "../core/error.ts";

// oxlint-disable-next-line no-control-regex -- control bytes are what this file is about
const CONTROL = /[\u0000-\u001f\u007f]/;
const HOST_NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
const MAX_PATH = 4096;

/** A short printable form of hostile text for messages. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** Refuses NUL, which ends a string in the kernel whatever follows. */
export function checkNul(what: string, text: string): string {
  if (text.includes("\0")) throw fail("invalid-argument", `${what} ${quote(text)} contains a NUL byte`);
  return text;
}

/** Refuses every control byte: for text that becomes part of a line. */
export function checkLine(what: string, text: string): string {
  if (CONTROL.test(text)) throw fail("invalid-argument", `${what} ${quote(text)} contains a control byte`);
  return text;
}

/** sethostname(2) takes 64 bytes; the characters are those of RFC 1123 and "_". */
export function checkHostname(what: string, text: string): string {
  if (text.length > 64 || !HOST_NAME.test(text)) {
    throw fail("invalid-argument", `invalid ${what} ${quote(text)}`, {
      hint: "use at most 64 letters, digits, dots, hyphens and underscores",
    });
  }
  return text;
}

/**
 * An absolute path without ".", ".." and double slashes; ".." at the root stays at the root. Lexical only: links
 * are resolved, inside the root, by whoever opens it.
 */
export function cleanPath(what: string, path: string): string {
  checkLine(what, path);
  if (Buffer.byteLength(path) > MAX_PATH)
    throw fail("invalid-argument", `${what} ${quote(path)} is too long`);
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** As {@link cleanPath}, for paths that the user wrote and that must be absolute. */
export function absolutePath(what: string, path: string): string {
  if (!path.startsWith("/")) {
    throw fail("invalid-argument", `${what} ${quote(path)} is not an absolute path`);
  }
  return cleanPath(what, path);
}

/** True if `path` is `parent` or below it; both clean. */
export function isWithin(path: string, parent: string): boolean {
  return path === parent || parent === "/" || path.startsWith(`${parent}/`);
}
