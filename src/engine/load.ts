/** load: images from an archive (Docker's or OCI, from a file or a stream, compressed or not) or an OCI layout directory. */
import { closeSync, openSync, read, readSync, realpathSync, statSync } from "node:fs";
import { detectCompression } from "../archive/compress.ts";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, isKind } from "../core/error.ts";
import { collectGarbage } from "../storage/gc.ts";
import { parseManifest } from "../image/manifest.ts";
import { parsePlatform } from "../image/platform.ts";
import { parseReference } from "../image/reference.ts";
import { ioError } from "../storage/files.ts";
import type { Lease, PutImageRequest, PutManifestRequest } from "../storage/storage.ts";
import type { Candidate } from "../trust/trust.ts";
import { admit, type AdmitRequest } from "./admit.ts";
import type { Engine } from "./engine.ts";
import { storeLayers } from "./image-source.ts";
import { type FoundImage, findImages } from "./load-images.ts";
import { DirectoryLayout, type ImageLayout } from "./load-layout.ts";
import { layoutSignatures } from "./signatures.ts";

export interface FileSource {
  path: string;
  /** The path says nothing about where the file lies ("/dev/stdin"). */
  isNameless?: boolean;
}

export interface LoadRequest {
  source: AsyncIterable<Uint8Array> | FileSource;
  /** Of an image for several platforms this one; this host's when absent. */
  platform?: string;
  /** Such an image becomes an index in the store, with all platforms that the archive has. */
  allPlatforms?: boolean;
}

/** Full names and ids, in the archive's order. */
export interface Loaded {
  names: string[];
  ids: string[];
}

const CHUNK = 1024 * 1024;
/** More than any magic number needs. */
const HEAD = 16;

/**
 * All images become visible together or none does. Errors: invalid-argument (not
 * an archive of images, hostile members), data-loss (corrupt, digests), not-found (path, missing parts), resource-exhausted.
 */
export async function load(ctx: Ctx, engine: Engine, request: LoadRequest): Promise<Loaded> {
  try {
    return await loadSource(ctx, engine, request);
  } catch (error) {
    throw "path" in request.source ? withPath(request.source.path, error) : error;
  }
}

/** What is wrong with an archive says which archive. */
function withPath(path: string, error: unknown): unknown {
  if (!(error instanceof EngineError) || error.kind === "canceled" || error.message.includes(path))
    return error;
  const { kind, message, reason, hint, data } = error;
  return fail(kind, `"${path}": ${message}`, {
    reason,
    data,
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

async function loadSource(ctx: Ctx, engine: Engine, request: LoadRequest): Promise<Loaded> {
  let isClean = false;
  try {
    const kind = "path" in request.source ? kindOf(request.source.path) : "stream";
    if (kind === "stream") return await loadStream(ctx, engine, request);
    const loaded = await loadPath(ctx, engine, request, kind);
    isClean = true;
    return loaded;
  } finally {
    // Members of a stream that no image needs went into the store as well, and so did layers of an archive that failed.
    if (!isClean) collectGarbage(engine.store);
  }
}

/** A file that can be read anywhere tells first what it has: only that is taken from it, several layers at a time. */
async function loadPath(
  ctx: Ctx,
  engine: Engine,
  request: LoadRequest,
  kind: "directory" | "file",
): Promise<Loaded> {
  const source = request.source as FileSource;
  const { path } = source;
  const { TarFileLayout } = await import("./transfer/tar-file-layout.ts");
  using layout =
    kind === "directory"
      ? new DirectoryLayout(engine.sys, path)
      : await TarFileLayout.open(ctx, engine, path);
  using lease = engine.leases.take("load");
  const isDirectory = kind === "directory";
  return await loadLayout(ctx, engine, { request, layout, lease, isDirectory, ...placeOf(source) });
}

async function loadStream(ctx: Ctx, engine: Engine, request: LoadRequest): Promise<Loaded> {
  const { source } = request;
  const { plainStream } = await import("./load-stream.ts");
  const { ArchiveLayout } = await import("./load-archive.ts");
  using lease = engine.leases.take("load");
  const stream = "path" in source ? fileStream(source.path) : source;
  const layout = await ArchiveLayout.read(ctx, engine, plainStream(ctx, stream), lease);
  const place = "path" in source ? placeOf(source) : {};
  return await loadLayout(ctx, engine, { request, layout, lease, isDirectory: false, ...place });
}

/** Without links: what a policy's scopes are about. */
function placeOf({ path, isNameless }: FileSource): { path?: string } {
  return isNameless === true ? {} : { path: realpathSync(path) };
}

interface LoadedPlace {
  request: LoadRequest;
  layout: ImageLayout;
  lease: Lease;
  isDirectory: boolean;
  /** Without links; absent for what comes through a pipe. */
  path?: string;
}

async function loadLayout(ctx: Ctx, engine: Engine, place: LoadedPlace): Promise<Loaded> {
  const { layout, lease, request } = place;
  const platform = request.platform === undefined ? undefined : parsePlatform(request.platform);
  const images = await findImages(ctx, layout, platform);
  for (const image of images) await admitLoaded(ctx, engine, place, image);
  const complete: PutImageRequest[] = [];
  const indexes: PutManifestRequest[] = [];
  for (const image of images) {
    const index = request.allPlatforms === true ? await keepWhole(ctx, engine, place, image) : undefined;
    if (index !== undefined) indexes.push(index);
    const names = index === undefined ? image.names : [];
    complete.push(await storeLayers(ctx, engine, image.source, { names, repoDigests: [], lease }));
  }
  const records = engine.db.durable(() => {
    const stored = complete.map((one) => engine.images.put(one));
    for (const one of indexes) engine.manifests.put(one);
    return stored;
  });
  const names = images.flatMap((image) => image.names);
  for (const record of records) {
    engine.events.add({
      type: "image",
      action: "load",
      id: record.id,
      name: record.names[0] ?? record.id,
      attributes: {},
    });
  }
  return { names: [...new Set(names)], ids: [...new Set(records.map((record) => record.id))] };
}

/** The index that the image was found in, if there is one under its name. */
async function keepWhole(
  ctx: Ctx,
  engine: Engine,
  place: LoadedPlace,
  image: FoundImage,
): Promise<PutManifestRequest | undefined> {
  const [manifest, ...within] = image.documents;
  const index = within.at(-1);
  if (index === undefined) return undefined;
  const { keepIndex } = await import("./load-index.ts");
  await keepIndex(ctx, engine, {
    ...place,
    index,
    admit: async (documents) => {
      if (documents[0]?.digest !== manifest?.digest)
        await admitLoaded(ctx, engine, place, { ...image, documents });
    },
  });
  const { mediaType } = parseManifest(index.bytes);
  return { ...index, mediaType, names: image.names };
}

/** By the policy of the kind of place it is; of what can be taken for two kinds one must let it in, as with podman. */
async function admitLoaded(ctx: Ctx, engine: Engine, place: LoadedPlace, image: FoundImage): Promise<void> {
  let first: unknown;
  for (const format of image.formats) {
    try {
      await admit(ctx, engine, admission(place, image, format));
      return;
    } catch (error) {
      if (!isKind(error, "permission-denied")) throw error;
      first ??= error;
    }
  }
  throw first;
}

function admission(
  { layout, isDirectory, path }: LoadedPlace,
  { refName, documents, names: [name] }: FoundImage,
  format: FoundImage["formats"][number],
): AdmitRequest {
  const isNamed = name !== undefined && format === "docker";
  const candidate = {
    transport: transportOf(format, isDirectory),
    documents,
    ...(path === undefined ? {} : { path }),
    ...(refName === undefined ? {} : { refName }),
    ...(isNamed ? { reference: parseReference(name) } : {}),
  };
  return { candidate, ...(format === "oci" ? { signatures: layoutSignatures(layout) } : {}) };
}

function transportOf(format: FoundImage["formats"][number], isDirectory: boolean): Candidate["transport"] {
  if (format === "oci") return isDirectory ? "oci" : "oci-archive";
  return isDirectory && format === "dir" ? "dir" : "docker-archive";
}

/** What is compressed is inflated as it comes, and read from front to back only. Errors: not-found. */
function kindOf(path: string): "directory" | "file" | "stream" {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw fail("not-found", `"${path}" does not exist`, { reason: "ENOENT" });
  if (stat.isDirectory()) return "directory";
  return stat.isFile() && !isCompressed(path) ? "file" : "stream";
}

function isCompressed(path: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const head = new Uint8Array(HEAD);
    return detectCompression(head.subarray(0, readSync(fd, head))) !== "none";
  } catch (error) {
    throw ioError(error, `cannot read "${path}"`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** A file (or a pipe by name) in chunks, each its own memory. */
async function* fileStream(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw ioError(error, `cannot read "${path}"`);
  }
  try {
    for (;;) {
      const chunk = await readChunk(fd, path);
      if (chunk.length === 0) return;
      yield chunk;
    }
  } finally {
    closeSync(fd);
  }
}

function readChunk(fd: number, path: string): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  read(fd, buffer, 0, CHUNK, null, (error, count) =>
    error === null ? resolve(buffer.subarray(0, count)) : reject(ioError(error, `cannot read "${path}"`)),
  );
  return promise;
}
