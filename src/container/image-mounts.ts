/** `--mount type=image`: another image's files in a container. An overlay in the container's run directory, bound from there. */
import { mkdirSync } from "node:fs";
import { MNT_DETACH, UMOUNT_NOFOLLOW } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { namesIn } from "../storage/files.ts";
import type { ContainerRecord, MountRequest } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";

const PREFIX = "image-";

/** The mounts with the id of the image where a name was given. Errors: not-found. */
export function withImageIds(deps: ContainerDeps, mounts: readonly MountRequest[]): MountRequest[] {
  return mounts.map((mount) =>
    mount.type === "image" ? { ...mount, source: deps.images.resolve(mount.source).id } : mount,
  );
}

/**
 * Mounts the image and returns where; idempotent. What is written, where that is allowed, lies with the container and
 * stays until it is removed. Errors: not-found.
 */
export function mountImageFor(
  deps: ContainerDeps,
  record: ContainerRecord,
  { mount, index }: { mount: MountRequest; index: number },
): string {
  const { paths, sys } = deps;
  const { chainId } = deps.images.resolve(mount.source);
  const dir = `${paths.runContainer(record.id)}/${PREFIX}${index}`;
  const target = `${dir}/merged`;
  const empty = `${dir}/empty`;
  for (const path of [target, empty]) mkdirSync(path, { recursive: true, mode: 0o700 });
  unmount(deps, target);
  const lower = [...(chainId === undefined ? [paths.empty] : deps.layers.lowers(chainId)), empty];
  const options = ["index=off", "redirect_dir=nofollow", "metacopy=off"];
  if (mount.readOnly) {
    sys.mountOverlay({ lower, target, options, readOnly: true });
    return target;
  }
  const own = `${paths.container(record.id)}/images/${index}`;
  const [upper, work] = [`${own}/upper`, `${own}/work`] as const;
  for (const path of [upper, work]) mkdirSync(path, { recursive: true, mode: 0o755 });
  sys.mountOverlay({ lower, upper, work, target, options });
  return target;
}

/** All of a container; idempotent. */
export function unmountImages(deps: ContainerDeps, id: string): void {
  const dir = deps.paths.runContainer(id);
  for (const name of namesIn(dir)) if (name.startsWith(PREFIX)) unmount(deps, `${dir}/${name}/merged`);
}

function unmount({ sys }: ContainerDeps, target: string): void {
  try {
    sys.umount(target, UMOUNT_NOFOLLOW | MNT_DETACH);
  } catch (error) {
    // EINVAL: nothing is mounted there.
    if (!hasCode(error, "EINVAL", "ENOENT", "ENOTDIR")) throw error;
  }
}
