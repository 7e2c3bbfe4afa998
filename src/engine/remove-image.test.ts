import { expect, test } from "bun:test";
import type { ImageConfig } from "../image/image.ts";
import { isParent } from "./remove-image.ts";

function config(layers: string[], steps: string[]): ImageConfig {
  return {
    os: "linux",
    architecture: "amd64",
    config: {},
    rootfs: { type: "layers", diff_ids: layers.map((hex) => `sha256:${hex.repeat(64)}`) },
    history: steps.map((created_by) => ({ created_by })),
  } as ImageConfig;
}

test("a parent has the first layers and the first steps of its child", () => {
  const child = config(["a", "b"], ["one", "two", "three"]);
  expect(isParent(config(["a"], ["one"]), child)).toBe(true);
  expect(isParent(config(["a", "b"], ["one", "two"]), child)).toBe(true);
  expect(isParent(config([], ["one"]), child)).toBe(true);
  // The same, a longer one, another history, other layers, and one that tells nothing.
  expect(isParent(child, child)).toBe(false);
  expect(isParent(config(["a", "b", "c"], ["one"]), child)).toBe(false);
  expect(isParent(config(["a"], ["uno"]), child)).toBe(false);
  expect(isParent(config(["c"], ["one"]), child)).toBe(false);
  expect(isParent(config(["b"], ["one"]), child)).toBe(false);
  expect(isParent(config(["a"], []), child)).toBe(false);
});
