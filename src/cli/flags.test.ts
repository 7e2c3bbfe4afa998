import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type FlagTable, parseFlags, splitCsv } from "./flags.ts";

const table = {
  all: { type: "bool", short: "a", help: "" },
  env: { type: "list", short: "e", help: "" },
  interactive: { type: "bool", short: "i", help: "" },
  tty: { type: "bool", short: "t", help: "" },
  proxy: { type: "bool", default: true, help: "" },
  name: { type: "string", short: "n", help: "", aliases: ["called"] },
  cap: { type: "csv", help: "" },
  time: { type: "int", help: "", default: 10 },
  cpus: { type: "float", help: "" },
  memory: { type: "size", short: "m", help: "" },
  wait: { type: "duration", help: "" },
  label: { type: "map", help: "" },
  pull: { type: "string", noValue: "always", default: "missing", help: "", choices: ["always", "missing"] },
  old: { type: "string", deprecated: "use --new", help: "" },
  gpus: { type: "string", unsupported: true, help: "" },
} as const satisfies FlagTable;

function values(...argv: string[]): Record<string, unknown> {
  return parseFlags(table, argv).values;
}

function message(...argv: string[]): string {
  try {
    parseFlags(table, argv);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("no error");
}

describe("parseFlags", () => {
  const cases: [string, string[], Record<string, unknown>][] = [
    [
      "nothing",
      [],
      { all: false, env: [], proxy: true, name: undefined, time: 10, pull: "missing", label: {} },
    ],
    ["long with space", ["--name", "web"], { name: "web" }],
    ["long with equals", ["--name=web"], { name: "web" }],
    ["empty value", ["--name="], { name: "" }],
    ["value with equals", ["--env", "A=b=c"], { env: ["A=b=c"] }],
    ["value that looks like a flag", ["--name", "--all"], { name: "--all", all: false }],
    ["alias", ["--called", "web"], { name: "web" }],
    ["short with space", ["-n", "web"], { name: "web" }],
    ["short joined", ["-nweb"], { name: "web" }],
    ["short with equals", ["-n=web"], { name: "web" }],
    ["grouped booleans", ["-ita"], { interactive: true, tty: true, all: true }],
    ["group ending with a value", ["-itnweb"], { interactive: true, tty: true, name: "web" }],
    ["group taking the next", ["-itn", "web"], { interactive: true, tty: true, name: "web" }],
    ["group with equals", ["-itn=web"], { interactive: true, tty: true, name: "web" }],
    ["boolean off", ["--proxy=false", "--all=true"], { proxy: false, all: true }],
    ["short boolean off", ["-a=false"], { all: false }],
    ["boolean never takes the next word", ["--all", "false"], { all: true }],
    ["repeated list", ["-e", "A=1", "-eB=2", "--env=C"], { env: ["A=1", "B=2", "C"] }],
    ["list keeps commas", ["-e", "A=1,2"], { env: ["A=1,2"] }],
    ["csv", ["--cap", "A,B", "--cap=C"], { cap: ["A", "B", "C"] }],
    ["map", ["--label", "a=1", "--label", "b="], { label: { a: "1", b: "" } }],
    ["last one wins", ["-n", "a", "-n", "b"], { name: "b" }],
    ["number", ["--time", "-1"], { time: -1 }],
    ["fraction", ["--cpus", ".5"], { cpus: 0.5 }],
    ["size", ["-m", "64m"], { memory: 67108864 }],
    ["duration", ["--wait", "1m30s"], { wait: 90000 }],
    ["value left out", ["--pull"], { pull: "always" }],
    ["value after equals", ["--pull=missing"], { pull: "missing" }],
  ];
  for (const [title, argv, want] of cases) {
    test(title, () => expect(values(...argv)).toMatchObject(want));
  }

  test("arguments and flags may be mixed", () => {
    expect(parseFlags(table, ["x", "-a", "y", "-n", "z", "w"]).args).toEqual(["x", "y", "w"]);
  });

  test("not interspersed: the first argument ends the flags", () => {
    const parsed = parseFlags(table, ["-a", "img", "-a", "--frob", "--"], { interspersed: false });
    expect(parsed.args).toEqual(["img", "-a", "--frob", "--"]);
  });

  test("-- ends the flags and goes", () => {
    expect(parseFlags(table, ["-a", "--", "-n", "--"]).args).toEqual(["-n", "--"]);
    expect(parseFlags(table, ["--", "img", "-a"], { interspersed: false }).args).toEqual(["img", "-a"]);
  });

  test("a dash alone is an argument", () => expect(parseFlags(table, ["-"]).args).toEqual(["-"]));

  test("what was given is known, whatever it was set to", () => {
    expect([...parseFlags(table, ["--proxy=true", "-e", "A"]).changed]).toEqual(["proxy", "env"]);
  });

  test("help is noticed", () => {
    expect(parseFlags(table, ["--help"]).help).toBe(true);
    expect(parseFlags(table, ["-h"]).help).toBe(true);
    expect(parseFlags({ hostname: { type: "string", short: "h", help: "" } }, ["-h", "x"]).help).toBe(false);
  });

  test("deprecated flags warn once", () => {
    expect(parseFlags(table, ["--old", "1", "--old", "2"]).warnings).toEqual([
      "Flag --old has been deprecated, use --new",
    ]);
  });

  const errors: [string[], string][] = [
    [["--frob"], "unknown flag: --frob"],
    [["--frob=1"], "unknown flag: --frob"],
    [["-z"], "unknown shorthand flag: 'z' in -z"],
    [["-az"], "unknown shorthand flag: 'z' in -az"],
    [["--name"], "flag needs an argument: --name"],
    [["-in"], "flag needs an argument: 'n' in -in"],
    [["--time", "x"], 'invalid argument "x" for "--time" flag: not a whole number'],
    [["--time", "1.5"], 'invalid argument "1.5" for "--time" flag: not a whole number'],
    [
      ["--time", "99999999999999999999"],
      'invalid argument "99999999999999999999" for "--time" flag: number out of range',
    ],
    [["--cpus", "x"], 'invalid argument "x" for "--cpus" flag: not a number'],
    [["-m", "1x"], 'invalid argument "1x" for "-m, --memory" flag: invalid size "1x"'],
    [["--wait", "soon"], 'invalid argument "soon" for "--wait" flag: invalid duration "soon"'],
    [["--all=maybe"], 'invalid argument "maybe" for "-a, --all" flag: must be "true" or "false"'],
    [["--pull=later"], 'invalid argument "later" for "--pull" flag: must be one of always, missing'],
    [["--label", "=x"], 'invalid argument "=x" for "--label" flag: must be KEY=VALUE'],
    [["--gpus", "all"], '"--gpus" is not supported yet'],
  ];
  for (const [argv, want] of errors)
    test(`error: ${argv.join(" ")}`, () => expect(message(...argv)).toBe(want));

  test("a near miss is suggested", () => {
    expect(() => parseFlags(table, ["--nmae", "x"])).toThrow(
      expect.objectContaining({ hint: "did you mean --name?" }),
    );
  });

  test("lenient: mistakes are passed over", () => {
    expect(parseFlags(table, ["--frob", "-a", "--name"], { lenient: true }).values["all"]).toBe(true);
  });

  test("every way of giving a value gives that value", () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        expect(values("--name", value)["name"]).toBe(value);
        expect(values(`--name=${value}`)["name"]).toBe(value);
        expect(values("-n", value)["name"]).toBe(value);
        if (value !== "" && !value.startsWith("=")) expect(values(`-n${value}`)["name"]).toBe(value);
      }),
    );
  });
});

describe("splitCsv", () => {
  const cases: [string, string[]][] = [
    ["", []],
    ["a", ["a"]],
    ["a,b", ["a", "b"]],
    ["a,,b,", ["a", "", "b", ""]],
    ['"a,b",c', ["a,b", "c"]],
    ['"a""b"', ['a"b']],
    ['x="1"', ['x="1"']],
  ];
  for (const [text, want] of cases) test(text, () => expect(splitCsv(text)).toEqual(want));
});
