import { expect, test } from "bun:test";
import { createCtx } from "../core/ctx.ts";
import { storePaths } from "../storage/paths.ts";
import { linux } from "../sys/linux.ts";
import { additionalImageStores, openAdditionalStores } from "./additional-stores.ts";

test("additional stores of a storage.conf", () => {
  const conf = (line: string): string => `[storage]\ndriver = "overlay"\n\n[storage.options]\n${line}\n`;
  expect(additionalImageStores("")).toEqual([]);
  expect(additionalImageStores("this is no TOML ==")).toEqual([]);
  expect(additionalImageStores(conf('# additionalimagestores = ["/a"]'))).toEqual([]);
  expect(additionalImageStores(conf("additionalimagestores = []"))).toEqual([]);
  expect(additionalImageStores(conf('additionalimagestores = [\n "/a",\n "/b c",\n]'))).toEqual([
    "/a",
    "/b c",
  ]);
  expect(additionalImageStores('storage.options.additionalimagestores = ["/a"]')).toEqual(["/a"]);
  // In another table it means nothing.
  expect(additionalImageStores('[engine]\nadditionalimagestores = ["/a"]')).toEqual([]);
  expect(() => additionalImageStores(conf('additionalimagestores = "/a"'))).toThrow("not a list");
  expect(() => additionalImageStores(conf("additionalimagestores = [1]"))).toThrow("not a list");
  expect(() => additionalImageStores(conf('additionalimagestores = ["a/b"]'))).toThrow('"a/b"');
  expect(() => additionalImageStores(conf("additionalimagestores = ["))).toThrow();
});

test("none named: nothing is opened", () => {
  const owner = () => ({ pid: 1, startTime: 0, bootId: "" });
  const own = storePaths("/nonexistent", "/nonexistent");
  const stores = openAdditionalStores(createCtx(), { sys: linux, own, version: 2, owner, given: [] });
  expect(stores()).toEqual([]);
});
