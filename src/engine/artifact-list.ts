/** artifact ls, inspect, rm: the artifacts of the store, and how people name them. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { artifactTypeOf, CREATED, isArtifact } from "../image/artifact.ts";
import type { Digest, Manifest } from "../image/image.ts";
import { isIndex } from "../image/manifest.ts";
import { formatReference, isFullyQualified, parseReference, withDefaultTag } from "../image/reference.ts";
import type { ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

export interface ArtifactSummary {
  record: ManifestRecord;
  /** "quay.io/x/y:1"; undefined for one that is only attached to something. */
  name?: string;
  type: string;
  manifest: Manifest;
  /** RFC 3339: when it was made, or else came here. */
  created: string;
  /** Bytes of its files and config. */
  size: number;
}

/** One entry for each name of each artifact, newest first. */
export function listArtifacts(_ctx: Ctx, engine: Engine): ArtifactSummary[] {
  return engine.manifests
    .list("artifact")
    .filter((record) => isArtifact(manifestOf(record)))
    .flatMap((record) => {
      const summary = summarize(record);
      return record.names.length === 0 ? [summary] : record.names.map((name) => ({ ...summary, name }));
    });
}

function summarize(record: ManifestRecord): ArtifactSummary {
  const manifest = manifestOf(record);
  const made = manifest.annotations?.[CREATED] ?? "";
  return {
    record,
    manifest,
    type: artifactTypeOf(manifest),
    created: Number.isNaN(Date.parse(made)) ? record.stored : made,
    size: [manifest.config, ...manifest.layers].reduce((sum, { size }) => sum + size, 0),
  };
}

/** Errors: not-found, also for an image or an index of that name. */
export function resolveArtifact(engine: Engine, name: string): ManifestRecord {
  const found = findArtifact(engine, name);
  if (found !== undefined) return found;
  const other = engine.manifests.find(name) ?? engine.images.find(name);
  throw fail("not-found", `${name}: ${other === undefined ? "artifact not known" : "not an artifact"}`, {
    reason: "artifact-not-known",
    data: { artifact: name },
    ...(other === undefined ? {} : { hint: "there is an image of that name" }),
  });
}

export function findArtifact(engine: Engine, name: string): ManifestRecord | undefined {
  const found = engine.manifests.find(name);
  return found !== undefined && found.kind === "artifact" && isArtifact(manifestOf(found))
    ? found
    : undefined;
}

export function manifestOf({ document, digest }: ManifestRecord): Manifest {
  if (!isIndex(document)) return document;
  throw fail("invalid-argument", `"${digest}" is an index, not an artifact`, {
    reason: "index-for-manifest",
  });
}

/** What a name means when it is given to an artifact here: a short one is local. Errors: invalid-argument. */
export function artifactName(text: string): string {
  const reference = parseReference(isFullyQualified(text) ? text : `localhost/${text}`);
  if (reference.digest !== undefined) {
    throw fail("invalid-argument", `a name cannot have a digest: "${text}"`, { reason: "name-with-digest" });
  }
  return formatReference(withDefaultTag(reference));
}

/** What is attached to a manifest here. */
export function attachedTo(engine: Engine, subject: Digest): ArtifactSummary[] {
  return engine.manifests
    .list("artifact")
    .filter((record) => record.subject === subject)
    .map(summarize);
}

/** A name, and the artifact with its last one; by digest, the artifact. Errors: not-found. */
export function removeArtifact(
  _ctx: Ctx,
  engine: Engine,
  request: { artifact: string; ignore?: boolean },
): { digest: Digest } | undefined {
  const record = findArtifact(engine, request.artifact);
  if (record === undefined && request.ignore === true) return undefined;
  const { digest, names } = record ?? resolveArtifact(engine, request.artifact);
  const name = nameIn(names, request.artifact);
  if (name !== undefined && names.length > 1) engine.manifests.untag(name);
  else engine.manifests.remove(digest);
  engine.events.add({ type: "artifact", action: "remove", id: digest, name: name ?? digest, attributes: {} });
  return { digest };
}

/** Which of the names is meant by a text as people write it; undefined for a digest or its beginning. */
export function nameIn(names: string[], text: string): string | undefined {
  for (const candidate of [text, `localhost/${text}`]) {
    try {
      const full = formatReference(withDefaultTag(parseReference(candidate)));
      if (names.includes(full)) return full;
    } catch {
      // A digest is not a name.
    }
  }
  return undefined;
}
