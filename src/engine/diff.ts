/** diff: what a container changed in its image's files, or an image's top layer in those below. */
import type { Ctx } from "../core/ctx.ts";
import { chainIds } from "../image/chain.ts";
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
    const lower = container.spec.imageId === undefined ? [] : stackOf(engine, container.spec.imageId);
    return listChanges(engine.sys, engine.rootfs.upper(container.id), lower, OWN_PLACES);
  }
  const [top, ...below] = stackOf(engine, engine.images.resolve(request.name).id);
  return top === undefined ? [] : listChanges(engine.sys, top, below);
}

/** Directories of an image's layers, topmost first. */
function stackOf(engine: Engine, imageId: string): string[] {
  const top = chainIds(engine.images.resolve(imageId).config.rootfs.diff_ids).at(-1);
  return top === undefined
    ? []
    : engine.layers.stack(top).map((layer) => engine.layers.diffPath(layer.chainId));
}
