/** commit: a new image from what a container has become. */
import type { TarHeader } from "../archive/tar-writer.ts";
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import { now } from "../core/time.ts";
import type { ContainerRecord } from "../container/container.ts";
import { applyChanges } from "../image/changes.ts";
import type { ContainerConfig, ImageConfig } from "../image/image.ts";
import { hostPlatform } from "../image/platform.ts";
import type { ImageRecord } from "../storage/storage.ts";
import { putBuiltImage } from "./built-image.ts";
import type { Engine } from "./engine.ts";
import { localName } from "./images.ts";
import { resolveContainer } from "./list.ts";
import { lockContainer } from "./lock.ts";
import { topLayer } from "./mounted.ts";
import { pause as pauseContainer, unpause } from "./stop.ts";

export interface CommitRequest {
  container: string;
  name?: string;
  message?: string;
  author?: string;
  /** Dockerfile instructions for the config: "CMD [\"x\"]". */
  changes: string[];
  /** Pause a running container meanwhile, so that the files are of one moment. */
  pause: boolean;
  format: "oci" | "docker";
}

/** Errors: not-found, invalid-argument (name, changes), resource-exhausted; nothing is left then. */
export async function commit(ctx: Ctx, engine: Engine, request: CommitRequest): Promise<ImageRecord> {
  const name = request.name === undefined ? undefined : localName(request.name);
  const record = resolveContainer(engine, request.container);
  const base = baseConfig(engine, record);
  const config = applyChanges(configOf(record, base.config), request.changes);
  using _lock = await lockContainer(ctx, engine, record.id);
  await using undo = new AsyncDisposableStack();
  if (request.pause && record.state.status === "running") {
    // Killed from here on, the next command lets it go on.
    engine.operations.begin(record.id, "pause");
    undo.defer(() => engine.operations.end(record.id));
    await pauseContainer(ctx, engine, { container: record.id });
    undo.defer(() => goOn(ctx, engine, record.id));
  }
  const parent = topLayer(engine, record);
  using lease = engine.leases.take("commit");
  engine.rootfs.create(parent === undefined ? { id: record.id } : { id: record.id, chainId: parent });
  const layer = await engine.layers.fromUpper(ctx, {
    ...(parent === undefined ? {} : { parent }),
    upper: engine.rootfs.upper(record.id),
    lease,
    filter: (header) => !isMountPoint(header),
  });
  const created = now();
  const image: ImageConfig = {
    ...base,
    created,
    ...(request.author === undefined ? {} : { author: request.author }),
    config,
    rootfs: { type: "layers", diff_ids: [...base.rootfs.diff_ids, layer.diffId] },
    history: [
      ...base.history,
      {
        created,
        created_by: (record.spec.argv ?? []).join(" "),
        ...(request.message === undefined ? {} : { comment: request.message }),
      },
    ],
  };
  const stored = await putBuiltImage(ctx, engine, {
    config: image,
    format: request.format,
    ...(record.spec.imageId === undefined ? {} : { base: record.spec.imageId }),
    names: name === undefined ? [] : [name],
  });
  engine.events.add({
    type: "container",
    action: "commit",
    id: record.id,
    name: record.name,
    attributes: { image: stored.id },
  });
  return stored;
}

const MOUNTED_FILES = new Set(["etc/hostname", "etc/hosts", "etc/resolv.conf"]);

/** An empty file that the runtime made to mount one of ours over it. */
function isMountPoint({ type, size, name }: TarHeader): boolean {
  return type === "file" && size === 0 && MOUNTED_FILES.has(Buffer.from(name).toString());
}

/** One that was killed while it stood still has nothing to go on with. */
async function goOn(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  try {
    await unpause(ctx, engine, { container: id });
  } catch (error) {
    if (!isKind(error, "conflict") && !isKind(error, "not-found")) throw error;
  }
}

function baseConfig(engine: Engine, record: ContainerRecord): ImageConfig {
  if (record.spec.imageId !== undefined) return engine.images.resolve(record.spec.imageId).config;
  const { os, architecture } = hostPlatform();
  return { os, architecture, config: {}, rootfs: { type: "layers", diff_ids: [] }, history: [] };
}

/** The image's configuration with what this container was given in its place. */
function configOf(record: ContainerRecord, image: ContainerConfig): ContainerConfig {
  const { spec } = record;
  const config: ContainerConfig = { ...image };
  const env = mergeEnv(
    image.Env ?? [],
    spec.env.filter((entry) => entry.includes("=")),
  );
  if (env.length > 0) config.Env = env;
  if (spec.entrypoint !== undefined) config.Entrypoint = spec.entrypoint;
  if (spec.command.length > 0) config.Cmd = spec.command;
  if (spec.user !== undefined) config.User = spec.user;
  if (spec.workdir !== undefined) config.WorkingDir = spec.workdir;
  if (spec.stopSignal !== undefined) config.StopSignal = spec.stopSignal;
  if (Object.keys(spec.labels).length > 0) config.Labels = spec.labels;
  if (spec.expose.length > 0) config.ExposedPorts = { ...image.ExposedPorts, ...exposed(spec.expose) };
  return config;
}

function exposed(ports: string[]): Record<string, object> {
  return Object.fromEntries(ports.map((port) => [port.includes("/") ? port : `${port}/tcp`, {}]));
}

function mergeEnv(base: string[], own: string[]): string[] {
  const env = new Map(base.map((entry) => [entry.split("=", 1)[0], entry]));
  for (const entry of own) env.set(entry.split("=", 1)[0], entry);
  return [...env.values()];
}
