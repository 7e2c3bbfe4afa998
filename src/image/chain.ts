/** Chain ids (image-spec config.md, "Layer ChainID"): the name of a stack of layers. */
import { digestOf } from "./digest.ts";
import type { Digest } from "./image.ts";

/** The chain id of one layer on its parent; a bottom layer's is its diff id. */
export function chainId(parent: Digest | undefined, diffId: Digest): Digest {
  return parent === undefined ? diffId : digestOf(`${parent} ${diffId}`);
}

/** The chain id of every prefix of the stack, bottom first; the last one names the whole. */
export function chainIds(diffIds: Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) chain.push(chainId(chain.at(-1), diffId));
  return chain;
}
