import { describe, expect, test } from "bun:test";
import { fail } from "../core/error.ts";
import type { Kind } from "../core/error-table.ts";
import { exitCodeOf, printError } from "./errors.ts";
import { parseFilters } from "./filters.ts";
import { outline } from "./outline.ts";
import type { Output } from "./output.ts";
import { personalityOf } from "./personality.ts";
import { clock, progressBar } from "./progress-bars.ts";
import { editDistance, suggestion } from "./suggest.ts";

describe("exit codes", () => {
  const cases: [string, string, Kind, number][] = [
    ["podman", "rm", "not-found", 1],
    ["podman", "rm", "conflict", 2],
    ["podman", "container rm", "not-found", 1],
    ["berth", "rmi", "in-use", 2],
    ["berth", "rmi", "not-found", 1],
    ["berth", "stop", "not-found", 125],
    ["berth", "run", "command-not-found", 127],
    ["berth", "run", "command-not-executable", 126],
    ["berth", "run", "not-found", 125],
    ["berth", "pull", "canceled", 130],
    ["docker", "rm", "not-found", 1],
    ["docker", "rm", "conflict", 1],
    ["docker", "stop", "not-found", 1],
    ["docker", "run", "not-found", 125],
    ["docker", "exec", "command-not-found", 127],
    ["docker", "inspect", "not-found", 1],
    ["berth", "start", "not-modified", 0],
  ];
  for (const [name, path, kind, want] of cases) {
    test(`${name} ${path}: ${kind}`, () =>
      expect(exitCodeOf(fail(kind, "x"), path, personalityOf(name))).toBe(want));
  }
  test("what is not ours is internal", () => {
    expect(exitCodeOf(new Error("x"), "rm", personalityOf("berth"))).toBe(125);
  });
});

function printed(name: string, error: unknown, path = "run"): string {
  let text = "";
  const out = { error: (line: string) => (text += `${line}\n`) } as unknown as Output;
  printError(error, { out, personality: personalityOf(name), path, trace: false, usage: "[options] IMAGE" });
  return text;
}

describe("words of errors", () => {
  test("Error: and the hint below", () => {
    expect(printed("berth", fail("not-found", 'no such container "x"', { hint: "list them with ps" }))).toBe(
      'Error: no such container "x"\nlist them with ps\n',
    );
  });
  test("control characters of strangers do not reach the terminal", () => {
    const said = fail("not-found", "no \u001b[2J\u009b1m\u0007x\r", { hint: "two\n\tlines" });
    expect(printed("berth", said)).toBe("Error: no ?[2J?1m?x?\ntwo\n\tlines\n");
  });
  test("mistakes of the call point to the help", () => {
    expect(printed("podman", fail("invalid-argument", "unknown flag: --x", { reason: "unknown-flag" }))).toBe(
      "Error: unknown flag: --x\nSee 'podman run --help'\n",
    );
  });
  test("docker's prefixes", () => {
    expect(printed("docker", fail("not-found", "no such image"))).toBe(
      "docker: Error response from daemon: no such image\n\nRun 'docker run --help' for more information\n",
    );
    const missing = fail("not-found", 'no container with name or ID "x" found: no such container');
    expect(printed("docker", missing, "rm")).toBe("Error response from daemon: No such container: x\n");
    const unknown = fail("invalid-argument", "unknown command: docker x", { reason: "unknown-command" });
    expect(printed("docker", unknown, "")).toBe(
      "docker: unknown command: docker x\n\nRun 'docker --help' for more information\n",
    );
    expect(printed("docker", fail("invalid-argument", "unknown flag: --x", { reason: "unknown-flag" }))).toBe(
      "unknown flag: --x\n\nUsage:  docker run [options] IMAGE\n\nRun 'docker run --help' for more information\n",
    );
  });
});

describe("suggestions", () => {
  const words = ["run", "rm", "rmi", "ps", "images", "inspect"];
  const cases: [string, string | undefined][] = [
    ["rnu", "run"],
    ["sp", "ps"],
    ["imagse", "images"],
    ["inspcet", "inspect"],
    ["frobnicate", undefined],
  ];
  for (const [word, want] of cases) test(word, () => expect(suggestion(word, words)).toBe(want));
  test("distances", () => {
    expect([editDistance("", "ab"), editDistance("kitten", "sitting"), editDistance("ab", "ba")]).toEqual([
      2, 3, 1,
    ]);
  });
});

describe("small things", () => {
  test("filters", () => {
    expect(parseFilters(["status=running", "label=a=b", "label!=c"])).toEqual([
      { key: "status", value: "running" },
      { key: "label", value: "a=b" },
      { key: "label", value: "c", negate: true },
    ]);
    for (const text of ["status", "=x", ""]) expect(() => parseFilters([text])).toThrow("invalid filter");
  });
  test("outline", () => {
    const value = { a: 1, b: { c: "x: y", d: [], e: {} }, f: ["1", "two"], g: [{ h: true, i: null }], j: "" };
    expect(outline(value)).toBe(
      'a: 1\nb:\n  c: "x: y"\n  d: []\n  e: {}\nf:\n- "1"\n- two\ng:\n- h: true\n  i: null\nj: ""\n',
    );
  });
  test("progress", () => {
    expect(progressBar(5, 10, 10)).toBe("[=====>    ]");
    expect(progressBar(10, 10, 10)).toBe("[==========]");
    expect(progressBar(0, 0, 4)).toBe("[====]");
    expect([clock(1.2), clock(65), clock(Number.POSITIVE_INFINITY)]).toEqual(["2s", "1m05s", "?"]);
  });
});
