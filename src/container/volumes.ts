/**
 * The host directories behind a container's mounts: binds as given, named volumes in the store, anonymous ones (the
 * image's VOLUMEs among them) beside the container, with which they go. A volume that is empty at
 * its first use gets what the image has at that path, with owner and mode (docker's copy-up).
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { ImageConfig } from "../image/image.ts";
import { discard } from "../storage/files.ts";
import { copyXattrs } from "../storage/inherit.ts";
import { hasCode } from "../sys/errno.ts";
import type { Rooted } from "../sys/rooted.ts";
import type { ContainerRecord, MountRequest } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { mountImageFor } from "./image-mounts.ts";
import { imageVolumes } from "./mounts.ts";

export interface VolumeRequest {
  record: ContainerRecord;
  image: ImageConfig | undefined;
  /** The mounted root file system. */
  root: Rooted;
}

/** The mounts with `source` a host path. Errors: not-found (bind source), invalid-argument (volume name). */
export async function resolveVolumes(
  ctx: Ctx,
  deps: ContainerDeps,
  request: VolumeRequest,
): Promise<MountRequest[]> {
  const { record, image } = request;
  const mounts: MountRequest[] = [];
  const asked = [...record.spec.mounts, ...mountsOfImage(image, record)];
  for (const [index, mount] of asked.entries()) {
    if (mount.type === "bind") mounts.push(checkBind(mount));
    else if (mount.type === "image")
      mounts.push({ ...mount, source: mountImageFor(deps, record, { mount, index }) });
    else if (mount.type === "volume") mounts.push(await resolveVolume(ctx, deps, request, { mount, index }));
    else mounts.push(mount);
  }
  return mounts;
}

/** For the image's VOLUMEs. */
function mountsOfImage(image: ImageConfig | undefined, { spec }: ContainerRecord): MountRequest[] {
  const kind = spec.imageVolumes ?? "anonymous";
  if (kind === "ignore") return [];
  const isTmpfs = kind === "tmpfs";
  return imageVolumes(image, spec).map((target) => ({
    type: isTmpfs ? "tmpfs" : "volume",
    source: "",
    target,
    readOnly: false,
    // As in podman: what the image has there is in it, and programs may run there.
    options: isTmpfs ? ["exec", "tmpcopyup"] : [],
  }));
}

function checkBind(mount: MountRequest): MountRequest {
  if (existsSync(mount.source)) return mount;
  if (mount.options.includes("create-source")) {
    mkdirSync(mount.source, { recursive: true });
    return { ...mount, options: mount.options.filter((o) => o !== "create-source") };
  }
  throw fail("not-found", `the source of the mount, "${mount.source}", does not exist on the host`, {
    reason: "bind-source-missing",
    hint: `make it first: mkdir -p ${mount.source}`,
  });
}

interface OneVolume {
  mount: MountRequest;
  index: number;
}

async function resolveVolume(
  ctx: Ctx,
  deps: ContainerDeps,
  request: VolumeRequest,
  one: OneVolume,
): Promise<MountRequest> {
  const { mount, index } = one;
  const source =
    mount.source === ""
      ? `${deps.paths.container(request.record.id)}/volumes/${index}`
      : namedVolume(deps, mount.source);
  const options = mount.options.filter((o) => o !== "copy" && o !== "nocopy");
  const copies = !mount.options.includes("nocopy");
  const what = { request, target: mount.target };
  if (!existsSync(source)) await makeVolume(ctx, deps, { ...what, source }, copies);
  // docker fills a named volume whenever it is empty, and what a container has emptied of its own stays empty.
  else if (copies && mount.source !== "" && readdirSync(source).length === 0) {
    await populate(ctx, deps, { ...what, source });
  }
  return { ...mount, source, options };
}

/** Filled beside its place and renamed, so that one that is there is complete. Another container may be making the same one. */
async function makeVolume(ctx: Ctx, deps: ContainerDeps, what: Population, copies: boolean): Promise<void> {
  const fresh = `${what.source}.${what.request.record.id.slice(0, 12)}`;
  discard(deps, fresh);
  mkdirSync(fresh, { recursive: true });
  chmodSync(fresh, 0o755);
  try {
    if (copies) await populate(ctx, deps, { ...what, source: fresh });
    renameSync(fresh, what.source);
  } catch (error) {
    discard(deps, fresh);
    if (!hasCode(error, "ENOTEMPTY", "EEXIST")) throw error;
  }
}

function namedVolume(deps: ContainerDeps, name: string): string {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(name)) {
    throw fail("invalid-argument", `invalid volume name "${name.slice(0, 80)}"`, {
      hint: "a name has letters, digits, '_', '.' and '-'; a host path begins with '/'",
    });
  }
  return `${deps.paths.volume(name)}/_data`;
}

interface Population {
  request: VolumeRequest;
  source: string;
  target: string;
}

async function populate(
  ctx: Ctx,
  deps: ContainerDeps,
  { request, source, target }: Population,
): Promise<void> {
  const { root } = request;
  let inside: string;
  try {
    inside = Buffer.from(root.realpath(target)).toString();
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return;
    throw error;
  }
  const from = root.stat(inside);
  const lower = `${deps.paths.merged(request.record.id)}${inside}`;
  chownSync(source, from.uid, from.gid);
  chmodSync(source, from.mode & 0o7777);
  copyXattrs(deps.sys, lower, source);
  if (!statSync(lower).isDirectory() || readdirSync(lower).length === 0) return;
  const [{ tarTree }, { spawnUnpack }] = await Promise.all([
    import("../storage/changes.ts"),
    import("../storage/unpack.ts"),
  ]);
  const tar = tarTree(deps.sys, { root: deps.paths.merged(request.record.id), path: inside });
  await spawnUnpack(ctx, {
    command: deps.unpackCommand,
    target: source,
    overlayXattr: "trusted",
    source: tar,
    mode: "plain",
  });
}
