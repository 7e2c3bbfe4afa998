/**
 * manifest create, add, annotate, remove: lists of images for several platforms (image-spec image-index.md).
 *
 * A list is a document like any other: it never changes, a changed one is another document that takes over its names. So its
 * id is new after every change, and two who change it at the same time both get what they wanted.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest, Platform } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import { isFullyQualified, parseReference, repositoryName } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import type { Lease, ManifestRecord } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { localName } from "./images.ts";
import {
  annotateList,
  changedEntry,
  changeEntry,
  emptyList,
  type EntryChange,
  type ListDraft,
  notAList,
  putEntry,
  readList,
  removeEntry,
  writeList,
} from "./manifest-edit.ts";
import { askedName } from "./push-source.ts";
import type { Addition } from "./manifest-source.ts";

export interface CreateListRequest {
  name: string;
  images: string[];
  /** Of images that are lists: all that they list. */
  all: boolean;
  /** A list of this name is added to instead of refused. */
  amend: boolean;
  annotations: Record<string, string>;
  registry: RegistryOptions;
}

/** The list's digest and full name. Errors: already-exists (the name), and those of {@link addToList}; nothing is left then. */
export async function createList(
  ctx: Ctx,
  engine: Engine,
  request: CreateListRequest,
): Promise<{ digest: Digest; name: string }> {
  const name = localName(request.name);
  checkFree(engine, name, request.amend);
  using lease = engine.leases.take("pull");
  const { images, all, registry } = request;
  const additions = await additionsOf(ctx, engine, { images, all, registry, lease });
  const edit = (draft: ListDraft): void => {
    annotateList(draft, request.annotations);
    for (const { entries } of additions) for (const entry of entries) putEntry(draft, entry);
  };
  const sources = additions.flatMap((addition) => addition.sources);
  let old: ManifestRecord | undefined;
  const made = engine.db.durable(() => {
    checkFree(engine, name, request.amend);
    old = engine.manifests.find(name);
    return put(engine, { draft: draftOf(engine, old), edit, names: [name], sources, old });
  });
  dropOld(engine, old, made);
  engine.events.add({ type: "image", action: "tag", id: made.digest, name, attributes: {} });
  return { digest: made.digest, name };
}

function checkFree(engine: Engine, name: string, amend: boolean): void {
  const isImage = (): boolean => engine.images.find(name) !== undefined;
  const list = engine.manifests.find(name);
  if (list?.kind === "index" && amend) return;
  if (list === undefined && !isImage()) return;
  throw fail(
    "already-exists",
    `the name "${name}" is in use by ${list?.kind === "index" ? "a manifest list" : "an image"}`,
    {
      reason: "name-in-use",
      hint:
        list?.kind === "index"
          ? "add to it with --amend, or remove it with: berth manifest rm"
          : "choose another name, or take this one away with: berth untag",
    },
  );
}

async function additionsOf(
  ctx: Ctx,
  engine: Engine,
  request: {
    images: string[];
    all: boolean;
    platform?: Partial<Platform>;
    registry: RegistryOptions;
    lease: Lease;
  },
): Promise<Addition[]> {
  const { images, ...rest } = request;
  if (images.length === 0) return [];
  const { additionOf } = await import("./manifest-source.ts");
  const additions: Addition[] = [];
  for (const image of images) additions.push(await additionOf(ctx, engine, { ...rest, image }));
  return additions;
}

export interface AddToListRequest {
  list: string;
  images: string[];
  all: boolean;
  change: EntryChange;
  /** Annotates the list itself. */
  indexAnnotations: Record<string, string>;
  registry: RegistryOptions;
}

/** The changed list's digest. Errors: not-found, invalid-argument (no list), those of the images' places. */
export async function addToList(
  ctx: Ctx,
  engine: Engine,
  request: AddToListRequest,
): Promise<{ digest: Digest }> {
  resolveList(engine, request.list);
  using lease = engine.leases.take("pull");
  const { images, all, registry, change } = request;
  const platform = askedPlatform(change);
  const additions = await additionsOf(ctx, engine, {
    images,
    all,
    registry,
    lease,
    ...(platform === undefined ? {} : { platform }),
  });
  const entries = additions.flatMap((addition) => addition.entries);
  return editList(engine, request.list, {
    sources: additions.flatMap((addition) => addition.sources),
    edit: (draft) => {
      annotateList(draft, request.indexAnnotations);
      for (const entry of entries) putEntry(draft, changedEntry(entry, change));
    },
  });
}

/** What chooses from an index: the same words that say what the entry is for. */
function askedPlatform({ os, architecture, variant }: EntryChange): Partial<Platform> | undefined {
  if (os === undefined && architecture === undefined) return undefined;
  return {
    ...(os === undefined ? {} : { os }),
    ...(architecture === undefined ? {} : { architecture }),
    ...(variant === undefined ? {} : { variant }),
  };
}

export interface AnnotateListRequest {
  list: string;
  /** Digest of an entry, or the name of the image that is one; absent: the list itself. */
  image?: string;
  change: EntryChange;
  registry: RegistryOptions;
}

/** The changed list's digest. Errors: not-found, invalid-argument, those of a registry that has to be asked. */
export async function annotateEntry(
  ctx: Ctx,
  engine: Engine,
  { list, image, change, registry }: AnnotateListRequest,
): Promise<{ digest: Digest }> {
  const asked = image === undefined ? undefined : await namedEntry(ctx, engine, { image, registry });
  return editList(engine, list, {
    edit: (draft) => {
      if (asked === undefined) annotateList(draft, change.annotations ?? {});
      else changeEntry(draft, entryDigest(engine, draft, asked), change);
    },
  });
}

export interface RemoveFromListRequest {
  list: string;
  /** As {@link AnnotateListRequest.image}. */
  images: string[];
  registry: RegistryOptions;
}

/** The changed list's digest. Errors: as of {@link annotateEntry}. */
export async function removeFromList(
  ctx: Ctx,
  engine: Engine,
  { list, images, registry }: RemoveFromListRequest,
): Promise<{ digest: Digest }> {
  const asked: string[] = [];
  for (const image of images) asked.push(await namedEntry(ctx, engine, { image, registry }));
  return editList(engine, list, {
    edit: (draft) => {
      for (const text of asked) removeEntry(draft, entryDigest(engine, draft, text));
    },
  });
}

/** Of an image of a registry the digest, which only the registry knows; anything else as it is. */
async function namedEntry(
  ctx: Ctx,
  engine: Engine,
  { image, registry }: { image: string; registry: RegistryOptions },
): Promise<string> {
  const isRemote =
    image.startsWith("docker://") || (isFullyQualified(image) && !image.startsWith("localhost/"));
  if (!isRemote || engine.images.find(image) !== undefined) return image;
  const { inspectManifest } = await import("./manifest-inspect.ts");
  return (await inspectManifest(ctx, engine, { name: image, registry })).descriptor.digest;
}

/** People may name an entry by the image that it is. What is not known here is taken for a digest. */
function entryDigest(engine: Engine, draft: ListDraft, text: string): string {
  const name = text.replace(/^(?:containers-storage|berth):/, "");
  if (draft.entries.some((entry) => entry.digest === name)) return name;
  const image = engine.images.find(name);
  if (image === undefined) return text;
  const entry = draft.entries.find(
    ({ digest }) => digest === image.manifestDigest || isManifestOf(engine, digest, image.id),
  );
  return entry?.digest ?? image.manifestDigest;
}

/** Its manifest may have become another since it was added. */
function isManifestOf(engine: Engine, manifest: Digest, id: Digest): boolean {
  const sql = "SELECT 1 FROM blob_refs WHERE parent = ? AND child = ?";
  return engine.db.get(sql, manifest, id) !== undefined;
}

/** Errors: not-found, invalid-argument for an image or an artifact. */
export function resolveList(engine: Engine, name: string): ManifestRecord {
  const list = engine.manifests.find(name);
  if (list?.kind === "index") return list;
  if (list !== undefined || engine.images.find(name) !== undefined) throw notAList(name);
  return engine.manifests.resolve(name);
}

interface ListEdit {
  edit: (draft: ListDraft) => void;
  sources?: string[];
}

function editList(engine: Engine, name: string, { edit, sources = [] }: ListEdit): { digest: Digest } {
  // Read and written in one transaction: of two who change it, the second sees what the first has done.
  const { old, made } = engine.db.durable(() => {
    const list = resolveList(engine, name);
    const fresh = put(engine, {
      draft: draftOf(engine, list),
      edit,
      names: namesMeant(list, name),
      sources,
      old: list,
    });
    return { old: list, made: fresh };
  });
  dropOld(engine, old, made);
  return { digest: made.digest };
}

function draftOf(engine: Engine, list: ManifestRecord | undefined): ListDraft {
  if (list === undefined) return emptyList();
  return readList(engine.content.read(list.digest, MAX_MANIFEST_BYTES), list.mediaType);
}

/**
 * The names that follow a change: the one it was asked for by, since two lists with the same entries are one document; all of
 * them where it was asked for by its digest.
 */
function namesMeant(list: ManifestRecord, text: string): string[] {
  const asked = askedName(list, text);
  return asked === undefined ? list.names : [asked];
}

interface PutList {
  draft: ListDraft;
  edit: (draft: ListDraft) => void;
  names: string[];
  sources: string[];
  old: ManifestRecord | undefined;
}

function put(engine: Engine, { draft, edit, names, sources, old }: PutList): ManifestRecord {
  edit(draft);
  const { bytes, mediaType } = writeList(draft);
  const record = engine.manifests.put({ bytes, digest: digestOf(bytes), mediaType, names });
  const listed = new Set(draft.entries.map((entry) => entry.digest));
  const known = old === undefined ? [] : inheritedSources(engine, old);
  for (const source of [...sources, ...known]) {
    const digest = source.slice(source.lastIndexOf("@") + 1);
    if (listed.has(digest)) engine.manifests.addRepoDigest(record.digest, source);
  }
  return record;
}

/** Where what the old list has can be fetched: as was known of each, and where the list itself came from. */
function inheritedSources(engine: Engine, old: ManifestRecord): string[] {
  const { document } = old;
  const entries: Descriptor[] = isIndex(document) ? document.manifests : [];
  const missing = entries.filter(({ digest }) => !engine.content.has(digest));
  const repositories = old.repoDigests.map((text) => repositoryName(parseReference(text)));
  return missing.flatMap(({ digest }) =>
    [...engine.manifests.sources(digest), ...repositories].map((repository) => `${repository}@${digest}`),
  );
}

/** The document that the list was before. */
function dropOld(engine: Engine, old: ManifestRecord | undefined, made: ManifestRecord): void {
  if (old !== undefined && old.digest !== made.digest && engine.manifests.get(old.digest)?.names.length === 0)
    engine.manifests.remove(old.digest);
}
