import { afterEach, beforeEach, expect, test } from "bun:test";
import { createCtx } from "../core/ctx.ts";
import { destroy, imageOf, plantLayer, storeAt, streamOf, temporaryDir } from "./fixture.ts";
import { collectGarbage } from "./gc.ts";
import { addOrigins, addVariant, findVariant, originsOf } from "./layer-variants.ts";
import type { Store } from "./store.ts";

const DIFF = `sha256:${"a".repeat(64)}`;
let base: string;
let store: Store;

beforeEach(() => {
  base = temporaryDir("variants");
  store = storeAt(base);
});
afterEach(() => destroy(store, base));

test("what a push has learned of a layer stays as long as the layer, and goes with it", async () => {
  const { id } = store.images.put({ ...imageOf(store, [plantLayer(store, DIFF)]), names: ["a.example/x:1"] });
  const blob = await store.content.ingest(createCtx(), streamOf("compressed"));
  addVariant(store.db, DIFF, { compression: "gzip:3", ...blob });
  addOrigins(store.db, "a.example/x", [blob.digest]);
  store.leases.session().release();
  // The blob goes, the knowledge of it stays: the registry may have it still.
  collectGarbage(store);
  expect(store.content.has(blob.digest)).toBe(false);
  expect(findVariant(store.db, DIFF, "gzip:3")).toEqual(blob);
  expect(originsOf(store.db, blob.digest, "a.example")).toEqual(["x"]);

  store.images.remove(id, { force: true, inUse: () => [] });
  expect(findVariant(store.db, DIFF, "gzip:3")).toBeUndefined();
  expect(originsOf(store.db, blob.digest, "a.example")).toEqual([]);
});
