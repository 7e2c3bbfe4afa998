/**
 * Additional stores: complete stores of somebody else, on a read-only file system or owned by another user, whose images and
 * layers are used where they lie. Nothing in them is ever written, not even a lock or SQLite's log.
 *
 * What is not in the own store is looked for in each of them, in the order they were named. A stack of layers may
 * stand on theirs: own layers over layers of an additional store. Nothing keeps another engine from removing what we stand on:
 * who shares a store promises to leave it alone.
 */
import { realpathSync, type Stats, statSync } from "node:fs";
import { isDigest } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import { hasCode } from "../sys/errno.ts";
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
    const found = lookAt(paths, paths.blob(digest));
    return found?.isFile() === true && found.size === content.size(digest);
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
      isDigest(chainId) &&
      layers.get(chainId) !== undefined &&
      lookAt(paths, paths.diff(chainId))?.isDirectory() === true,
  );
}

/** Nothing where a link leads elsewhere: its owner shares what is in the store, and no other files of this machine. */
function lookAt({ root }: StorePaths, path: string): Stats | undefined {
  try {
    return realpathSync(path) === realpathSync(root) + path.slice(root.length) ? statSync(path) : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP", "EACCES")) return undefined;
    throw error;
  }
}
