/** Walks the tree of a template over data and gives the text. */
import { fail } from "../../core/error.ts";
import { templateFunction } from "./functions.ts";
import { Formatter } from "./printf.ts";
import type { Node, Operand, Pipe, Position, Template } from "./template.ts";
import { isObject, isTrue, mapGet, Shapes, sortedEntries } from "./value.ts";

export interface ExecuteOptions {
  /** "all": every plain object is a map, as after decoding JSON in Go. */
  maps?: "known" | "all";
  /** Word for the data's type in "can't evaluate field X in type …". */
  typeName?: string;
}

interface Variable {
  name: string;
  value: unknown;
}

/** How a list of nodes ended; break and continue travel up to their range. */
type Flow = "next" | "break" | "continue";

/** No final argument from a pipeline; nil is a value. */
const NONE = Symbol("none");

const MAX_DEPTH = 1000;

class Execution {
  readonly #template: Template;
  readonly #shapes: Shapes;
  readonly #formatter: Formatter;
  readonly #rootType: string | undefined;
  readonly #root: unknown;
  readonly #out: string[] = [];
  #variables: Variable[];
  #name: string;
  #depth = 0;

  constructor(template: Template, data: unknown, options: ExecuteOptions) {
    this.#template = template;
    this.#name = template.name;
    this.#shapes = new Shapes(options.maps === "all");
    this.#formatter = new Formatter(this.#shapes);
    this.#rootType = options.typeName;
    this.#root = data;
    this.#variables = [{ name: "$", value: data }];
  }

  run(): string {
    this.#walk(this.#template.nodes, this.#root);
    return this.#out.join("");
  }

  #fail(at: Position, message: string): Error {
    const before = this.#template.source.slice(0, at.offset);
    const line = before.split("\n").length;
    const column = at.offset - (before.lastIndexOf("\n") + 1);
    const context = at.text.length > 20 ? `${at.text.slice(0, 20)}...` : at.text;
    const where = `template: ${this.#template.name}:${line}:${column}: executing "${this.#name}" at <${context}>`;
    return fail("invalid-argument", `${where}: ${message}`, { reason: "template" });
  }

  #walk(nodes: Node[], dot: unknown): Flow {
    for (const node of nodes) {
      const flow = this.#node(node, dot);
      if (flow !== "next") return flow;
    }
    return "next";
  }

  #node(node: Node, dot: unknown): Flow {
    switch (node.type) {
      case "text":
        this.#out.push(node.text);
        return "next";
      case "action": {
        const value = this.#pipe(node.pipe, dot);
        if (node.pipe.declared.length === 0) this.#print(value);
        return "next";
      }
      case "if":
      case "with":
        return this.#branch(node, dot);
      case "range":
        return this.#range(node, dot);
      case "template":
        this.#invoke(node, dot);
        return "next";
      case "break":
      case "continue":
        return node.type;
    }
  }

  #print(value: unknown): void {
    this.#out.push(value === undefined || value === null ? "<no value>" : this.#formatter.value(value));
  }

  #branch(node: Node & { type: "if" | "with" | "range" }, dot: unknown): Flow {
    const mark = this.#variables.length;
    const value = this.#pipe(node.pipe, dot);
    const taken = isTrue(this.#shapes, value);
    const inner = node.type === "with" && taken ? value : dot;
    const flow = this.#walk(taken ? node.body : node.otherwise, inner);
    this.#variables.length = mark;
    return flow;
  }

  #entries(node: Node & { type: "range" | "if" | "with" }, value: unknown): [unknown, unknown][] {
    switch (this.#shapes.kind(value)) {
      case "nil":
        return [];
      case "list":
        return [...(value as unknown[]).entries()];
      case "map":
      case "struct":
        return sortedEntries(value as object).map(([key, item]) => [key, item]);
      case "int": {
        const count = Math.min(Number(value), 1_000_000);
        return Array.from({ length: Math.max(0, count) }, (_, i) => [i, i]);
      }
      case "bool":
      case "float":
      case "string":
      case "func":
        throw this.#fail(node.pipe.at, `range can't iterate over ${this.#formatter.value(value)}`);
    }
  }

  #range(node: Node & { type: "range" | "if" | "with" }, dot: unknown): Flow {
    const mark = this.#variables.length;
    const value = this.#pipe(node.pipe, dot, false);
    const entries = this.#entries(node, value);
    const { declared, assign } = node.pipe;
    for (const [key, item] of entries) {
      if (!assign) this.#variables.length = mark;
      const named = declared.length === 2 ? [key, item] : [item];
      for (const [index, name] of declared.entries()) this.#bind(name, named[index], assign);
      const flow = this.#walk(node.body, item);
      if (flow === "break") break;
    }
    this.#variables.length = mark;
    const flow = entries.length === 0 ? this.#walk(node.otherwise, dot) : "next";
    this.#variables.length = mark;
    return flow;
  }

  #invoke(node: Node & { type: "template" }, dot: unknown): void {
    const body = this.#template.defined.get(node.name);
    if (body === undefined) throw this.#fail(node.at, `template "${node.name}" not defined`);
    if (++this.#depth > MAX_DEPTH)
      throw this.#fail(node.at, `exceeded maximum template depth (${MAX_DEPTH})`);
    const data = node.pipe === undefined ? undefined : this.#pipe(node.pipe, dot);
    const outer = [this.#variables, this.#name] as const;
    this.#variables = [{ name: "$", value: data }];
    this.#name = node.name;
    this.#walk(body, data);
    [this.#variables, this.#name] = outer;
    this.#depth--;
  }

  #bind(name: string, value: unknown, assign: boolean): void {
    if (!assign) return void this.#variables.push({ name, value });
    const variable = this.#variables.findLast((candidate) => candidate.name === name);
    if (variable !== undefined) variable.value = value;
  }

  /** `bind` is false for range, which binds its variables per element. */
  #pipe(pipe: Pipe, dot: unknown, bind = true): unknown {
    let value: unknown = NONE;
    for (const command of pipe.commands) value = this.#command(command, dot, value);
    if (value === NONE) value = undefined;
    if (bind && pipe.declared.length === 1) this.#bind(pipe.declared[0] as string, value, pipe.assign);
    return value;
  }

  #command(operands: Operand[], dot: unknown, final: unknown): unknown {
    const [first, ...rest] = operands as [Operand, ...Operand[]];
    switch (first.type) {
      case "function":
        return this.#call(first, rest, dot, final);
      case "field":
        return this.#fields(dot, first.fields, { at: first.at, args: rest, final, dot });
      case "chain":
        return this.#fields(this.#operand(first.base, dot), first.fields, {
          at: first.at,
          args: rest,
          final,
          dot,
        });
      case "variable":
        return this.#fields(this.#variable(first.name), first.fields, {
          at: first.at,
          args: rest,
          final,
          dot,
        });
      case "nil":
        throw this.#fail(first.at, "nil is not a command");
      case "literal":
      case "dot":
      case "pipe":
        if (rest.length > 0 || final !== NONE)
          throw this.#fail(first.at, `can't give argument to non-function ${first.at.text}`);
        return this.#operand(first, dot);
    }
  }

  #variable(name: string): unknown {
    return this.#variables.findLast((variable) => variable.name === name)?.value;
  }

  #operand(operand: Operand, dot: unknown): unknown {
    switch (operand.type) {
      case "literal":
        return operand.value;
      case "nil":
        return null;
      case "dot":
        return dot;
      case "pipe":
        return this.#pipe(operand.pipe, dot);
      case "function":
      case "variable":
      case "field":
      case "chain":
        return this.#command([operand], dot, NONE);
    }
  }

  #call(operand: Operand & { type: "function" }, rest: Operand[], dot: unknown, final: unknown): unknown {
    const { name, at } = operand;
    const fn = templateFunction(name);
    const count = rest.length + (final === NONE ? 0 : 1);
    if (count < fn.min || count > fn.max) {
      const want = fn.max === Number.POSITIVE_INFINITY ? `at least ${fn.min}` : String(fn.min);
      throw this.#fail(at, `wrong number of args for ${name}: want ${want} got ${count}`);
    }
    if (name === "and" || name === "or") return this.#shortCircuit(name === "or", rest, dot, final);
    const args = rest.map((argument) => this.#operand(argument, dot));
    if (final !== NONE) args.push(final);
    try {
      return fn.call(this.#shapes, args);
    } catch (error) {
      const whole = [operand, ...rest].map((part) => part.at.text).join(" ");
      if (error instanceof Error)
        throw this.#fail({ ...at, text: whole }, `error calling ${name}: ${error.message}`);
      throw error;
    }
  }

  #shortCircuit(decides: boolean, rest: Operand[], dot: unknown, final: unknown): unknown {
    let value: unknown;
    for (const argument of rest) {
      value = this.#operand(argument, dot);
      if (isTrue(this.#shapes, value) === decides) return value;
    }
    return final === NONE ? value : final;
  }

  #fields(
    receiver: unknown,
    names: string[],
    call: { at: Position; args: Operand[]; final: unknown; dot: unknown },
  ): unknown {
    let value = receiver;
    for (const [index, name] of names.entries()) {
      const last = index === names.length - 1;
      value = this.#field(value, name, call.at);
      if (typeof value === "function") {
        const args = last ? call.args.map((argument) => this.#operand(argument, call.dot)) : [];
        if (last && call.final !== NONE) args.push(call.final);
        value = (value as (...args: unknown[]) => unknown)(...args);
        if (last) return value;
      }
    }
    if (call.args.length > 0 || call.final !== NONE) {
      throw this.#fail(call.at, `${names.at(-1) ?? call.at.text} is not a method but has arguments`);
    }
    return value;
  }

  #field(receiver: unknown, name: string, at: Position): unknown {
    const kind = this.#shapes.kind(receiver);
    if (kind === "map") return this.#shapes.reached(name, mapGet(receiver as object, name));
    // What a map did not have has nothing in it either; a null is a nil pointer.
    if (receiver === undefined) return undefined;
    if (receiver === null) throw this.#fail(at, `nil pointer evaluating interface {}.${name}`);
    const key = isObject(receiver) && kind === "struct" ? findField(receiver, name) : undefined;
    if (key === undefined) {
      const type = receiver === this.#root ? this.#rootType : undefined;
      throw this.#fail(at, `can't evaluate field ${name} in type ${type ?? this.#shapes.typeName(receiver)}`);
    }
    const value = (receiver as Record<string, unknown>)[key];
    if (typeof value === "function") return (value as (...args: unknown[]) => unknown).bind(receiver);
    return this.#shapes.reached(key, value);
  }
}

/** The exact name, else the only one that differs in case alone; getters of the row's class count. */
function findField(receiver: object, name: string): string | undefined {
  if (Object.hasOwn(receiver, name)) return name;
  const keys = Object.keys(receiver);
  const prototype = Object.getPrototypeOf(receiver) as object | null;
  if (prototype !== null && prototype !== Object.prototype) {
    keys.push(...Object.getOwnPropertyNames(prototype).filter((key) => key !== "constructor"));
  }
  if (keys.includes(name)) return name;
  const lower = name.toLowerCase();
  return keys.find((key) => key.toLowerCase() === lower);
}

/** Errors: invalid-argument, with the place in the template. */
export function executeTemplate(template: Template, data: unknown, options: ExecuteOptions = {}): string {
  return new Execution(template, data, options).run();
}
