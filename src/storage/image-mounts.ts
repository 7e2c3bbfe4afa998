/**
 * Images mounted for people to look into: read-only overlays at `<run>/images/<id>/merged`, counted, and there until they are
 * unmounted as often as they were mounted. The mount itself is the truth: a reboot, or a kill between two steps, leaves at most
 * directories that mean nothing.
 */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, MNT_DETACH, UMOUNT_NOFOLLOW } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import { deleteTree, ioError, namesIn } from "./files.ts";
import { FileLock } from "./lock.ts";
import type { StorePaths } from "./paths.ts";
import type { LayerStore } from "./storage.ts";

export interface ImageMountDeps {
  sys: Sys;
  paths: StorePaths;
  layers: Pick<LayerStore, "lowers">;
}

export interface ImageMount {
  /** Of the image. */
  id: Digest;
  path: string;
  /** How often it was mounted. */
  count: number;
}

/** As for containers: OVL_MAX_STACK of the kernel, and one for the empty layer below. */
const MAX_LAYERS = 499;

/** Held while an image is mounted, unmounted or removed. */
export async function lockImageMount(
  ctx: Ctx,
  { sys, paths }: Pick<ImageMountDeps, "sys" | "paths">,
  id: Digest,
): Promise<FileLock> {
  return await FileLock.acquire(ctx, { sys, dir: paths.locks, name: `image-${fileName(id)}` });
}

function fileName(id: Digest): string {
  return `${digestAlgorithm(id)}-${digestHex(id)}`;
}

function placeOf({ paths }: Pick<ImageMountDeps, "paths">, name: string) {
  const dir = `${paths.run}/images/${name}`;
  return { dir, merged: `${dir}/merged`, empty: `${dir}/empty`, count: `${dir}/count` };
}

type Place = ReturnType<typeof placeOf>;

export function imageMount(deps: Pick<ImageMountDeps, "sys" | "paths">, id: Digest): ImageMount | undefined {
  const place = placeOf(deps, fileName(id));
  return isMounted(deps.sys, place) ? { id, path: place.merged, count: countOf(place) } : undefined;
}

export function imageMounts(deps: Pick<ImageMountDeps, "sys" | "paths">): ImageMount[] {
  return namesIn(`${deps.paths.run}/images`).flatMap(
    (name) => imageMount(deps, name.replace("-", ":")) ?? [],
  );
}

/** Mounts it, or counts one more. The caller has the lock. Errors: not-found (a layer), invalid-argument (too many layers). */
export function mountImage(deps: ImageMountDeps, image: { id: Digest; chainId?: Digest }): ImageMount {
  const place = placeOf(deps, fileName(image.id));
  if (isMounted(deps.sys, place)) {
    const count = countOf(place) + 1;
    writeFileSync(place.count, String(count));
    return { id: image.id, path: place.merged, count };
  }
  const layers = image.chainId === undefined ? [deps.paths.empty] : deps.layers.lowers(image.chainId);
  if (layers.length > MAX_LAYERS) throw tooManyLayers(image.id, layers.length);
  try {
    deleteTree(deps.sys, place.dir);
    mkdirSync(place.merged, { recursive: true, mode: 0o700 });
    mkdirSync(place.empty);
    writeFileSync(place.count, "1");
    failpoint("storage.image-mount.dirs");
    // The kernel wants two lowers where there is no upper.
    const options = ["index=off", "redirect_dir=nofollow", "metacopy=off"];
    const lower = [...layers, place.empty];
    deps.sys.mountOverlay({ lower, target: place.merged, options, readOnly: true });
    failpoint("storage.image-mount.mounted");
  } catch (error) {
    remove(deps, place);
    throw ioError(error, `cannot mount image "${image.id}"`);
  }
  return { id: image.id, path: place.merged, count: 1 };
}

/**
 * Counts one less and unmounts at none; with `force` at once, however often it was mounted and whoever is in there. The caller has
 * the lock. False if it is not mounted. Errors: in-use.
 */
export function unmountImage(
  deps: Pick<ImageMountDeps, "sys" | "paths">,
  id: Digest,
  { force }: { force: boolean },
): boolean {
  const place = placeOf(deps, fileName(id));
  if (!isMounted(deps.sys, place)) {
    remove(deps, place);
    return false;
  }
  const count = countOf(place) - 1;
  if (count > 0 && !force) {
    writeFileSync(place.count, String(count));
    return true;
  }
  unmount(deps.sys, place, id, force);
  failpoint("storage.image-mount.unmounted");
  remove(deps, place);
  return true;
}

/** Directories of images that are not mounted: of a kill, or of an earlier boot. Returns their ids. */
export function sweepImageMounts(deps: Pick<ImageMountDeps, "sys" | "paths">, repair: boolean): string[] {
  return namesIn(`${deps.paths.run}/images`).filter((name) => {
    const place = placeOf(deps, name);
    using lock = FileLock.try({ sys: deps.sys, dir: deps.paths.locks, name: `image-${name}` });
    if (lock === undefined || isMounted(deps.sys, place)) return false;
    if (repair) remove(deps, place);
    return true;
  });
}

function isMounted(sys: Sys, { merged }: Place): boolean {
  try {
    return sys.stat(AT_FDCWD, merged, AT_SYMLINK_NOFOLLOW).mountRoot;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

/** At least one, whatever the file says: it is mounted. */
function countOf({ count }: Place): number {
  try {
    return Math.max(1, Number.parseInt(readFileSync(count, "utf8"), 10) || 1);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return 1;
    throw error;
  }
}

function unmount(sys: Sys, { merged }: Place, id: Digest, force: boolean): void {
  try {
    sys.umount(merged, UMOUNT_NOFOLLOW | (force ? MNT_DETACH : 0));
  } catch (error) {
    if (!hasCode(error, "EBUSY")) throw error;
    throw fail("in-use", `the mount of image "${id}" is in use`, {
      reason: "mount-busy",
      hint: `somebody has files open in "${merged}" or stands in there; --force unmounts it all the same`,
      cause: error,
    });
  }
}

function remove({ sys, paths }: Pick<ImageMountDeps, "sys" | "paths">, { dir }: Place): void {
  deleteTree(sys, dir);
  try {
    rmdirSync(`${paths.run}/images`);
  } catch (error) {
    if (!hasCode(error, "ENOTEMPTY", "ENOENT", "EEXIST")) throw error;
  }
}

function tooManyLayers(id: Digest, count: number): Error {
  return fail("invalid-argument", `image "${id}" has ${count} layers, ${MAX_LAYERS} can be mounted`, {
    reason: "too-many-layers",
    hint: "squash the image",
  });
}
