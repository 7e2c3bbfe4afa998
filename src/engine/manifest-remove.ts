/** manifest rm, and rmi of a name that means an index. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { imageMount } from "../storage/image-mounts.ts";
import type { ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { resolveList } from "./manifest-list.ts";
import { askedName } from "./push-source.ts";

export interface RemoveIndexRequest {
  /** A name takes that name away, and the last one the document; a digest takes it with its only name. */
  image: string;
  /** By digest with all its names, and although a container stands on an image that goes with it. */
  force: boolean;
  /** With all its names. */
  allNames?: boolean;
  /** With `force`: such containers go too. */
  containers?: boolean;
}

export interface RemovedIndex {
  untagged: string[];
  /** The document's digest and the ids of images that went with it. */
  deleted: string[];
  /** Chain ids. */
  layers: string[];
}

/**
 * Images that it lists and that have no name of their own go with it, if they came from a registry and nothing else lists them;
 * others stay. Errors: not-found, in-use (several names; a container stands on such an image).
 */
export async function removeIndex(
  ctx: Ctx,
  engine: Engine,
  index: ManifestRecord,
  request: RemoveIndexRequest,
): Promise<RemovedIndex> {
  const asked = askedName(index, request.image);
  if (asked !== undefined && index.names.length > 1 && request.allNames !== true) {
    engine.manifests.untag(asked);
    engine.events.add({ type: "image", action: "untag", id: index.digest, name: asked, attributes: {} });
    return { untagged: [asked], deleted: [], layers: [] };
  }
  if (asked === undefined && index.names.length > 1 && !request.force && request.allNames !== true) {
    throw severalNames(index, request.image);
  }
  const isPulled = (id: string): boolean => {
    const image = engine.images.get(id);
    return image !== undefined && image.names.length === 0 && image.repoDigests.length > 0;
  };
  if (request.force && request.containers === true) {
    await removeContainers(ctx, engine, engine.manifests.members(index.digest).filter(isPulled));
  }
  const goes = (id: string): boolean => {
    if (!isPulled(id)) return false;
    const users = engine.records.usersOf(id);
    if (users.length > 0 && !request.force) throw inUse(request.image, users);
    return users.length === 0 && imageMount(engine, id) === undefined;
  };
  const { untagged, images, layers } = engine.manifests.remove(index.digest, goes);
  for (const name of untagged)
    engine.events.add({ type: "image", action: "untag", id: index.digest, name, attributes: {} });
  const deleted = [index.digest, ...images];
  for (const id of deleted)
    engine.events.add({ type: "image", action: "remove", id, name: untagged[0] ?? id, attributes: {} });
  return { untagged, deleted, layers };
}

async function removeContainers(ctx: Ctx, engine: Engine, images: string[]): Promise<void> {
  const users = images.flatMap((id) => engine.records.usersOf(id));
  if (users.length === 0) return;
  const { remove } = await import("./remove.ts");
  for (const container of users) await remove(ctx, engine, { container, force: true, volumes: true });
}

function severalNames(index: ManifestRecord, image: string): Error {
  return fail(
    "in-use",
    `unable to delete image "${image}" by ID with more than one tag (${index.names.join(", ")})`,
    {
      reason: "image-has-names",
      hint: "remove it by name, or with --force",
      data: { id: index.digest, names: index.names },
    },
  );
}

function inUse(image: string, users: string[]): Error {
  const short = users.map((user) => user.slice(0, 12)).join(", ");
  return fail("in-use", `image "${image}" is in use by container ${short}`, {
    reason: "image-in-use",
    hint: "remove the container first, or use --force",
    data: { containers: users },
  });
}

/** manifest rm. Errors: not-found, invalid-argument (no list), in-use. */
export async function removeList(
  ctx: Ctx,
  engine: Engine,
  { list }: { list: string },
): Promise<RemovedIndex> {
  return await removeIndex(ctx, engine, resolveList(engine, list), { image: list, force: false });
}
