/** Go string literals: reading them in templates, writing them for %q. */

const SIMPLE: Record<string, string> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  "'": "'",
  '"': '"',
};
const ESCAPE = /\\(?:([abfnrtv\\'"])|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{3})|([^]?))/g;

/** The value of a "quoted" or `raw` literal; undefined if an escape is wrong. */
export function unquote(literal: string): string | undefined {
  const body = literal.slice(1, -1);
  if (literal.startsWith("`")) return body.replaceAll("\r", "");
  let wrong = false;
  const value = body.replace(ESCAPE, (_all: string, ...groups: (string | undefined)[]) => {
    const [simple, hex2, hex4, hex8, octal] = groups;
    if (simple !== undefined) return SIMPLE[simple] as string;
    const code =
      octal === undefined ? Number.parseInt(hex2 ?? hex4 ?? hex8 ?? "", 16) : Number.parseInt(octal, 8);
    if (Number.isNaN(code) || code > 0x10ffff) {
      wrong = true;
      return "";
    }
    return String.fromCodePoint(code);
  });
  return wrong ? undefined : value;
}

const NAMED: Record<string, string> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
};

/** strconv.Quote: double quotes, Go escapes, printable text as it is unless `ascii`. */
export function quote(text: string, around = '"', ascii = false): string {
  let quoted = around;
  for (const c of text) {
    const code = c.codePointAt(0) as number;
    if (c === around) {
      quoted += `\\${c}`;
    } else if (NAMED[c] !== undefined) {
      quoted += NAMED[c];
    } else if (code < 0x20 || code === 0x7f) {
      quoted += `\\x${code.toString(16).padStart(2, "0")}`;
    } else if ((ascii && code > 0x7e) || (/[\p{C}\p{Z}]/u.test(c) && c !== " ")) {
      quoted += code > 0xffff ? `\\U${hex(code, 8)}` : `\\u${hex(code, 4)}`;
    } else {
      quoted += c;
    }
  }
  return quoted + around;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}
