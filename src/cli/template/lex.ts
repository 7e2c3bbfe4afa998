/** Cuts a template into text and the tokens inside `{{ }}`, with Go's rules for trimming and comments. */
import { fail } from "../../core/error.ts";

export type TokenType =
  | "text"
  | "open"
  | "close"
  | "field"
  | "variable"
  | "dot"
  | "identifier"
  | "string"
  | "number"
  | "char"
  | "symbol";

export interface Token {
  type: TokenType;
  /** As written; for text what is left after trimming. */
  text: string;
  offset: number;
  /** White space stands before it: `.A.B` is one operand, `.A .B` are two. */
  spaced: boolean;
}

/** `template: NAME:LINE: message`, as Go's parser says it. */
export function syntaxError(name: string, source: string, offset: number, message: string): Error {
  const line = source.slice(0, offset).split("\n").length;
  return fail("invalid-argument", `template: ${name}:${line}: ${message}`, { reason: "template" });
}

const TOKEN =
  /(?<space>[ \t\r\n]+)|(?<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?<char>'(?:[^'\\\n]|\\.)+')|(?<variable>\$[\p{L}\p{N}_]*)|(?<number>[+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?))|(?<field>\.[\p{L}_][\p{L}\p{N}_]*)|(?<dot>\.)|(?<identifier>[\p{L}_][\p{L}\p{N}_]*)|(?<symbol>:=|[=|(),])/uy;

const OPEN = "{{";
const TRIM_OPEN = /^-[ \t\r\n]/;
const COMMENT = /\/\*[^]*?\*\//y;

class Lexer {
  readonly tokens: Token[] = [];
  #offset = 0;
  /** The last action ended with ` -}}`. */
  #trimNext = false;
  readonly #name: string;
  readonly #source: string;

  constructor(name: string, source: string) {
    this.#name = name;
    this.#source = source;
  }

  run(): Token[] {
    while (this.#offset < this.#source.length) {
      const open = this.#source.indexOf(OPEN, this.#offset);
      if (open < 0) {
        this.#text(this.#source.length, false);
        break;
      }
      const trim = TRIM_OPEN.test(this.#source.slice(open + 2, open + 4));
      this.#text(open, trim);
      this.#offset = open + (trim ? 3 : 2);
      if (!this.#comment(open)) this.#action(open);
    }
    return this.tokens;
  }

  #fail(offset: number, message: string): Error {
    return syntaxError(this.#name, this.#source, offset, message);
  }

  #text(end: number, trimEnd: boolean): void {
    let text = this.#source.slice(this.#offset, end);
    if (this.#trimNext) text = text.replace(/^[ \t\r\n]+/, "");
    if (trimEnd) text = text.replace(/[ \t\r\n]+$/, "");
    if (text !== "") this.tokens.push({ type: "text", text, offset: this.#offset, spaced: false });
    this.#offset = end;
    this.#trimNext = false;
  }

  #comment(open: number): boolean {
    const start =
      this.#offset + (/^[ \t\r\n]/.test(this.#source[this.#offset] ?? "") && this.#offset > open + 2 ? 1 : 0);
    if (!this.#source.startsWith("/*", start)) return false;
    COMMENT.lastIndex = start;
    const match = COMMENT.exec(this.#source);
    if (match === null) throw this.#fail(open, "unclosed comment");
    this.#offset = start + match[0].length;
    if (!this.#close(false)) throw this.#fail(open, "comment ends before closing delimiter");
    this.tokens.push({ type: "text", text: "", offset: open, spaced: false });
    return true;
  }

  /** Consumes `}}` or ` -}}` if it is next. */
  #close(push: boolean): boolean {
    const match = /^(?:[ \t\r\n]+-)?\}\}/.exec(this.#source.slice(this.#offset));
    if (match === null) return false;
    if (push) this.tokens.push({ type: "close", text: "}}", offset: this.#offset, spaced: false });
    this.#offset += match[0].length;
    this.#trimNext = match[0].length > 2;
    return true;
  }

  #action(open: number): void {
    this.tokens.push({ type: "open", text: OPEN, offset: open, spaced: false });
    let spaced = false;
    while (!this.#close(true)) {
      if (this.#offset >= this.#source.length) throw this.#fail(open, "unclosed action");
      TOKEN.lastIndex = this.#offset;
      const groups = TOKEN.exec(this.#source)?.groups;
      if (groups === undefined) throw this.#badCharacter();
      const [type, text] = Object.entries(groups).find(([, value]) => value !== undefined) as [
        string,
        string,
      ];
      if (type !== "space") {
        this.#checkBoundary(type, text);
        this.tokens.push({ type: type as TokenType, text, offset: this.#offset, spaced });
      }
      spaced = type === "space";
      this.#offset += text.length;
    }
  }

  #badCharacter(): Error {
    const c = String.fromCodePoint(this.#source.codePointAt(this.#offset) as number);
    if (c === '"') return this.#fail(this.#offset, "unterminated quoted string");
    if (c === "`") return this.#fail(this.#offset, "unterminated raw quoted string");
    if (c === "'") return this.#fail(this.#offset, "unterminated character constant");
    if (c === "-" || c === "+") return this.#fail(this.#offset, `bad number syntax: "${c}"`);
    const code = (c.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0");
    return this.#fail(this.#offset, `unexpected "${c}" in operand (U+${code})`);
  }

  /** `.a-b` and `1x` are mistakes, not two operands. */
  #checkBoundary(type: string, text: string): void {
    const next = this.#source[this.#offset + text.length] ?? "";
    const word = type === "field" || type === "variable" || type === "identifier";
    if (word && !/[\s.,|:=()}]/.test(next) && next !== "") {
      throw this.#fail(this.#offset, `bad character U+${codeOf(next)} '${next}'`);
    }
    if (type === "number" && /[\p{L}\p{N}_]/u.test(next)) {
      throw this.#fail(this.#offset, `bad number syntax: "${text}${next}"`);
    }
  }
}

function codeOf(c: string): string {
  return (c.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0");
}

/** Errors: invalid-argument for an unclosed action, comment or string and for characters that have no meaning. */
export function lexTemplate(name: string, source: string): Token[] {
  return new Lexer(name, source).run();
}
