import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { formatReference, parseReference } from "../image/reference.ts";
import { findRegistry, loadRegistriesConf } from "./registries-conf.ts";
import { qualifiedNames } from "./short-names.ts";
import { isLoopback, sourcesOf } from "./sources.ts";

const temporary = tempDir("registries-conf");
afterAll(() => temporary[Symbol.dispose]());
let count = 0;

function conf(text: string, dropIns: Record<string, string> = {}): { registriesConf: string } {
  const path = join(temporary.path, `${++count}.conf`);
  writeFileSync(path, text);
  if (Object.keys(dropIns).length > 0) mkdirSync(`${path}.d`);
  for (const [name, content] of Object.entries(dropIns)) writeFileSync(join(`${path}.d`, name), content);
  return { registriesConf: path };
}

function places(name: string, options: Parameters<typeof sourcesOf>[1]): string[] {
  return sourcesOf(parseReference(name), options).map(
    (s) => `${s.registry}/${s.repository}${s.insecure ? " insecure" : ""}${s.writable ? "" : " mirror"}`,
  );
}

const PINNED = `sha256:${"a".repeat(64)}`;
const full = conf(`
unqualified-search-registries = ["one.example", "two.example:5000"]
[[registry]]
prefix = "one.example/foo"
location = "other.example/bar/foo"
[[registry.mirror]]
location = "m1.example/cache"
insecure = true
[[registry.mirror]]
location = "m2.example/cache"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m3.example/cache"
pull-from-mirror = "tag-only"
[[registry]]
location = "one.example"
insecure = true
[[registry]]
prefix = "*.wild.example"
location = "proxy.example/wild"
[[registry]]
prefix = "*.deep.wild.example"
blocked = true
[[registry]]
location = "pinned.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m4.example"
[aliases]
"short" = "alias.example/team/short"
"gone" = "x.example/gone"
`);

test.each([
  [
    "one.example/foo/app:1",
    ["m1.example/cache/app insecure mirror", "m3.example/cache/app mirror", "other.example/bar/foo/app"],
  ],
  [
    `one.example/foo/app@${PINNED}`,
    ["m1.example/cache/app insecure mirror", "m2.example/cache/app mirror", "other.example/bar/foo/app"],
  ],
  ["one.example/foobar", ["one.example/foobar insecure"]],
  ["a.wild.example/x", ["proxy.example/wild/x"]],
  ["a.wild.example:99/x", ["proxy.example/wild/x"]],
  ["wild.example/x", ["wild.example/x"]],
  ["pinned.example/x:1", ["pinned.example/x"]],
  [`pinned.example/x@${PINNED}`, ["m4.example/x mirror", "pinned.example/x"]],
  ["elsewhere.example/x", ["elsewhere.example/x"]],
  ["alpine", ["docker.io/library/alpine"]],
])("%s is fetched from %p", (name, expected) => {
  expect(places(name, full)).toEqual(expected);
});

test("a blocked registry", () => {
  expect(() => places("x.deep.wild.example/a", full)).toThrow('registry "x.deep.wild.example" is blocked');
});

test("--tls-verify decides over what the file says", () => {
  expect(places("one.example/x", { ...full, tlsVerify: true })).toEqual(["one.example/x"]);
  expect(places("elsewhere.example/x", { ...full, tlsVerify: false })).toEqual([
    "elsewhere.example/x insecure",
  ]);
});

test("plain HTTP is for loopback and insecure registries only", () => {
  const plain = (name: string, options = {}) =>
    sourcesOf(parseReference(name), { ...full, ...options }).at(-1)?.plainHttp;
  expect([
    plain("127.0.0.1:5000/x"),
    plain("localhost/x"),
    plain("[::1]:1/x"),
    plain("one.example/x"),
  ]).toEqual([true, true, true, true]);
  expect([
    plain("elsewhere.example/x"),
    plain("127.0.0.1.example/x"),
    plain("localhost/x", { tlsVerify: true }),
  ]).toEqual([false, false, false]);
  expect(isLoopback("127.1.2.3:80")).toBe(true);
  expect(isLoopback("localhost.example")).toBe(false);
});

describe("short names", () => {
  const names = (text: string, options = full) => qualifiedNames(text, options).map(formatReference);
  test("alias, search list, or as they are", () => {
    expect(names("short:2")).toEqual(["alias.example/team/short:2"]);
    expect(names("x")).toEqual(["one.example/x", "two.example:5000/x"]);
    expect(names(`a/b:1@${PINNED}`)[0]).toBe(`one.example/a/b:1@${PINNED}`);
    expect(names("quay.io/x")).toEqual(["quay.io/x"]);
    expect(names("docker://docker.io/x:1")).toEqual(["docker.io/library/x:1"]);
    expect(names("x", conf(""))).toEqual(["docker.io/library/x"]);
  });

  test("malformed aliases are the file's fault", () => {
    expect(() => names("z", conf('[aliases]\na = "b"'))).toThrow(
      /aliases."a" "b" must name registry and repository/,
    );
  });
});

test("drop-ins come after, in the order of their names, and replace tables of the same prefix", () => {
  const options = conf('[[registry]]\nlocation = "a.example"\n', {
    "20.conf": '[[registry]]\nlocation = "a.example"\ninsecure = true\n[aliases]\n"n" = ""',
    "10.conf": '[[registry]]\nprefix = "a.example"\nlocation = "b.example"\n[aliases]\n"n" = "x.example/n"',
    "30.txt": "not toml = = =",
  });
  expect(places("a.example/x", options)).toEqual(["a.example/x insecure"]);
  expect(loadRegistriesConf(options.registriesConf).aliases.get("n")).toBe("");
});

test.each([
  ["[registries.search]\nregistries = []", /version 1/],
  ["a = = b", /invalid registries configuration/],
  ["[[registry]]\ninsecure = true", /neither prefix nor location/],
  ['[[registry]]\nlocation = "https://a"', /must not have a scheme/],
  ['[[registry]]\nprefix = "*.a/b"\nlocation = "c"', /wildcard/],
  ['[[registry]]\nprefix = "a.*"\nlocation = "c"', /wildcard/],
  ["[[registry]]\nlocation = 7", /location is not a string/],
  ['[[registry]]\nlocation = "a"\ninsecure = "yes"', /insecure is not true or false/],
  ['[[registry]]\nlocation = "a"\n[[registry.mirror]]\n', /mirror\[0\] has no location/],
  [
    '[[registry]]\nlocation = "a"\n[[registry.mirror]]\nlocation = "b"\npull-from-mirror = "x"',
    /pull-from-mirror "x"/,
  ],
  ['unqualified-search-registries = "a"', /not a list of strings/],
  ["registry = 1", /not a list of tables/],
])("%p is refused and the file is named", (text, part) => {
  const options = conf(text);
  expect(() => loadRegistriesConf(options.registriesConf)).toThrow(part);
  expect(() => loadRegistriesConf(options.registriesConf)).toThrow(options.registriesConf);
});

test("an explicit file that is not there", () => {
  expect(() => loadRegistriesConf("/nonexistent/registries.conf")).toThrow(/does not exist/);
});

test("the longest prefix wins", () => {
  const { registries, ...rest } = loadRegistriesConf(full.registriesConf);
  expect(findRegistry({ registries: registries.toReversed(), ...rest }, "one.example/foo/x")?.prefix).toBe(
    "one.example/foo",
  );
});
