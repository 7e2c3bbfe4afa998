/**
 * save: images of the store as an archive or a directory.
 *
 * docker-archive is what docker 25 and later write: an OCI layout with Docker's manifest.json beside index.json, so that every
 * engine of the last ten years finds what it knows. The same images give the same bytes: members in a fixed order, no times, no
 * owners. An index goes with everything it lists that is here; manifest.json then names its image for this host.
 */
import { readSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Descriptor, Digest, Platform } from "../image/image.ts";
import { isIndex } from "../image/manifest.ts";
import { OCI_INDEX } from "../image/media-types.ts";
import { familiarReference, parseReference } from "../image/reference.ts";
import { platformEntry } from "../storage/index-entry.ts";
import type { Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";
import { askedName, chosenDocument, findSource, type StoredSource } from "./push-source.ts";
import { SaveContents, type SavedImage } from "./save-contents.ts";
import { type FilePiece, type Member, tarPieces, writeDirectory } from "./save-write.ts";

export interface SaveRequest {
  images: string[];
  format: "docker-archive" | "oci-archive" | "oci-dir" | "docker-dir";
  /** Directory to write, for the two formats that are one; must not exist or be empty. */
  path?: string;
  /** Of an index only the image for this platform. */
  platform?: string;
  /** Layers without compression are compressed. */
  compress?: boolean;
}

/** One of index.json's entries, under all the names it was asked for by. */
interface Saved {
  id: Digest;
  names: string[];
  top: { mediaType: string; digest: Digest; size: number; platform?: Platform };
  /** What manifest.json says of it; an index may have nothing for this host. */
  image?: SavedImage;
}

const CHUNK = 1024 * 1024;

/** The archive; empty for a directory, which is complete when the stream ends. Errors: not-found, invalid-argument, already-exists. */
export async function* save(
  ctx: Ctx,
  engine: Engine,
  request: SaveRequest,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of savePieces(ctx, engine, request)) {
    if (piece instanceof Uint8Array) yield piece;
    else yield* chunksOf(piece);
  }
}

function* chunksOf({ fd, size }: FilePiece): Generator<Uint8Array> {
  for (let done = 0; done < size;) {
    const chunk = new Uint8Array(Math.min(CHUNK, size - done));
    const count = readSync(fd, chunk, 0, chunk.length, done);
    if (count === 0) throw fail("data-loss", "a blob of the store is shorter than it was");
    done += count;
    yield chunk.subarray(0, count);
  }
}

/** As {@link save}, with blobs as files, for those who let the kernel copy them. */
export async function* savePieces(
  ctx: Ctx,
  engine: Engine,
  request: SaveRequest,
): AsyncGenerator<Uint8Array | FilePiece, void, undefined> {
  using lease = engine.leases.take("pull");
  const { saved, contents } = await prepare(ctx, engine, request, lease);
  const { format } = request;
  const members =
    format === "docker-dir" ? dirMembers(saved, contents) : layoutMembers(saved, contents, format);
  if (format === "oci-dir" || format === "docker-dir") {
    await writeDirectory(ctx, engine, { members, path: directoryOf(request) });
  } else {
    yield* tarPieces(ctx, engine, members);
  }
  for (const { id, names } of saved)
    engine.events.add({ type: "image", action: "save", id, name: names[0] ?? id, attributes: {} });
}

function directoryOf({ path, format }: SaveRequest): string {
  if (path !== undefined && path !== "") return path;
  throw fail("invalid-argument", `format "${format}" needs a directory to write to`, {
    hint: "name it with --output",
  });
}

/** Every image once, with all the names it was asked for by. */
async function prepare(
  ctx: Ctx,
  engine: Engine,
  request: SaveRequest,
  lease: Lease,
): Promise<{ saved: Saved[]; contents: SaveContents }> {
  const wanted = new Map<Digest, { source: StoredSource; names: Set<string> }>();
  for (const text of request.images) {
    const source = findSource(engine, text);
    const entry = wanted.get(idOf(source)) ?? { source, names: new Set() };
    const name = askedName(source.record, text);
    if (name !== undefined) entry.names.add(name);
    wanted.set(idOf(source), entry);
  }
  checkCount(request, wanted.size);
  const contents = new SaveContents(engine, { lease, compress: request.compress === true });
  const saved: Saved[] = [];
  for (const { source, names } of wanted.values()) {
    const one = await saveOne(ctx, engine, { source, contents, platform: request.platform });
    saved.push({ ...one, names: [...names].toSorted() });
  }
  return { saved, contents };
}

function idOf({ kind, record }: StoredSource): Digest {
  return kind === "image" ? record.id : record.digest;
}

function checkCount({ format }: SaveRequest, count: number): void {
  if (count === 0) throw fail("invalid-argument", "no image to save was named");
  if (count === 1 || format !== "docker-dir") return;
  throw fail("invalid-argument", 'format "docker-dir" holds one image only', {
    hint: "use docker-archive or oci-dir",
  });
}

async function saveOne(
  ctx: Ctx,
  engine: Engine,
  {
    source,
    contents,
    platform,
  }: { source: StoredSource; contents: SaveContents; platform: string | undefined },
): Promise<Omit<Saved, "names">> {
  const stored = chosenDocument(engine, source, platform);
  const record = source.kind === "image" ? source.record : undefined;
  const { mediaType, digest, bytes } = await contents.add(ctx, stored, record);
  const top = { mediaType, digest, size: bytes.length };
  const own = isIndex(stored.document) ? platformEntry(engine.store, stored.digest)?.digest : stored.digest;
  const image = own === undefined ? undefined : contents.images.get(own);
  return {
    id: idOf(source),
    top: record === undefined ? top : { ...top, platform: platformOf(record.config) },
    ...(image === undefined ? {} : { image }),
  };
}

function platformOf({ os, architecture, variant }: Platform): Platform {
  return { architecture, os, ...(variant === undefined ? {} : { variant }) };
}

/** Small files first, so that a reader of a stream knows what comes; then every blob once, in the order of their names. */
function layoutMembers(saved: Saved[], { blobs }: SaveContents, format: SaveRequest["format"]): Member[] {
  const members: Member[] = [
    { name: "oci-layout", bytes: json({ imageLayoutVersion: "1.0.0" }) },
    { name: "index.json", bytes: json(indexOf(saved)) },
  ];
  if (format === "docker-archive")
    members.push({ name: "manifest.json", bytes: json(saved.flatMap(dockerEntry)) });
  const files = [...blobs].map(([digest, content]): Member => ({
    name: blobPath(digest),
    digest,
    ...content,
  }));
  return [...members, ...files.toSorted((a, b) => (a.name < b.name ? -1 : 1))];
}

function blobPath(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** One entry a name; an image without one is there all the same. */
function indexOf(saved: Saved[]): object {
  const manifests: Descriptor[] = [];
  for (const { top, names } of saved) {
    if (names.length === 0) manifests.push(top);
    for (const name of names) {
      const tag = parseReference(name).tag as string;
      // containerd and podman look for the first, everybody else for the second.
      const annotations = { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag };
      manifests.push({ ...top, annotations });
    }
  }
  return { schemaVersion: 2, mediaType: OCI_INDEX, manifests };
}

function dockerEntry({ image, names }: Saved): object[] {
  if (image === undefined) return [];
  const { config, layers } = image.manifest;
  return [
    {
      Config: blobPath(config.digest),
      RepoTags: names.map((name) => familiarReference(parseReference(name))),
      Layers: layers.map((layer) => blobPath(layer.digest)),
    },
  ];
}

/** The layout of the `dir:` transport of skopeo and podman. Errors: invalid-argument (an index). */
function dirMembers([one]: Saved[], { blobs }: SaveContents): Member[] {
  const { image, top } = one as Saved;
  if (image === undefined || image.digest !== top.digest) {
    throw fail("invalid-argument", 'format "docker-dir" holds one image only, not an index of several', {
      hint: "choose one with --platform, or use oci-dir",
    });
  }
  const files = [...blobs].filter(([digest]) => digest !== image.digest);
  return [
    { name: "manifest.json", bytes: image.bytes },
    { name: "version", bytes: new TextEncoder().encode("Directory Transport Version: 1.1\n") },
    ...files.map(([digest, content]): Member => ({ name: digestHex(digest), digest, ...content })),
  ];
}
