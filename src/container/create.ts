/**
 * A new container: its record, with everything the request and the image decide. Host resources
 * come only with its start, so that a killed `create` leaves a whole container or none.
 */
import type { Ctx } from "../core/ctx.ts";
import { newId } from "../core/id.ts";
import { now } from "../core/time.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { ContainerRecord, ContainerSpec } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { withImageIds } from "./image-mounts.ts";
import { checkName, randomName } from "./names.ts";
import { processArgs } from "./process.ts";
import { publishedPorts } from "./published-ports.ts";
import { validateSpec } from "./spec-validate.ts";

export interface CreateContainer {
  spec: ContainerSpec;
  /** Absent for `--rootfs`-less containers on an empty root. */
  image?: ImageRecord;
  name?: string;
  /** The record is the first half of a `run`: until it is up, its creator's death takes it away. */
  forRun: boolean;
}

/** Errors: invalid-argument (combination of flags, command missing), already-exists (name). Nothing is left on an error. */
export function createContainer(ctx: Ctx, deps: ContainerDeps, request: CreateContainer): ContainerRecord {
  const { image } = request;
  const given = request.spec;
  for (const warning of validateSpec(given)) ctx.log.warn(warning);
  const spec: ContainerSpec = {
    ...given,
    argv: processArgs(given, image?.config),
    mounts: withImageIds(deps, given.mounts),
    // A later run of the same name may be another image: what this one stands on is fixed here.
    ...(image === undefined
      ? {}
      : { imageId: image.id, image: nameFor(given.image, image), imageAsked: given.image }),
    labels: { ...image?.config.config.Labels, ...given.labels },
    ports: publishedPorts(given, image?.config),
  };
  const id = newId();
  const record: ContainerRecord = {
    id,
    name: request.name === undefined ? "" : checkName(request.name),
    created: now(),
    spec,
    state: { status: "created", restarts: 0 },
  };
  deps.db.tx(() => {
    // Somebody may have removed it since it was resolved; from here on this container holds it.
    if (image !== undefined) deps.images.resolve(image.id);
    withImageIds(deps, spec.mounts);
    if (record.name === "") record.name = randomName((name) => deps.records.isNameFree(name));
    deps.records.insert(record);
    if (request.forRun) deps.operations.begin(id, "run");
    deps.events.add({
      type: "container",
      action: "create",
      id,
      name: record.name,
      attributes: { image: spec.image, ...spec.labels },
    });
  });
  ctx.log.trace(() => `created ${id.slice(0, 12)} ${record.name}`);
  return record;
}

/** What ps shows: the image's full name, also when the request gave only a part of it, or its id. */
function nameFor(asked: string, image: ImageRecord): string {
  const isMeant = (name: string): boolean =>
    [asked, `${asked}:latest`].some((text) => name === text || name.endsWith(`/${text}`));
  const byId = image.id.replace("sha256:", "").startsWith(asked.replace("sha256:", ""));
  return image.names.find(isMeant) ?? (byId ? (image.names[0] ?? asked) : asked);
}
