/** manifest push: a list, with the images that it lists or alone, to a registry or any other place. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import { formatReference, repositoryName } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import { collectGarbage } from "../storage/gc.ts";
import type { ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { resolveList } from "./manifest-list.ts";
import { ListReader } from "./manifest-reader.ts";
import { remotePlace } from "./manifest-source.ts";
import { askedName } from "./push-source.ts";
import { removeList } from "./manifest-remove.ts";
import { Copying } from "./transfer/copying.ts";
import { openWriter } from "./transfer/open.ts";
import type { LayerTarget } from "./transfer/recompress.ts";
import type { Place } from "./transfer/transfer.ts";

export interface PushListRequest {
  list: string;
  /** "transport:place" or a reference; absent: the list's own name, at its registry. */
  destination?: string;
  /** False: the list alone; what it lists must be there. */
  all: boolean;
  /** Media types of the list and of what goes with it; as they are when absent. */
  format?: "oci" | "docker";
  /** Every layer becomes this. */
  compression?: LayerTarget;
  /** The list goes when it has been pushed. */
  remove: boolean;
  registry: RegistryOptions;
}

/** The digest it has there. Errors: not-found, invalid-argument, those of the places; nothing becomes visible then. */
export async function pushList(
  ctx: Ctx,
  engine: Engine,
  request: PushListRequest,
): Promise<{ digest: Digest }> {
  const list = resolveList(engine, request.list);
  const place = destinationPlace(list, request);
  const digest = await send(ctx, engine, { ...request, record: list, place });
  remember(engine, { list, place, digest });
  if (request.remove) await removeList(ctx, engine, { list: request.list });
  return { digest };
}

function destinationPlace(list: ManifestRecord, { list: asked, destination }: PushListRequest): Place {
  if (destination !== undefined) return remotePlace(destination);
  const name = askedName(list, asked) ?? (list.names.length === 1 ? list.names[0] : undefined);
  if (name !== undefined) return remotePlace(name);
  throw fail(
    "invalid-argument",
    `manifest list "${asked}" has ${list.names.length === 0 ? "no name" : "several names"}`,
    {
      reason: "no-destination",
      hint: `say where to push it: berth manifest push ${asked} REGISTRY/REPOSITORY:TAG`,
    },
  );
}

async function send(
  ctx: Ctx,
  engine: Engine,
  {
    record,
    place,
    all,
    format,
    compression,
    registry,
  }: PushListRequest & { record: ManifestRecord; place: Place },
): Promise<Digest> {
  using lease = engine.leases.take("pull");
  try {
    const registryName = place.reference?.registry;
    await using reader = new ListReader(engine, {
      list: record,
      registry,
      lease,
      ...(registryName === undefined ? {} : { registryName }),
    });
    await using writer = await openWriter(ctx, engine, { place, registry, names: [] });
    const rules = {
      multiArch: all ? ("all" as const) : ("index-only" as const),
      preserveDigests: false,
      ...(format === undefined ? {} : { format }),
      ...(compression === undefined ? {} : { compression }),
    };
    const copying = new Copying(engine, { reader, writer, lease, rules });
    const done = await copying.top(ctx, await reader.manifest(ctx));
    await writer.commit(ctx);
    return done.digest;
  } finally {
    lease.release();
    collectGarbage(engine.store);
  }
}

function remember(
  engine: Engine,
  { list, place, digest }: { list: ManifestRecord; place: Place; digest: Digest },
): void {
  const { reference } = place;
  if (place.transport !== "docker" || reference === undefined) return;
  engine.db.tx(() => {
    // Another form of it is there under another digest, which is no name for this one.
    if (digest === list.digest && engine.manifests.get(digest) !== undefined)
      engine.manifests.addRepoDigest(digest, `${repositoryName(reference)}@${digest}`);
    engine.events.add({
      type: "image",
      action: "push",
      id: list.digest,
      name: formatReference(reference),
      attributes: {},
    });
  });
}
