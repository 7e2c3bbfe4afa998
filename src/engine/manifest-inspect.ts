/** manifest inspect: the text of a list here, or of what is elsewhere. */
import type { Ctx } from "../core/ctx.ts";
import { isKind } from "../core/error.ts";
import type { FetchedManifest, RegistryOptions } from "../registry/registry.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import type { Engine } from "./engine.ts";
import { notAList } from "./manifest-edit.ts";
import { registryOptions } from "./pull.ts";
import { openReader } from "./transfer/open.ts";
import { isReference } from "./manifest-source.ts";
import { parsePlace } from "./transfer/place.ts";

export interface InspectManifestRequest {
  /** A list of the store, else a reference or "transport:place". */
  name: string;
  registry: RegistryOptions;
}

/** The document, byte for byte. Errors: not-found, invalid-argument (an image of the store), those of the place. */
export async function inspectManifest(
  ctx: Ctx,
  engine: Engine,
  { name, registry }: InspectManifestRequest,
): Promise<FetchedManifest> {
  const local = engine.manifests.find(name.replace(/^(?:containers-storage|berth):/, ""));
  if (local !== undefined) {
    const bytes = engine.content.read(local.digest, MAX_MANIFEST_BYTES);
    return { bytes, descriptor: { mediaType: local.mediaType, digest: local.digest, size: bytes.length } };
  }
  if (engine.images.find(name) !== undefined) throw notAList(name);
  return isReference(name)
    ? await fromRegistries(ctx, engine, { name, registry })
    : await fromPlace(ctx, engine, { name, registry });
}

async function fromPlace(
  ctx: Ctx,
  engine: Engine,
  { name, registry }: InspectManifestRequest,
): Promise<FetchedManifest> {
  using lease = engine.leases.take("pull");
  const place = parsePlace(name);
  await using reader = await openReader(ctx, engine, {
    place,
    registry,
    compress: false,
    lease,
    note: (change) => ctx.log.debug(change),
  });
  return await reader.manifest(ctx);
}

/** A short name may be at several registries: the first that has it. */
async function fromRegistries(
  ctx: Ctx,
  engine: Engine,
  { name, registry }: InspectManifestRequest,
): Promise<FetchedManifest> {
  const options = registryOptions(engine, registry);
  const { resolveShortName } = await import("../registry/short-names.ts");
  const { openRegistry } = await import("../registry/client.ts");
  const { names } = await resolveShortName(ctx, name, options);
  let last: unknown;
  for (const reference of names) {
    try {
      return await openRegistry(reference, options).manifest(
        ctx,
        reference.digest ?? reference.tag ?? "latest",
      );
    } catch (error) {
      if (ctx.signal.aborted) throw error;
      if (last === undefined || isKind(last, "not-found")) last = error;
    }
  }
  throw last;
}
