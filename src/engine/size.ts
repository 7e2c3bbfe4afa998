/** How much disk a container takes. */
import type { ContainerRecord } from "../container/container.ts";
import { fileBytes } from "../storage/usage.ts";
import type { Engine } from "./engine.ts";

/** Bytes of the container's own layer, and of it with its image. */
export function sizeOf(engine: Engine, record: ContainerRecord): { rw: number; rootFs: number } {
  const rw = fileBytes(engine.sys, engine.paths.upper(record.id));
  const image = record.spec.imageId === undefined ? undefined : engine.images.find(record.spec.imageId);
  return { rw, rootFs: rw + (image?.size ?? 0) };
}
