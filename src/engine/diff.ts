/** diff: what a container changed in its image's files, or an image's top layer in those below. */
import type { Ctx } from "../core/ctx.ts";
import { chainIds } from "../image/chain.ts";
import type { Digest } from "../image/image.ts";
import { listChanges } from "../storage/changes.ts";
import type { Engine } from "./engine.ts";

export interface Change {
  /** Added, changed, deleted. */
  kind: "A" | "C" | "D";
  /** Absolute in the container. */
  path: string;
}

/** Where the engine itself mounts: the runtime makes what is missing there, which is nobody's change. */
const OWN_PLACES = new Set(["/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]);

/** Sorted by path. Errors: not-found. */
export function diff(_ctx: Ctx, engine: Engine, request: { name: string }): Change[] {
  const container = engine.records.find(request.name);
  if (container !== undefined) {
    const { imageId } = container.spec;
    const lowers = lowersOf(engine, imageId === undefined ? undefined : chainOf(engine, imageId).at(-1));
    return listChanges(engine.sys, engine.rootfs.upper(container.id), lowers, OWN_PLACES);
  }
  const chain = chainOf(engine, request.name);
  const [top] = lowersOf(engine, chain.at(-1));
  return top === undefined ? [] : listChanges(engine.sys, top, lowersOf(engine, chain.at(-2)));
}

/** Chain ids of an image, bottom first. */
function chainOf(engine: Engine, image: string): Digest[] {
  return chainIds(engine.images.resolve(image).config.rootfs.diff_ids);
}

function lowersOf(engine: Engine, top: Digest | undefined): string[] {
  return top === undefined ? [] : engine.layers.lowers(top);
}
