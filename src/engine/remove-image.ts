/** rmi: takes names away, and an image with its last one. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Digest, ImageConfig } from "../image/image.ts";
import { chainIds } from "../image/chain.ts";
import { imageMount, lockImageMount, unmountImage } from "../storage/image-mounts.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface Removed {
  untagged: string[];
  /** Ids of images: the one that was meant, then parents that only it had kept. */
  deleted: string[];
  /** What the image that went was known as at registries. */
  repoDigests: string[];
  /** Chain ids of unpacked layers that went. */
  layers: string[];
}

export interface RemoveImageRequest {
  image: string;
  /** By id with all its names, and although containers stand on it or it is mounted. */
  force: boolean;
  /** With `force`: those containers go too, as with podman; docker leaves them. */
  containers?: boolean;
  /** With all its names, but not if a container stands on it. */
  allNames?: boolean;
  /** An unknown image is no error. */
  ignore?: boolean;
  /** Leave parents without a name. */
  keepParents?: boolean;
}

/**
 * Removes a name, and the image with its unshared layers when that was the last. Errors: not-found,
 * in-use (containers stand on it or it is mounted; several names and no force), permission-denied (additional store).
 */
export async function removeImage(ctx: Ctx, engine: Engine, request: RemoveImageRequest): Promise<Removed> {
  const index = engine.manifests.find(request.image);
  if (index?.kind === "index") {
    const { removeIndex } = await import("./manifest-remove.ts");
    return { repoDigests: index.repoDigests, ...(await removeIndex(ctx, engine, index, request)) };
  }
  const found = engine.images.find(request.image);
  if (found === undefined && request.ignore === true)
    return { untagged: [], deleted: [], repoDigests: [], layers: [] };
  const image = found ?? engine.images.resolve(request.image);
  const onlyName = !isIdOf(request.image, image.id) && image.names.length > 1;
  // Nobody shall mount it while it goes.
  using _lock = await lockImageMount(ctx, engine, image.id);
  if (!onlyName && image.additionalStore === undefined) await release(ctx, engine, image, request);
  const removed = forget(engine, image, request);
  if (removed.deleted.length > 0 && request.keepParents !== true) {
    for (const parent of danglingParents(engine, image)) {
      const more = forget(engine, parent, { image: parent.id, force: false });
      removed.deleted.push(...more.deleted);
      removed.layers.push(...more.layers);
    }
  }
  return removed;
}

function isIdOf(text: string, id: string): boolean {
  return (
    /^(sha256:)?[0-9a-f]+$/.test(text) && id.replace("sha256:", "").startsWith(text.replace("sha256:", ""))
  );
}

/** What stands on it, as far as the caller wants that gone. */
async function release(
  ctx: Ctx,
  engine: Engine,
  image: ImageRecord,
  { image: name, force, containers }: RemoveImageRequest,
): Promise<void> {
  const mount = imageMount(engine, image.id);
  if (mount !== undefined && !force) {
    throw fail("in-use", `image "${name}" is mounted at "${mount.path}"`, {
      reason: "image-mounted",
      hint: `unmount it first (berth image unmount ${name}), or use --force`,
      data: { id: image.id, path: mount.path },
    });
  }
  if (force && containers === true) {
    const { remove } = await import("./remove.ts");
    for (const id of engine.records.usersOf(image.id)) {
      await remove(ctx, engine, { container: id, force: true, volumes: true });
    }
  }
  if (mount !== undefined) unmountImage(engine, image.id, { force: true });
}

function forget(engine: Engine, image: ImageRecord, request: RemoveImageRequest): Removed {
  const inUse = (id: string): string[] => engine.records.usersOf(id);
  const { force, allNames = false } = request;
  const result = engine.images.remove(request.image, { force, allNames, inUse });
  for (const name of result.untagged) {
    engine.events.add({ type: "image", action: "untag", id: image.id, name, attributes: {} });
  }
  for (const id of result.deleted) {
    engine.events.add({ type: "image", action: "remove", id, name: image.names[0] ?? id, attributes: {} });
  }
  return { ...result, repoDigests: result.deleted.includes(image.id) ? image.repoDigests : [] };
}

/**
 * Images without a name that this one was made from, step by step, and that nothing else is made from; nearest first. There
 * is no other trace of a parent than the same layers and the same history, as far as it goes.
 */
function danglingParents(engine: Engine, image: ImageRecord): ImageRecord[] {
  const others = engine.images.list().filter(({ additionalStore }) => additionalStore === undefined);
  const parents = others
    .filter((other) => other.names.length === 0 && isParent(other.config, image.config))
    .sort((a, b) => b.config.history.length - a.config.history.length);
  if (parents.length === 0) return [];
  const listed = listedManifests(engine);
  const going: ImageRecord[] = [];
  for (const parent of parents) {
    const isNeeded =
      engine.records.usersOf(parent.id).length > 0 ||
      imageMount(engine, parent.id) !== undefined ||
      listed.has(parent.manifestDigest) ||
      others.some((other) => !going.includes(other) && isParent(parent.config, other.config));
    if (isNeeded) break;
    going.push(parent);
  }
  return going;
}

/** Digests of all that the indexes of the store list. */
export function listedManifests(engine: Engine): Set<Digest> {
  const rows = engine.db.all<{ child: string }>(
    "SELECT r.child FROM blob_refs r JOIN manifests m ON m.digest = r.parent WHERE m.kind = 'index'",
  );
  return new Set(rows.map(({ child }) => child));
}

/** True where the child has all layers and steps of the parent, in order, and more steps. */
export function isParent(parent: ImageConfig, child: ImageConfig): boolean {
  const steps = parent.history.length;
  if (steps === 0 || steps >= child.history.length) return false;
  const [own, others] = [chainIds(parent.rootfs.diff_ids), chainIds(child.rootfs.diff_ids)];
  const top = own.at(-1);
  if (own.length > others.length || (top !== undefined && others[own.length - 1] !== top)) return false;
  return parent.history.every((step, index) => Bun.deepEquals(step, child.history[index]));
}
