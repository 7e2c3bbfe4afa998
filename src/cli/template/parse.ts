/** Tokens to tree: text/template's grammar with else if, else with, define, block, break and continue. */
import { isFunction } from "./functions.ts";
import { lexTemplate, syntaxError, type Token } from "./lex.ts";
import { unquote } from "./quote.ts";
import type { Node, Operand, Pipe, Position, Template } from "./template.ts";

const KEYWORDS = new Set([
  "if",
  "else",
  "end",
  "range",
  "with",
  "define",
  "block",
  "template",
  "break",
  "continue",
]);

/** What closed a list of nodes. */
interface Ending {
  keyword: "end" | "else" | "eof";
}

class Parser {
  readonly defined = new Map<string, Node[]>();
  readonly #tokens: Token[];
  readonly #name: string;
  readonly #source: string;
  #next = 0;
  #rangeDepth = 0;
  #variables: string[] = ["$"];

  constructor(name: string, source: string) {
    this.#name = name;
    this.#source = source;
    this.#tokens = lexTemplate(name, source);
  }

  parse(): Node[] {
    const nodes: Node[] = [];
    const ending = this.#list(nodes);
    if (ending.keyword !== "eof") throw this.#fail(`unexpected {{${ending.keyword}}}`);
    return nodes;
  }

  #fail(message: string): Error {
    const token = this.#tokens[this.#next] ?? this.#tokens.at(-1);
    return syntaxError(this.#name, this.#source, token?.offset ?? 0, message);
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  #take(): Token {
    const token = this.#tokens[this.#next];
    if (token === undefined) throw this.#fail("unexpected EOF");
    this.#next++;
    return token;
  }

  #isSymbol(text: string): boolean {
    const token = this.#peek();
    return token?.type === "symbol" && token.text === text;
  }

  #at(from: number): Position {
    const end = this.#tokens[this.#next - 1] as Token;
    return { offset: from, text: this.#source.slice(from, end.offset + end.text.length).trim() };
  }

  /** Reads nodes until end, else or the end of the text. */
  #list(into: Node[]): Ending {
    for (;;) {
      const token = this.#peek();
      if (token === undefined) return { keyword: "eof" };
      this.#next++;
      if (token.type === "text") {
        into.push({ type: "text", text: token.text });
        continue;
      }
      const word = this.#peek();
      if (word?.type === "identifier" && KEYWORDS.has(word.text)) {
        this.#next++;
        if (word.text === "end") {
          this.#close("end");
          return { keyword: "end" };
        }
        if (word.text === "else") return { keyword: "else" };
        this.#control(word, into);
      } else {
        into.push({ type: "action", pipe: this.#pipeline("command", 1) });
        this.#close("command");
      }
    }
  }

  #close(context: string): void {
    const token = this.#peek();
    if (token?.type !== "close") throw this.#fail(`unexpected ${describe(token)} in ${context}`);
    this.#next++;
  }

  #control(word: Token, into: Node[]): void {
    switch (word.text) {
      case "if":
      case "with":
      case "range":
        return void into.push(this.#branch(word.text));
      case "template":
        return void into.push(this.#template(word));
      case "block":
        return void into.push(this.#block(word));
      case "define":
        return this.#define();
      default:
        if (this.#rangeDepth === 0) throw this.#fail(`{{${word.text}}} outside {{range}}`);
        this.#close(word.text);
        into.push({ type: word.text as "break" | "continue" });
    }
  }

  #branch(type: "if" | "with" | "range"): Node {
    const scope = this.#variables.length;
    const pipe = this.#pipeline(type, type === "range" ? 2 : 1);
    this.#close(type);
    if (type === "range") this.#rangeDepth++;
    const body: Node[] = [];
    const otherwise: Node[] = [];
    const ending = this.#list(body);
    if (type === "range") this.#rangeDepth--;
    if (ending.keyword === "eof") throw this.#fail("unexpected EOF");
    if (ending.keyword === "else") this.#otherwise(type, otherwise);
    this.#variables.length = scope;
    return { type, pipe, body, otherwise };
  }

  /** After `{{else`: either `}}` and a list, or another if/with that shares our end. */
  #otherwise(type: "if" | "with" | "range", into: Node[]): void {
    const token = this.#peek();
    if (token?.type === "identifier" && token.text === type && type !== "range") {
      this.#next++;
      into.push(this.#branch(type));
      return;
    }
    this.#close("else");
    const ending = this.#list(into);
    if (ending.keyword !== "end") throw this.#fail(`expected end; found {{${ending.keyword}}}`);
  }

  #quoted(context: string): string {
    const token = this.#take();
    const name = token.type === "string" ? unquote(token.text) : undefined;
    if (name === undefined) throw this.#fail(`unexpected ${describe(token)} in ${context}`);
    return name;
  }

  #template(word: Token): Node {
    const name = this.#quoted("template clause");
    const pipe = this.#peek()?.type === "close" ? undefined : this.#pipeline("template clause", 1);
    this.#close("template clause");
    return { type: "template", name, pipe, at: this.#clause(word) };
  }

  /** Position of a whole `{{template "x"}}`, with Go's column: that of the name. */
  #clause(word: Token): Position {
    const { text } = this.#at(word.offset);
    return { offset: word.offset + text.indexOf('"'), text: `{{${text}` };
  }

  #body(context: string): Node[] {
    const [outer, depth] = [this.#variables, this.#rangeDepth];
    this.#variables = ["$"];
    this.#rangeDepth = 0;
    const nodes: Node[] = [];
    if (this.#list(nodes).keyword !== "end") throw this.#fail(`unexpected EOF in ${context}`);
    this.#variables = outer;
    this.#rangeDepth = depth;
    return nodes;
  }

  #define(): void {
    const name = this.#quoted("define clause");
    this.#close("define clause");
    this.defined.set(name, this.#body("define clause"));
  }

  #block(word: Token): Node {
    const name = this.#quoted("block clause");
    const pipe = this.#pipeline("block clause", 1);
    this.#close("block clause");
    const at = this.#clause(word);
    this.defined.set(name, this.#body("block clause"));
    return { type: "template", name, pipe, at };
  }

  #pipeline(context: string, maxVariables: number): Pipe {
    const from = this.#peek()?.offset ?? 0;
    const { declared, assign } = this.#declarations(context, maxVariables);
    const commands: Operand[][] = [];
    for (;;) {
      commands.push(this.#command(context));
      if (!this.#isSymbol("|")) break;
      this.#next++;
    }
    const at = this.#at(from);
    for (const [index, command] of commands.entries()) {
      if (index > 0 && (command[0] as Operand).type === "literal") {
        throw this.#fail(`non executable command in pipeline stage ${index + 1}`);
      }
    }
    if (!assign) this.#variables.push(...declared);
    return { declared, assign, commands, at };
  }

  /** `$x :=`, `$x =`, and in range `$i, $x :=`. */
  #declarations(context: string, max: number): { declared: string[]; assign: boolean } {
    const start = this.#next;
    const declared: string[] = [];
    while (this.#peek()?.type === "variable") {
      declared.push(this.#take().text);
      if (this.#isSymbol(":=") || this.#isSymbol("=")) {
        const assign = this.#take().text === "=";
        if (declared.length > max) throw this.#fail(`too many declarations in ${context}`);
        for (const name of assign ? declared : []) this.#known(name);
        return { declared, assign };
      }
      if (!this.#isSymbol(",")) break;
      if (context !== "range") throw this.#fail(`unexpected "," in ${context}`);
      this.#next++;
    }
    this.#next = start;
    return { declared: [], assign: false };
  }

  #known(name: string): void {
    if (!this.#variables.includes(name)) throw this.#fail(`undefined variable "${name}"`);
  }

  #command(context: string): Operand[] {
    const operands: Operand[] = [];
    for (;;) {
      const token = this.#peek();
      if (token === undefined) throw this.#fail("unclosed action");
      const ends = token.type === "close" || (token.type === "symbol" && "|)".includes(token.text));
      if (ends) break;
      operands.push(this.#operand(context));
    }
    if (operands.length === 0) {
      throw this.#fail(
        context === "command" && this.#peek()?.type === "close"
          ? "missing value for command"
          : `missing value for ${context}`,
      );
    }
    return operands;
  }

  #fields(): string[] {
    const fields: string[] = [];
    for (let token = this.#peek(); token?.type === "field" && !token.spaced; token = this.#peek()) {
      fields.push(token.text.slice(1));
      this.#next++;
    }
    return fields;
  }

  #operand(context: string): Operand {
    const first = this.#peek() as Token;
    const base = this.#term(context);
    const fields = this.#fields();
    this.#checkApart(context);
    if (fields.length === 0) return base;
    // Go counts the column of a chain from its second part.
    const at = { offset: first.offset + first.text.length, text: this.#at(first.offset).text };
    if (base.type === "variable" || base.type === "field")
      return { ...base, fields: [...base.fields, ...fields], at };
    if (base.type === "literal" || base.type === "nil" || base.type === "dot") {
      throw this.#fail(`unexpected . after term "${first.text}"`);
    }
    return { type: "chain", base, fields, at };
  }

  /** Operands stand apart: `1.2.3` and `.Name.` are mistakes. */
  #checkApart(context: string): void {
    const next = this.#peek();
    if (next === undefined || next.spaced || next.type === "close" || next.type === "symbol") return;
    throw this.#fail(`unexpected ${describe(next)} in ${context === "command" ? "operand" : context}`);
  }

  #term(context: string): Operand {
    const token = this.#take();
    const at = { offset: token.offset, text: token.text };
    const type: string = token.type;
    switch (type) {
      case "dot":
        return { type: "dot", at };
      case "field":
        return { type: "field", fields: [token.text.slice(1)], at };
      case "variable":
        this.#known(token.text);
        return { type: "variable", name: token.text, fields: [], at };
      case "identifier":
        return this.#identifier(token, at);
      case "string":
      case "char":
      case "number":
        return { type: "literal", value: this.#literal(token), at };
      default:
        if (token.text === "(") return this.#parenthesis(token);
        this.#next--;
        throw this.#fail(`unexpected ${describe(token)} in ${context === "command" ? "operand" : context}`);
    }
  }

  #identifier(token: Token, at: Position): Operand {
    if (token.text === "true" || token.text === "false")
      return { type: "literal", value: token.text === "true", at };
    if (token.text === "nil") return { type: "nil", at };
    if (KEYWORDS.has(token.text)) throw this.#fail(`unexpected <${token.text}> in operand`);
    if (!isFunction(token.text)) throw this.#fail(`function "${token.text}" not defined`);
    return { type: "function", name: token.text, at };
  }

  #parenthesis(open: Token): Operand {
    const pipe = this.#pipeline("parenthesized pipeline", 0);
    if (!this.#isSymbol(")")) throw this.#fail("unclosed left paren");
    this.#next++;
    return { type: "pipe", pipe, at: this.#at(open.offset) };
  }

  #literal(token: Token): string | number {
    if (token.type === "string") {
      const value = unquote(token.text);
      if (value === undefined) throw this.#fail(`invalid syntax in ${token.text}`);
      return value;
    }
    if (token.type === "char") {
      const value = unquote(`"${token.text.slice(1, -1).replaceAll('"', '\\"')}"`);
      if (value === undefined || value.length !== String.fromCodePoint(value.codePointAt(0) ?? 0).length)
        throw this.#fail(`malformed character constant: ${token.text}`);
      return value.codePointAt(0) as number;
    }
    const text = token.text.replaceAll("_", "");
    const sign = text.startsWith("-") ? -1 : 1;
    const digits = text.replace(/^[+-]/, "");
    // A leading zero means octal in Go.
    const value = Number(/^0\d+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
    if (Number.isNaN(value)) throw this.#fail(`bad number syntax: "${token.text}"`);
    return sign * value;
  }
}

function describe(token: Token | undefined): string {
  if (token === undefined) return "EOF";
  if (token.type === "close") return '"}}"';
  return ["field", "variable", "dot"].includes(token.type) ? `<${token.text}>` : `"${token.text}"`;
}

/** `name` stands in messages. Errors: invalid-argument. */
export function parseTemplate(source: string, name = "format"): Template {
  const parser = new Parser(name, source);
  return { name, source, nodes: parser.parse(), defined: parser.defined };
}
