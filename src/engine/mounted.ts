/** A look into a container's files, whether it runs or not. */
import { fail } from "../core/error.ts";
import { chainIds } from "../image/chain.ts";
import type { ContainerRecord } from "../container/container.ts";
import type { Engine } from "./engine.ts";

export interface Mounted extends Disposable {
  /** Root of the container: of its mount namespace while it runs (volumes and tmpfs included), else of its mounted layers. */
  root: string;
}

/** The caller disposes; a file system mounted only for this is unmounted then. The container's lock is the caller's when it does not run. */
export function mountForReading(engine: Engine, record: ContainerRecord): Mounted {
  const { status, pid, pidStart } = record.state;
  const isUp = status === "running" || status === "paused";
  if (isUp && pid !== undefined && engine.sys.startTime(pid) === pidStart) {
    return { root: `/proc/${pid}/root`, [Symbol.dispose]: () => {} };
  }
  return mountLayers(engine, record);
}

/** The layers alone, without volumes: what export and commit see. */
export function mountLayers(engine: Engine, record: ContainerRecord): Mounted {
  const wasMounted = engine.rootfs.isMounted(record.id);
  const top = topLayer(engine, record);
  const request = top === undefined ? { id: record.id } : { id: record.id, chainId: top };
  engine.rootfs.create(request);
  const root = engine.rootfs.mount(request);
  return {
    root,
    [Symbol.dispose]: () => {
      if (!wasMounted) engine.rootfs.unmount(record.id);
    },
  };
}

/** Chain id of the image a container stands on. Errors: not-found when the image is gone. */
export function topLayer(engine: Engine, record: ContainerRecord): string | undefined {
  const { imageId } = record.spec;
  if (imageId === undefined) return undefined;
  const image = engine.images.find(imageId);
  if (image === undefined)
    throw fail("not-found", `the image of container ${record.name}, ${imageId}, is gone`);
  return chainIds(image.config.rootfs.diff_ids).at(-1);
}
