/** image tree: the layers of an image, and which images of the store stand on each of them. */
import type { Ctx } from "../core/ctx.ts";
import type { Digest } from "../image/image.ts";
import type { ImageRecord, LayerRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface TreeLayer {
  layer: LayerRecord;
  /** Names of the images whose topmost layer it is. */
  topOf: string[];
  /** Layers of other images on this one; only asked for with `whatRequires`. */
  above: TreeLayer[];
}

export interface ImageTree {
  record: ImageRecord;
  /** Bottom first; with `whatRequires` the topmost, then those that stand on it, as podman shows them. */
  layers: TreeLayer[];
}

/** Errors: not-found. */
export function imageTree(
  _ctx: Ctx,
  engine: Engine,
  request: { image: string; whatRequires: boolean },
): ImageTree {
  const record = engine.images.resolve(request.image);
  const topOf = namesByTop(engine);
  const node = (layer: LayerRecord, above: TreeLayer[] = []): TreeLayer => ({
    layer,
    topOf: topOf.get(layer.chainId) ?? [],
    above,
  });
  if (record.chainId === undefined) return { record, layers: [] };
  const stack = engine.layers.stack(record.chainId);
  if (!request.whatRequires) return { record, layers: stack.toReversed().map((layer) => node(layer)) };
  const children = childrenByParent(engine);
  const grown = (layer: LayerRecord): TreeLayer =>
    node(
      layer,
      (children.get(layer.chainId) ?? []).map((child) => grown(child)),
    );
  const top = stack[0] as LayerRecord;
  const onIt = (children.get(top.chainId) ?? []).map((child) => grown(child));
  return { record, layers: [node(top), ...onIt] };
}

function namesByTop(engine: Engine): Map<Digest, string[]> {
  const byTop = new Map<Digest, string[]>();
  for (const { chainId, names } of engine.images.list()) {
    if (chainId !== undefined) byTop.set(chainId, [...(byTop.get(chainId) ?? []), ...names]);
  }
  return byTop;
}

/** Oldest first. */
function childrenByParent(engine: Engine): Map<Digest, LayerRecord[]> {
  const children = new Map<Digest, LayerRecord[]>();
  for (const layer of engine.layers.list()) {
    if (layer.parent !== undefined)
      children.set(layer.parent, [...(children.get(layer.parent) ?? []), layer]);
  }
  return children;
}
