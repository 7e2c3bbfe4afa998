/** artifact add: files of the host become an artifact of the store, or part of one. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { artifactFiles, withFiles } from "../image/artifact.ts";
import { digestOf } from "../image/digest.ts";
import type { Digest, Manifest } from "../image/image.ts";
import { isIndex, parseManifest } from "../image/manifest.ts";
import { OCI_MANIFEST } from "../image/media-types.ts";
import type { ManifestRecord } from "../storage/storage.ts";
import { compose, type ComposeRequest, storeEmpty } from "./artifact-compose.ts";
import { packFiles, type PackTarget } from "./artifact-files.ts";
import { artifactName, findArtifact } from "./artifact-list.ts";
import type { Engine } from "./engine.ts";

export interface AddArtifactRequest extends ComposeRequest {
  name: string;
  /** To an artifact that is there: it keeps its type, config and annotations. */
  append: boolean;
  /** An artifact of that name loses it. */
  replace: boolean;
}

/** Errors: already-exists, not-found (append), invalid-argument, those of packFiles. Nothing changes then. */
export async function addArtifact(
  ctx: Ctx,
  engine: Engine,
  request: AddArtifactRequest,
): Promise<{ digest: Digest }> {
  const name = artifactName(request.name);
  const before = findArtifact(engine, name);
  checkName(engine, name, { before, ...request });
  using lease = engine.leases.take("load");
  const target = { lease, store: true };
  const { bytes, digest } =
    before !== undefined && request.append
      ? await appended(ctx, engine, { ...request, before }, target)
      : await composed(ctx, engine, request, target);
  engine.manifests.put({ bytes, digest, mediaType: OCI_MANIFEST, names: [name] });
  if (before !== undefined && before.digest !== digest) dropNameless(engine, before.digest);
  engine.events.add({ type: "artifact", action: "add", id: digest, name, attributes: {} });
  return { digest };
}

interface NameUse {
  before: ManifestRecord | undefined;
  append: boolean;
  replace: boolean;
}

function checkName(engine: Engine, name: string, { before, append, replace }: NameUse): void {
  if (append && before === undefined) {
    throw fail("not-found", `${name}: artifact not known`, { reason: "artifact-not-known" });
  }
  if (before !== undefined && !append && !replace) {
    throw fail("already-exists", `artifact "${name}" exists already`, {
      reason: "artifact-exists",
      hint: "add to it with --append, or use --replace",
    });
  }
  const taken = before ?? engine.images.find(name) ?? engine.manifests.find(name);
  if (taken !== undefined && taken !== before) {
    throw fail("already-exists", `"${name}" is the name of an image`, { reason: "name-taken" });
  }
}

async function composed(
  ctx: Ctx,
  engine: Engine,
  request: AddArtifactRequest,
  target: PackTarget,
): Promise<{ bytes: Uint8Array; digest: Digest }> {
  const made = await compose(ctx, engine, request, target);
  await storeEmpty(ctx, engine, made, target);
  return made;
}

async function appended(
  ctx: Ctx,
  engine: Engine,
  request: AddArtifactRequest & { before: ManifestRecord },
  target: PackTarget,
): Promise<{ bytes: Uint8Array; digest: Digest }> {
  const files = await packFiles(ctx, engine, request.pack, target);
  const old = engine.content.read(request.before.digest);
  // Its blobs must not go with it while the new one is not there.
  const { config, layers } = request.before.document as Manifest;
  for (const { digest } of [config, ...layers]) target.lease.protect("blob", digest);
  const bytes = withFiles(
    old,
    files.map((file) => file.descriptor),
  );
  const document = parseManifest(bytes, OCI_MANIFEST);
  if (!isIndex(document)) artifactFiles(document);
  return { bytes, digest: digestOf(bytes) };
}

/** The one that had the name before goes, unless it has another, or is known at a registry. */
function dropNameless(engine: Engine, digest: Digest): void {
  const old = engine.manifests.get(digest);
  if (old !== undefined && old.names.length === 0) engine.manifests.remove(digest);
}
