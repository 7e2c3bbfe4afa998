/** A layer as the tar it was made from, for push and save. */
import type { Ctx } from "../core/ctx.ts";
import { checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestAlgorithm } from "../image/digest.ts";
import type { Sys } from "../sys/sys.ts";
import type { StorePaths } from "./paths.ts";
import type { ContentStore, LayerRecord } from "./storage.ts";

export interface LayerTarDeps {
  sys: Sys;
  paths: StorePaths;
  content: ContentStore;
}

/** Verified against the diffId: a mismatch is thrown after the last chunk, so the reader must wait for the end. */
export async function* layerTarStream(
  ctx: Ctx,
  deps: LayerTarDeps,
  layer: LayerRecord,
): AsyncGenerator<Uint8Array> {
  const hasher = new Bun.CryptoHasher(digestAlgorithm(layer.diffId));
  for await (const chunk of await openTar(deps, layer)) {
    checkCanceled(ctx);
    hasher.update(chunk);
    yield chunk;
  }
  const found = `${digestAlgorithm(layer.diffId)}:${hasher.digest("hex")}`;
  if (found === layer.diffId) return;
  throw fail("data-loss", `layer "${layer.diffId}" is damaged: its tar has the digest "${found}"`, {
    reason: "layer-damaged",
    hint: 'run "berth system check --repair", then pull or build the image again',
    data: { chainId: layer.chainId, expected: layer.diffId, found },
  });
}

async function openTar(deps: LayerTarDeps, layer: LayerRecord): Promise<AsyncIterable<Uint8Array>> {
  if (layer.blob !== undefined) {
    const { decompress } = await import("../archive/compress.ts");
    return decompress(deps.content.stream(layer.blob.digest));
  }
  const { layerTar } = await import("./changes.ts");
  return layerTar(deps.sys, deps.paths.diff(layer.chainId));
}
