import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { digestOf } from "../image/digest.ts";
import type { AdditionalStore } from "./additional.ts";
import { destroy, plantLayer, storeAt, temporaryDir } from "./fixture.ts";
import { ownStackIds, stackIds, visibleDirs } from "./stack.ts";
import type { Store } from "./store.ts";

let base: string;
let own: Store;
let others: Store[];

beforeEach(() => {
  base = temporaryDir("stack");
  for (const name of ["own", "a", "b"]) mkdirSync(`${base}/${name}`);
  own = storeAt(`${base}/own`);
  others = [storeAt(`${base}/a`), storeAt(`${base}/b`)];
});
afterEach(() => {
  for (const store of others) store.db.close();
  destroy(own, base);
});

test("a stack goes on in whichever store has the next layer", () => {
  const [a, b] = others as [Store, Store];
  const bottom = plantLayer(b, digestOf("bottom"));
  const middle = plantLayer(a, digestOf("middle"), bottom);
  const top = plantLayer(own, digestOf("top"), middle);
  const additional = (): readonly AdditionalStore[] => others;
  expect(stackIds({ ...own, additional }, top)).toEqual([top, middle, bottom]);
  expect(visibleDirs({ ...own, additional }, top)).toEqual([
    own.paths.diff(top),
    a.paths.diff(middle),
    b.paths.diff(bottom),
  ]);
  expect(ownStackIds(own.db, top)).toEqual([top]);
  expect(() => stackIds(own, top)).toThrow(`layer "${middle}" is not in the store`);
});

test("layers that stand on each other in a circle are refused", () => {
  const one = digestOf("one");
  const two = plantLayer(own, digestOf("two"), one);
  own.db.run("UPDATE layers SET chain_id = ? WHERE chain_id = ?", one, plantLayer(own, digestOf("x"), two));
  expect(() => stackIds(own, two)).toThrow("is not in the store");
});
