/**
 * Changing an index (manifest list): pure, on its own text, so that what nobody here knows about stays in it. Contract of
 * the result: image-spec image-index.md, or Docker's manifest list where all that it lists is Docker's.
 */
import { fail } from "../core/error.ts";
import { parseDigest } from "../image/digest.ts";
import type { JsonObject } from "../image/document.ts";
import type { Descriptor, Digest, Platform } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "../image/manifest.ts";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX } from "../image/media-types.ts";

type RawEntry = JsonObject & { digest: Digest };

/** An index taken apart; `fields` are the others of the document, as they were. */
export interface ListDraft {
  fields: JsonObject;
  entries: RawEntry[];
}

/** What can be said of an entry; absent: as it is. */
export interface EntryChange {
  os?: string;
  architecture?: string;
  variant?: string;
  osVersion?: string;
  osFeatures?: string[];
  features?: string[];
  annotations?: Record<string, string>;
}

export function emptyList(): ListDraft {
  return { fields: { schemaVersion: 2 }, entries: [] };
}

/** Errors: invalid-argument for anything but an index. */
export function readList(bytes: Uint8Array, mediaType?: string): ListDraft {
  const document = parseManifest(bytes, mediaType);
  if (!isIndex(document)) throw notAList("the document");
  const { manifests, ...fields } = JSON.parse(new TextDecoder().decode(bytes)) as JsonObject;
  return {
    fields: { ...fields, mediaType: document.mediaType },
    entries: (manifests ?? []) as RawEntry[],
  };
}

export function notAList(what: string): Error {
  return fail("invalid-argument", `${what}: image is not a manifest list`, { reason: "not-a-manifest-list" });
}

/** Takes the place of the entry with the same digest, else comes last. */
export function putEntry(list: ListDraft, entry: Descriptor): void {
  const at = list.entries.findIndex((one) => one.digest === entry.digest);
  const raw = { ...entry } as unknown as RawEntry;
  if (at === -1) list.entries.push(raw);
  else list.entries[at] = raw;
}

/** Errors: invalid-argument (no digest), not-found. */
export function removeEntry(list: ListDraft, digest: string): void {
  list.entries.splice(entryAt(list, digest), 1);
}

/** Errors: invalid-argument (no digest), not-found. */
export function changeEntry(list: ListDraft, digest: string, change: EntryChange): void {
  const at = entryAt(list, digest);
  list.entries[at] = changed(list.entries[at] as RawEntry, change);
}

function entryAt(list: ListDraft, text: string): number {
  const digest = parseDigest(text);
  const at = list.entries.findIndex((one) => one.digest === digest);
  if (at !== -1) return at;
  throw fail("not-found", `no instance matching digest "${digest}" found in manifest list`, {
    reason: "no-such-entry",
    hint: 'see "berth manifest inspect" for those that it has',
  });
}

function changed(entry: RawEntry, change: EntryChange): RawEntry {
  const platform = changedPlatform(entry["platform"] as (Platform & JsonObject) | undefined, change);
  const annotations = { ...(entry["annotations"] as object | undefined), ...change.annotations };
  return {
    ...entry,
    ...(platform === undefined ? {} : { platform }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

function changedPlatform(old: JsonObject | undefined, change: EntryChange): JsonObject | undefined {
  const fields = {
    architecture: change.architecture,
    os: change.os,
    "os.version": change.osVersion,
    "os.features": change.osFeatures,
    variant: change.variant,
    features: change.features,
  };
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  return Object.keys(given).length === 0 ? (old ?? undefined) : { ...old, ...given };
}

/** As an entry of its own, before it is put. */
export function changedEntry(entry: Descriptor, change: EntryChange): Descriptor {
  return changed({ ...entry } as unknown as RawEntry, change) as unknown as Descriptor;
}

export function annotateList(list: ListDraft, annotations: Record<string, string>): void {
  if (Object.keys(annotations).length === 0) return;
  list.fields["annotations"] = { ...(list.fields["annotations"] as object | undefined), ...annotations };
}

/**
 * The document. Docker's kind only if all that it lists is Docker's and nothing in it needs OCI's; one that has been
 * OCI's stays so, unless it was empty. Errors: resource-exhausted over 4 MiB.
 */
export function writeList(
  list: ListDraft,
  format?: "oci" | "docker",
): { bytes: Uint8Array; mediaType: string } {
  const mediaType = format === undefined ? naturalType(list) : format === "oci" ? OCI_INDEX : DOCKER_LIST;
  const { schemaVersion, mediaType: _, ...rest } = list.fields;
  const document = { schemaVersion, mediaType, manifests: list.entries, ...rest };
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  if (bytes.length <= MAX_MANIFEST_BYTES) return { bytes, mediaType };
  throw fail(
    "resource-exhausted",
    `the manifest list would be ${bytes.length} bytes, more than the limit of ${MAX_MANIFEST_BYTES}`,
    { reason: "document-too-large" },
  );
}

function naturalType({ fields, entries }: ListDraft): string {
  const isDocker = (entry: RawEntry): boolean =>
    (entry["mediaType"] === DOCKER_MANIFEST || entry["mediaType"] === DOCKER_LIST) &&
    entry["annotations"] === undefined &&
    entry["artifactType"] === undefined;
  const needsOci = ["annotations", "artifactType", "subject"].some((key) => fields[key] !== undefined);
  if (entries.length === 0 || needsOci || !entries.every(isDocker)) return OCI_INDEX;
  return entries.length > 1 && fields["mediaType"] === OCI_INDEX ? OCI_INDEX : DOCKER_LIST;
}
