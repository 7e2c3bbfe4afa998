/**
 * save: images of the store as an archive or a directory.
 *
 * docker-archive is what docker 25 and later write: an OCI layout with Docker's manifest.json beside index.json, so that every
 * engine of the last ten years finds what it knows. The same images give the same bytes: members in a fixed order, no times, no owners.
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { TarWriter } from "../archive/tar-writer.ts";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { shortId } from "../core/id.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { isForeignLayerType, OCI_INDEX } from "../image/media-types.ts";
import { familiarReference, parseReference } from "../image/reference.ts";
import { ioError } from "../storage/files.ts";
import { runOrdered } from "../storage/ordered.ts";
import type { ImageRecord, Lease } from "../storage/storage.ts";
import { hasCode } from "../sys/errno.ts";
import type { Engine } from "./engine.ts";
import { layerBlob, manifestOver, type StoredManifest } from "./image-source-stored.ts";
import { askedName } from "./push.ts";

export interface SaveRequest {
  images: string[];
  format: "docker-archive" | "oci-archive" | "oci-dir" | "docker-dir";
  /** Directory to write, for the two formats that are one; must not exist or be empty. */
  path?: string;
}

interface Saved extends StoredManifest {
  record: ImageRecord;
  /** Full names asked for; none for an image asked for by id. */
  names: string[];
}

/** A file of the layout: its bytes, or the blob that is its content. */
type Member = { name: string; bytes: Uint8Array } | { name: string; digest: Digest; size: number };

/** The archive; empty for a directory, which is complete when the stream ends. Errors: not-found, invalid-argument, already-exists. */
export async function* save(
  ctx: Ctx,
  engine: Engine,
  request: SaveRequest,
): AsyncGenerator<Uint8Array, void, undefined> {
  using lease = engine.leases.take("pull");
  const saved = await prepare(ctx, engine, request, lease);
  const members = request.format === "docker-dir" ? dirMembers(saved) : layoutMembers(saved, request.format);
  if (request.format === "oci-dir" || request.format === "docker-dir") {
    await writeDirectory(ctx, engine, { members, path: directoryOf(request) });
  } else {
    yield* tarOf(ctx, engine, members);
  }
  for (const { record, names } of saved) {
    engine.events.add({
      type: "image",
      action: "save",
      id: record.id,
      name: names[0] ?? record.id,
      attributes: {},
    });
  }
}

function directoryOf({ path, format }: SaveRequest): string {
  if (path !== undefined && path !== "") return path;
  throw fail("invalid-argument", `format "${format}" needs a directory to write to`, {
    hint: "name it with --output",
  });
}

/** Every image once, with all the names it was asked for by. */
async function prepare(ctx: Ctx, engine: Engine, request: SaveRequest, lease: Lease): Promise<Saved[]> {
  const images = new Map<Digest, { record: ImageRecord; names: Set<string> }>();
  for (const text of request.images) {
    const record = engine.images.resolve(text);
    const entry = images.get(record.id) ?? { record, names: new Set() };
    const name = askedName(record, text);
    if (name !== undefined) entry.names.add(name);
    images.set(record.id, entry);
  }
  if (images.size === 0) throw fail("invalid-argument", "no image to save was named");
  if (images.size > 1 && request.format === "docker-dir") {
    throw fail("invalid-argument", 'format "docker-dir" holds one image only', {
      hint: "use docker-archive or oci-dir",
    });
  }
  const saved: Saved[] = [];
  for (const { record, names } of images.values()) {
    const stored = { record, lease, compress: false };
    const layers = await runOrdered(ctx, 4, record.manifest.layers, (inner, _, i) =>
      layerBlob(inner, engine, stored, i),
    );
    saved.push({ ...manifestOver(engine, record, layers), record, names: [...names].toSorted() });
  }
  return saved;
}

/** Small files first, so that a reader of a stream knows what comes; then every blob once, in the order of their names. */
function layoutMembers(saved: Saved[], format: "docker-archive" | "oci-archive" | "oci-dir"): Member[] {
  const members: Member[] = [
    { name: "oci-layout", bytes: json({ imageLayoutVersion: "1.0.0" }) },
    { name: "index.json", bytes: json(indexOf(saved)) },
  ];
  if (format === "docker-archive")
    members.push({ name: "manifest.json", bytes: json(saved.map(dockerEntry)) });
  const blobs = new Map<string, Member>();
  for (const one of saved) for (const member of blobsOf(one, blobPath)) blobs.set(member.name, member);
  return [...members, ...[...blobs.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))];
}

function blobsOf({ manifest, bytes, digest }: Saved, path: (digest: Digest) => string): Member[] {
  const kept = [manifest.config, ...manifest.layers.filter((layer) => !isForeignLayerType(layer.mediaType))];
  return [
    { name: path(digest), bytes },
    ...kept.map((d) => ({ name: path(d.digest), digest: d.digest, size: d.size })),
  ];
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
  for (const { manifest, bytes, digest, names, record } of saved) {
    const { os, architecture, variant } = record.config;
    const platform = { architecture, os, ...(variant === undefined ? {} : { variant }) };
    const base = { mediaType: manifest.mediaType, digest, size: bytes.length, platform };
    if (names.length === 0) manifests.push(base);
    for (const name of names) {
      const tag = parseReference(name).tag as string;
      // containerd and podman look for the first, everybody else for the second.
      const annotations = { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag };
      manifests.push({ ...base, annotations });
    }
  }
  return { schemaVersion: 2, mediaType: OCI_INDEX, manifests };
}

function dockerEntry({ manifest, names }: Saved): object {
  return {
    Config: blobPath(manifest.config.digest),
    RepoTags: names.map((name) => familiarReference(parseReference(name))),
    Layers: manifest.layers.map((layer) => blobPath(layer.digest)),
  };
}

/** The layout of the `dir:` transport of skopeo and podman. */
function dirMembers([one]: Saved[]): Member[] {
  const saved = one as Saved;
  const [, ...blobs] = blobsOf(saved, digestHex);
  const unique = new Map(blobs.map((member) => [member.name, member]));
  return [
    { name: "manifest.json", bytes: saved.bytes },
    { name: "version", bytes: new TextEncoder().encode("Directory Transport Version: 1.1\n") },
    ...unique.values(),
  ];
}

async function* tarOf(
  ctx: Ctx,
  engine: Engine,
  members: Member[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = new TarWriter();
  const directories = new Set<string>();
  for (const member of members) {
    for (const name of parents(member.name)) {
      if (!directories.has(name))
        yield tar.header({ name: Buffer.from(name), type: "directory", mode: 0o755 });
      directories.add(name);
    }
    const size = sizeOf(member);
    yield tar.header({ name: Buffer.from(member.name), type: "file", mode: 0o644, size });
    yield* contentOf(ctx, engine, member);
    yield tar.padding(size);
  }
  yield tar.end();
}

/** "a/b/c" → "a", "a/b". */
function parents(name: string): string[] {
  const parts = name.split("/").slice(0, -1);
  return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
}

function sizeOf(member: Member): number {
  return "bytes" in member ? member.bytes.length : member.size;
}

/** Exactly as many bytes as announced. Errors: data-loss. */
async function* contentOf(
  ctx: Ctx,
  engine: Engine,
  member: Member,
): AsyncGenerator<Uint8Array, void, undefined> {
  if ("bytes" in member) {
    yield member.bytes;
    return;
  }
  const id = shortId(digestHex(member.digest));
  let current = 0;
  for await (const chunk of engine.content.stream(member.digest)) {
    if (ctx.signal.aborted) throw fail("canceled", "canceled", { cause: ctx.signal.reason });
    current += chunk.length;
    yield chunk;
    ctx.progress({ id, status: "uploading", current, total: member.size });
  }
  if (current !== member.size) {
    throw fail(
      "data-loss",
      `blob "${member.digest}" in the store has ${current} bytes instead of ${member.size}`,
      {
        reason: "size-mismatch",
        hint: 'run "berth system check --repair"',
      },
    );
  }
  ctx.progress({ id, status: "done", current, total: member.size });
}

/** Written beside and renamed when complete; nothing is left of a failure. */
async function writeDirectory(
  ctx: Ctx,
  engine: Engine,
  { members, path }: { members: Member[]; path: string },
): Promise<void> {
  const target = path.replace(/\/+$/, "") || "/";
  const aside = `${target}.berth-${process.pid}`;
  try {
    mkdirSync(dirname(target), { recursive: true });
    mkdirSync(aside);
    for (const member of members) {
      const file = join(aside, member.name);
      mkdirSync(dirname(file), { recursive: true });
      if ("bytes" in member) writeFileSync(file, member.bytes);
      else await writeStream(file, contentOf(ctx, engine, member));
    }
    // Takes an empty directory's place, and fails on one with files in it.
    renameSync(aside, target);
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    if (hasCode(error, "ENOTEMPTY", "EEXIST", "ENOTDIR")) {
      throw fail("already-exists", `"${path}" exists and is not an empty directory`, { cause: error });
    }
    throw ioError(error, `cannot write the image to "${path}"`);
  }
}

async function writeStream(file: string, source: AsyncIterable<Uint8Array>): Promise<void> {
  const fd = openSync(file, "wx", 0o644);
  try {
    for await (const chunk of source) {
      for (let done = 0; done < chunk.length;) done += writeSync(fd, chunk, done);
    }
  } finally {
    closeSync(fd);
  }
}
