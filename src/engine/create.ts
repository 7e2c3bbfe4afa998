/** create: the image by policy, then the container's record. */
import { writeFileSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, ioText, isKind } from "../core/error.ts";
import { createContainer } from "../container/create.ts";
import type { ContainerRecord, ContainerSpec } from "../container/container.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { orAfterOrphans } from "./orphans.ts";

export interface CreateRequest {
  spec: ContainerSpec;
  name?: string;
  pull: "always" | "missing" | "newer" | "never";
  platform?: string;
  /** Removes a container of the same name first, running or not. */
  replace?: boolean;
  registry?: RegistryOptions;
  /** File to write the id to; must not exist. */
  cidFile?: string;
  forRun?: boolean;
}

/** Errors: not-found (image), already-exists (name, cidfile), invalid-argument; nothing is left then. */
export async function create(ctx: Ctx, engine: Engine, request: CreateRequest): Promise<ContainerRecord> {
  if (request.cidFile !== undefined) claimFile(request.cidFile);
  const spec: ContainerSpec = {
    ...request.spec,
    runtime: request.spec.runtime === "" ? (engine.options.runtime ?? "") : request.spec.runtime,
  };
  // Found before anything is made: an unknown runtime must not leave a container behind.
  await engine.runtime(ctx, spec.runtime);
  const image = await resolveImage(ctx, engine, request);
  if (request.replace === true && request.name !== undefined) await replace(ctx, engine, request.name);
  const make = (): ContainerRecord =>
    createContainer(ctx, engine, {
      spec,
      image,
      ...(request.name === undefined ? {} : { name: request.name }),
      forRun: request.forRun ?? false,
    });
  const record = await orAfterOrphans(ctx, engine, make);
  if (request.cidFile !== undefined) writeFileSync(request.cidFile, record.id);
  return record;
}

async function resolveImage(ctx: Ctx, engine: Engine, request: CreateRequest): Promise<ImageRecord> {
  const name = request.spec.image;
  const found = request.pull === "always" || request.pull === "newer" ? undefined : engine.images.find(name);
  if (found !== undefined && request.platform === undefined) return found;
  if (request.pull === "never" && engine.manifests.find(name) === undefined) {
    throw fail("not-found", `${name}: image not known`, {
      reason: "image-unknown",
      hint: `pull it: berth pull ${name}`,
    });
  }
  const { pull } = await import("./pull.ts");
  try {
    return await pull(ctx, engine, {
      reference: name,
      policy: request.pull,
      ...(request.platform === undefined ? {} : { platform: request.platform }),
      registry: request.registry ?? {},
    });
  } catch (error) {
    const isHere = engine.images.find(name) !== undefined || engine.manifests.find(name) !== undefined;
    throw isHere ? error : missing(name, error);
  }
}

/** Whoever mistyped the name of an image of their own must not wonder about registries. */
function missing(name: string, error: unknown): unknown {
  if (
    !(error instanceof EngineError) ||
    !["not-found", "unavailable", "unauthenticated"].includes(error.kind)
  ) {
    return error;
  }
  const { kind, reason, message, hint, data } = error;
  return fail(kind, `image "${name}" is not in the store and cannot be pulled: ${message}`, {
    reason,
    data,
    cause: error,
    hint: hint ?? 'see "berth images" for those that are here',
  });
}

async function replace(ctx: Ctx, engine: Engine, name: string): Promise<void> {
  const { remove } = await import("./remove.ts");
  try {
    await remove(ctx, engine, { container: name, force: true, volumes: true });
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
  }
}

function claimFile(path: string): void {
  try {
    writeFileSync(path, "", { flag: "wx" });
  } catch (error) {
    throw fail("already-exists", `cannot create the container ID file "${path}": ${ioText(error)}`, {
      hint: "remove it, or name another one",
      cause: error,
    });
  }
}
