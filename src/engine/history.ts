/** history: the steps an image was made of. */
import type { Ctx } from "../core/ctx.ts";
import { chainIds } from "../image/chain.ts";
import type { ImageConfig } from "../image/image.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { isParent } from "./remove-image.ts";

export interface HistoryLine {
  /** Of the image that ends with this step, if it is here; else "<missing>". */
  id: string;
  /** RFC 3339; empty where the image does not say. */
  created: string;
  createdBy: string;
  /** Bytes of the step's layer, unpacked; 0 for one that only changed the configuration. */
  size: number;
  comment: string;
  /** Names of that image. */
  tags: string[];
}

/** Newest first. A history that does not fit the layers is shown as far as it goes. Errors: not-found. */
export function history(_ctx: Ctx, engine: Engine, request: { image: string }): HistoryLine[] {
  const image = engine.images.resolve(request.image);
  const steps = image.config.history;
  const ends = imagesBySteps(engine, image);
  const sizes = chainIds(image.config.rootfs.diff_ids).map((id) => engine.layers.get(id)?.size ?? 0);
  let next = 0;
  const lines = steps.map((step, index) => {
    const end = ends.get(index + 1);
    return {
      id: end?.id ?? "<missing>",
      created: step.created ?? "",
      createdBy: step.created_by ?? "",
      size: step.empty_layer === true ? 0 : (sizes[next++] ?? 0),
      comment: step.comment ?? "",
      tags: end?.names ?? [],
    };
  });
  return lines.reverse();
}

/** The image itself, and those of the store that it was made from, by how many steps they have. */
function imagesBySteps(engine: Engine, image: ImageRecord): Map<number, ImageRecord> {
  const length = (config: ImageConfig): number => config.history.length;
  const chain = new Set(chainIds(image.config.rootfs.diff_ids));
  const mayBe = ({ chainId }: ImageRecord): boolean => chainId === undefined || chain.has(chainId);
  const parents = engine.images
    .list()
    .filter((record) => mayBe(record) && isParent(record.config, image.config));
  return new Map([...parents, image].map((record) => [length(record.config), record]));
}
