/**
 * Go's text/template, for `--format`: scripts written for docker and podman use all of it.
 *
 * Vocabulary: a *template* is text with `{{actions}}`; an action holds a *pipeline* of *commands*; a
 * command is *operands*. *Dot* is the current value. Fields, functions, comparison, printf verbs and
 * messages follow the Go package; docker's and podman's extra functions (json, join, lower, upper, split, title, pad, truncate) are built in.
 *
 * Data are plain JavaScript values. Go knows maps from structs by type, we by the name of the field that holds them
 * (`MAP_FIELDS` in value.ts, or all of them with `maps: "all"`): a map prints as `map[k:v]` in key order and a
 * missing key is `<no value>`, a struct prints as `{v v}` and a missing field is an error. Fields of structs are found without regard to case when the exact
 * name is not there (`.Id`, `.ID`). A function as field is a method.
 *
 * Worked example: `execute(parseTemplate("{{.Name}} {{len .Ports}}"), row)` → "web 2".
 * Errors: invalid-argument with Go's wording ("can't evaluate field X in type …").
 */
export type Operand =
  | { type: "literal"; value: string | number | boolean; at: Position }
  | { type: "nil"; at: Position }
  | { type: "dot"; at: Position }
  | { type: "function"; name: string; at: Position }
  /** `$x.A.B`; the name is "$x", or "$" for the data of the whole execution. */
  | { type: "variable"; name: string; fields: string[]; at: Position }
  | { type: "field"; fields: string[]; at: Position }
  | { type: "chain"; base: Operand; fields: string[]; at: Position }
  | { type: "pipe"; pipe: Pipe; at: Position };

export interface Position {
  /** Offset in the template text. */
  offset: number;
  /** The source of the node, for messages. */
  text: string;
}

export interface Pipe {
  declared: string[];
  /** `=` instead of `:=`. */
  assign: boolean;
  commands: Operand[][];
  at: Position;
}

export type Node =
  | { type: "text"; text: string }
  | { type: "action"; pipe: Pipe }
  | { type: "if" | "with" | "range"; pipe: Pipe; body: Node[]; otherwise: Node[] }
  | { type: "template"; name: string; pipe: Pipe | undefined; at: Position }
  | { type: "break" | "continue" };

export interface Template {
  name: string;
  source: string;
  nodes: Node[];
  /** From `define` and `block`. */
  defined: Map<string, Node[]>;
}
