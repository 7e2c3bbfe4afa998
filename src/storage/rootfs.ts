/** Root file systems of containers: overlay mounts of an image's layers. Contract in storage.ts. */
import { chmodSync, chownSync, mkdirSync, renameSync, statSync } from "node:fs";
import { fail } from "../core/error.ts";
import { failpoint } from "../core/failpoint.ts";
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, MNT_DETACH, UMOUNT_NOFOLLOW } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import { type AdditionalStores, storeOfLayer } from "./additional.ts";
import { deleteTree, discard, ioError } from "./files.ts";
import type { StorePaths } from "./paths.ts";
import { visibleDirs } from "./stack.ts";
import type { RootfsRequest, RootfsStore } from "./storage.ts";
import { copyXattrs } from "./inherit.ts";

export interface RootfsDeps {
  db: Db;
  sys: Sys;
  paths: StorePaths;
  /** Where layers may be that this store does not have. */
  additional?: AdditionalStores | undefined;
  /** True where the mount is made inside a user namespace: overlay then keeps its marks in `user.overlay.*`. */
  userXattr?: boolean;
}

/** OVL_MAX_STACK of the kernel. */
const MAX_LAYERS = 500;

/**
 * Whatever the kernel's defaults are: no inode index (a lower may be in many mounts), no redirects and no
 * metadata-only copies (an upper must be readable as a changeset without its lowers).
 */
const OPTIONS = ["index=off", "redirect_dir=nofollow", "metacopy=off"];

export function createRootfs(deps: RootfsDeps): RootfsStore {
  const { sys, paths } = deps;
  const isMounted = (id: string): boolean => {
    try {
      return sys.stat(AT_FDCWD, paths.merged(id), AT_SYMLINK_NOFOLLOW).mountRoot;
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
      throw error;
    }
  };

  return {
    isMounted,
    upper: (id) => paths.upper(id),
    merged: (id) => paths.merged(id),
    create: (request) => {
      try {
        create(deps, request);
      } catch (error) {
        throw ioError(error, `cannot make the root file system of container "${request.id}"`);
      }
    },
    mount: (request) => {
      const target = paths.merged(request.id);
      if (!isMounted(request.id)) mount(deps, request, target);
      return target;
    },
    unmount: (id) => unmount(sys, paths.merged(id)),
    remove: (id) => {
      unmount(sys, paths.merged(id));
      failpoint("storage.rootfs.unmounted");
      discard(deps, paths.container(id));
    },
  };
}

function create(deps: RootfsDeps, { id, chainId }: RootfsRequest): void {
  const { paths, sys } = deps;
  const upper = paths.upper(id);
  if (statSync(upper, { throwIfNoEntry: false }) !== undefined) return;
  const model = chainId === undefined ? paths.empty : layerDir(deps, chainId);
  const root = sys.stat(AT_FDCWD, model, AT_SYMLINK_NOFOLLOW);
  const fresh = `${upper}.new`;
  for (const path of [paths.container(id), paths.work(id), paths.merged(id), fresh]) makeDir(path);
  failpoint("storage.rootfs.dirs");
  if (root.uid !== 0 || root.gid !== 0) chownSync(fresh, root.uid, root.gid);
  chmodSync(fresh, root.mode & 0o7777);
  copyXattrs(sys, model, fresh);
  // Last and at once: an upper that is there is complete, and what the container did to its root stays.
  renameSync(fresh, upper);
}

function layerDir({ db, paths, additional }: RootfsDeps, chainId: Digest): string {
  const isOwn = db.get("SELECT 1 FROM layers WHERE chain_id = ?", chainId) !== undefined;
  const store = isOwn ? undefined : storeOfLayer(additional, chainId);
  return (store?.paths ?? paths).diff(chainId);
}

function makeDir(path: string): void {
  try {
    mkdirSync(path, 0o700);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
}

function mount(deps: RootfsDeps, request: RootfsRequest, target: string): void {
  const { paths, sys } = deps;
  const { id, chainId } = request;
  const stack = chainId === undefined ? [] : visibleDirs(deps, chainId);
  if (stack.length > MAX_LAYERS) throw tooManyLayers(id, stack.length);
  const options = [...OPTIONS];
  // With userxattr the kernel refuses these two to be set at all; its defaults are what we want there.
  if (deps.userXattr === true) options.splice(1, 2, "userxattr");
  if (request.volatile === true) {
    // Left by an earlier volatile mount, and a reason for the kernel to refuse this one.
    deleteTree(sys, `${paths.work(id)}/work/incompat`);
    options.push("volatile");
  }
  sys.mountOverlay({
    lower: stack.length === 0 ? [paths.empty] : stack,
    upper: paths.upper(id),
    work: paths.work(id),
    target,
    options,
  });
  failpoint("storage.rootfs.mounted");
}

function tooManyLayers(id: string, count: number): Error {
  return fail(
    "invalid-argument",
    `the image of container "${id}" has ${count} layers, overlayfs takes ${MAX_LAYERS}`,
    {
      reason: "too-many-layers",
      hint: "squash the image",
    },
  );
}

/** All mounts on the target, should there be several; lazy only if somebody is still in there. */
function unmount(sys: Sys, target: string): void {
  for (let flags = UMOUNT_NOFOLLOW; ;) {
    try {
      sys.umount(target, flags);
    } catch (error) {
      // EINVAL: nothing is mounted there.
      if (hasCode(error, "EINVAL", "ENOENT", "ENOTDIR")) return;
      if (!hasCode(error, "EBUSY") || (flags & MNT_DETACH) !== 0) throw error;
      flags |= MNT_DETACH;
    }
  }
}
