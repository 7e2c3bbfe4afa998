// Which image a short name means: aliases, the search list, and a person's choice.
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failure } from "../../test/fake/failure.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { formatReference } from "../image/reference.ts";
import type { RegistryOptions, ShortNameQuestion } from "./registry.ts";
import { qualifiedNames, resolveShortName } from "./short-names.ts";

const temporary = tempDir("short-names");
afterAll(() => temporary[Symbol.dispose]());
const ctx = createCtx();
const LIST = 'unqualified-search-registries = ["one.test", "two.test:5000"]\n';
let asked: ShortNameQuestion[];
let dir: string;
let count = 0;

beforeEach(() => {
  asked = [];
  dir = join(temporary.path, String(++count));
  mkdirSync(dir);
});

function options(conf: string, answer?: string): RegistryOptions {
  writeFileSync(join(dir, "registries.conf"), conf);
  return {
    registriesConf: join(dir, "registries.conf"),
    shortNameAliases: join(dir, "cache/short-name-aliases.conf"),
    choose: async (_, question) => {
      asked.push(question);
      return answer;
    },
  };
}

const cache = () => readFileSync(join(dir, "cache/short-name-aliases.conf"), "utf8");

test.each([
  ["permissive is the default", LIST, undefined, ["one.test/a:1", "two.test:5000/a:1"], 1],
  [
    "disabled never asks",
    `${LIST}short-name-mode = "disabled"`,
    "one.test/a:1",
    ["one.test/a:1", "two.test:5000/a:1"],
    0,
  ],
  ["an answer is the only one", LIST, "two.test:5000/a:1", ["two.test:5000/a:1"], 1],
  [
    "one registry needs no question",
    'unqualified-search-registries = ["one.test"]\nshort-name-mode = "enforcing"',
    undefined,
    ["one.test/a:1"],
    0,
  ],
  ["an alias needs no question", `${LIST}[aliases]\na = "x.test/y"`, undefined, ["x.test/y:1"], 0],
  ["without a list it is docker.io", "", undefined, ["docker.io/library/a:1"], 0],
])("%s", async (...[, conf, answer, expected, questions]) => {
  const { names } = await resolveShortName(ctx, "a:1", options(conf, answer));
  expect(names.map(formatReference)).toEqual(expected);
  expect(asked.length).toBe(questions);
});

test("enforcing without anybody to ask is an error that names the candidates", async () => {
  const error = await failure(resolveShortName(ctx, "a", options(`${LIST}short-name-mode = "enforcing"`)));
  expect(error).toMatchObject({ kind: "invalid-argument", reason: "short-name-enforced" });
  expect(error.hint).toBe("say which one: one.test/a, two.test:5000/a");
});

test("a choice is kept once it was good, without tag and beside the others", async () => {
  const given = options(LIST, "two.test:5000/a/b:1");
  const { names, remember } = await resolveShortName(ctx, "a/b:1", given);
  expect(qualifiedNames("a/b", given).length).toBe(2);
  remember(names[0] as never);
  expect(cache()).toBe('[aliases]\n  "a/b" = "two.test:5000/a/b"\n');
  expect(statSync(join(dir, "cache/short-name-aliases.conf")).mode & 0o777).toBe(0o600);
  expect(qualifiedNames("a/b:2", given).map(formatReference)).toEqual(["two.test:5000/a/b:2"]);
  asked = [];
  const again = await resolveShortName(ctx, "c", { ...given, choose: async () => "one.test/c" });
  again.remember(again.names[0] as never);
  expect(cache()).toBe('[aliases]\n  "a/b" = "two.test:5000/a/b"\n  "c" = "one.test/c"\n');
  // It comes before what registries.conf says, and an empty value takes that away.
  const other = { ...given, ...options(`${LIST}[aliases]\n"c" = "x.test/c"\n"d" = "x.test/d"`) };
  expect(qualifiedNames("c", other).map(formatReference)).toEqual(["one.test/c"]);
  writeFileSync(join(dir, "cache/short-name-aliases.conf"), '[aliases]\nd = ""\n');
  expect(qualifiedNames("d", other).length).toBe(2);
});

test("what nobody was asked about is not kept", async () => {
  const { names, remember } = await resolveShortName(ctx, "a", options(LIST));
  remember(names[0] as never);
  expect(() => cache()).toThrow("ENOENT");
});

test("a damaged file of choices is named", () => {
  const given = options(LIST);
  mkdirSync(join(dir, "cache"));
  for (const text of [
    "a = = b",
    "aliases = 3",
    '[aliases]\na = "b"',
    '[aliases]\n"x.test/a" = "x.test/b"',
    "[aliases]\na = 7",
  ]) {
    writeFileSync(join(dir, "cache/short-name-aliases.conf"), text);
    expect(() => qualifiedNames("a", given)).toThrow(
      /^invalid short name aliases ".*short-name-aliases.conf": /,
    );
  }
});
