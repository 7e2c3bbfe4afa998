/**
 * Additional stores: complete stores of somebody else, on a read-only file system or owned by another user, whose images and
 * layers are used where they lie. Nothing in them is ever written, not even a lock or SQLite's log.
 *
 * What is not in the own store is looked for in each of them, in the order they were named. A stack of layers may
 * stand on theirs: own layers over layers of an additional store. Nothing keeps another engine from removing what we stand on:
 * who shares a store promises to leave it alone.
 */
import { statSync } from "node:fs";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { StorePaths } from "./paths.ts";
import type { ContentStore, ImageStore, LayerRecord, LayerStore } from "./storage.ts";

/** Only the reading half of each part is used. */
export interface AdditionalStore {
  db: Db;
  paths: StorePaths;
  content: ContentStore;
  layers: LayerStore;
  images: ImageStore;
}

/** Opens them at the first call; those that cannot be used are left out, with a warning. */
export type AdditionalStores = () => readonly AdditionalStore[];

/** The store that has this blob, whole. */
export function storeOfBlob(
  stores: AdditionalStores | undefined,
  digest: Digest,
): AdditionalStore | undefined {
  return stores?.().find(({ content, paths }) => {
    if (!content.has(digest)) return false;
    return statSync(paths.blob(digest), { throwIfNoEntry: false })?.size === content.size(digest);
  });
}

export function layerElsewhere(
  stores: AdditionalStores | undefined,
  chainId: Digest,
): LayerRecord | undefined {
  return storeOfLayer(stores, chainId)?.layers.get(chainId);
}

/** The store that has this layer, unpacked. */
export function storeOfLayer(
  stores: AdditionalStores | undefined,
  chainId: Digest,
): AdditionalStore | undefined {
  return stores?.().find(
    ({ layers, paths }) =>
      layers.get(chainId) !== undefined &&
      statSync(paths.diff(chainId), { throwIfNoEntry: false })?.isDirectory() === true,
  );
}
