import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { digestOf } from "../image/digest.ts";
import { Db } from "../sys/db.ts";
import { linux } from "../sys/linux.ts";
import { type AdditionalStore, storeOfLayer } from "./additional.ts";
import { additionalStores } from "./additional-open.ts";
import { destroy, plantLayer, storeAt, temporaryDir, thisProcess } from "./fixture.ts";
import { storageSchema } from "./schema.ts";
import type { Store } from "./store.ts";

const VERSION = 7;

let base: string;
let own: Store;
let warnings: string[];

beforeEach(() => {
  base = temporaryDir("additional");
  mkdirSync(`${base}/own`);
  own = storeAt(`${base}/own`);
  warnings = [];
});
afterEach(() => destroy(own, base));

function open(...roots: string[]) {
  const warn = (message: string): void => void warnings.push(message);
  const request = {
    sys: linux,
    own: own.paths,
    roots: () => roots,
    version: VERSION,
    owner: thisProcess,
    warn,
  };
  return additionalStores(request);
}

/** A store with one layer. */
function foreign(name: string, version = VERSION): string {
  const root = `${base}/${name}/root`;
  mkdirSync(`${base}/${name}`);
  const store = storeAt(`${base}/${name}`);
  plantLayer(store, digestOf(name));
  store.db.run(`PRAGMA user_version = ${version}`);
  store.db.close();
  return root;
}

test("opened at the first call, each once, never the own one, and nothing appears in them", () => {
  const [a, b] = [foreign("a"), foreign("b # ?100%")];
  symlinkSync(a, `${base}/link`);
  const before = [readdirSync(a), readdirSync(b)];
  const stores = open(a, b, `${base}/link`, own.paths.root, a);
  const opened = stores();
  expect(opened.map(({ paths }) => paths.root)).toEqual([a, b]);
  expect(stores()).toBe(opened);
  expect(opened[0]?.layers.get(digestOf("a"))?.size).toBe(10);
  expect(opened[1]?.layers.get(digestOf("a"))).toBeUndefined();
  expect(opened[1]?.layers.get(digestOf("b # ?100%"))?.size).toBe(10);
  expect(() => opened[0]?.db.run("DELETE FROM layers")).toThrow("readonly");
  expect([readdirSync(a), readdirSync(b)]).toEqual(before);
  expect(warnings).toEqual([]);
});

test("what cannot be used is a warning, and the others are used all the same", () => {
  const good = foreign("good");
  mkdirSync(`${base}/junk`);
  writeFileSync(`${base}/junk/berth.db`, "x".repeat(5000));
  mkdirSync(`${base}/dir/berth.db`, { recursive: true });
  const roots = [`${base}/none`, `${base}/junk`, `${base}/dir`, foreign("new", 8), foreign("old", 1), good];
  const opened = open(...roots)();
  expect(opened.map(({ paths }) => paths.root)).toEqual([good]);
  expect(warnings.map((warning) => warning.replace(/^additional store ".*" is left out: /, ""))).toEqual([
    "there is no store",
    expect.stringContaining("not a database"),
    expect.stringContaining("cannot read the state database"),
    "it was written by a newer berth (schema 8, this one knows 7)",
    "it was written by an older berth (schema 1) and cannot be read as it is",
    // The good one has none.
  ]);
});

test("a log that was left, or is being written, is read from a copy", () => {
  const root = foreign("busy");
  using writer = Db.open(`${root}/berth.db`, VERSION, storageSchema);
  writer.run("UPDATE layers SET size = 4711");
  expect(readdirSync(root)).toContain("berth.db-wal");
  const [store] = open(root)();
  expect(store?.layers.get(digestOf("busy"))?.size).toBe(4711);
  expect(readdirSync(own.paths.ingest)).toEqual([]);
});

test("links in a store do not lend it other files of the machine", () => {
  const root = foreign("sly");
  mkdirSync(`${base}/treasure`);
  const [store] = open(root)() as [AdditionalStore];
  const stores = (): AdditionalStore[] => [store];
  const chainId = digestOf("sly");
  expect(storeOfLayer(stores, chainId)).toBe(store);
  rmSync(store.paths.diff(chainId), { recursive: true });
  symlinkSync(`${base}/treasure`, store.paths.diff(chainId));
  expect(storeOfLayer(stores, chainId)).toBeUndefined();
  expect(storeOfLayer(stores, "sha256:../../treasure")).toBeUndefined();
});
