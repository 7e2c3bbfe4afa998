/** load: images from an archive (Docker's or OCI, from a file or a stream, compressed or not) or an OCI layout directory. */
import { closeSync, openSync, read, realpathSync, statSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { collectGarbage } from "../storage/gc.ts";
import { parseReference } from "../image/reference.ts";
import { ioError } from "../storage/files.ts";
import type { Lease, PutImageRequest } from "../storage/storage.ts";
import type { Candidate } from "../trust/trust.ts";
import { admit } from "./admit.ts";
import type { Engine } from "./engine.ts";
import { storeLayers } from "./image-source.ts";
import { type FoundImage, findImages } from "./load-images.ts";
import { DirectoryLayout, type ImageLayout } from "./load-layout.ts";
import { layoutSignatures } from "./signatures.ts";

export interface LoadRequest {
  source: AsyncIterable<Uint8Array> | { path: string };
}

const CHUNK = 1024 * 1024;

/**
 * Full names and ids, in the archive's order. All images become visible together or none does. Errors: invalid-argument (not
 * an archive of images, hostile members), data-loss (corrupt, digests), not-found (path, missing parts), resource-exhausted.
 */
export async function load(
  ctx: Ctx,
  engine: Engine,
  request: LoadRequest,
): Promise<{ names: string[]; ids: string[] }> {
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

async function loadSource(
  ctx: Ctx,
  engine: Engine,
  { source }: LoadRequest,
): Promise<{ names: string[]; ids: string[] }> {
  const isDirectory = "path" in source && statOf(source.path).isDirectory();
  if (isDirectory) {
    using layout = new DirectoryLayout(engine.sys, source.path);
    using lease = engine.leases.take("load");
    const path = realpathSync(source.path);
    return await loadLayout(ctx, engine, { layout, lease, isDirectory, path });
  }
  try {
    return await loadStream(ctx, engine, source);
  } finally {
    // Members that no image needs went into the store as well, and so did all of an archive that failed.
    collectGarbage(engine.store);
  }
}

async function loadStream(
  ctx: Ctx,
  engine: Engine,
  source: LoadRequest["source"],
): Promise<{ names: string[]; ids: string[] }> {
  const { plainStream } = await import("./load-stream.ts");
  const { ArchiveLayout } = await import("./load-archive.ts");
  using lease = engine.leases.take("load");
  const stream = "path" in source ? fileStream(source.path) : source;
  const layout = await ArchiveLayout.read(ctx, engine, plainStream(ctx, stream), lease);
  const place = "path" in source ? { path: realpathSync(source.path) } : {};
  return await loadLayout(ctx, engine, { layout, lease, isDirectory: false, ...place });
}

interface LoadedPlace {
  layout: ImageLayout;
  lease: Lease;
  isDirectory: boolean;
  /** Without links; absent for what comes through a pipe. */
  path?: string;
}

async function loadLayout(
  ctx: Ctx,
  engine: Engine,
  place: LoadedPlace,
): Promise<{ names: string[]; ids: string[] }> {
  const { layout, lease } = place;
  const complete: PutImageRequest[] = [];
  const images = await findImages(ctx, layout);
  for (const image of images) await admitLoaded(ctx, engine, place, image);
  for (const { source, names } of images) {
    complete.push(await storeLayers(ctx, engine, source, { names, repoDigests: [], lease }));
  }
  const records = engine.db.durable(() => complete.map((request) => engine.images.put(request)));
  const names = complete.flatMap((request) => request.names ?? []);
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

/** By the policy of the kind of place it is. */
async function admitLoaded(ctx: Ctx, engine: Engine, place: LoadedPlace, image: FoundImage): Promise<void> {
  const { layout, isDirectory, path } = place;
  const { format, refName, documents, names } = image;
  const [name] = names;
  const candidate = {
    transport: transportOf(format, isDirectory),
    documents,
    ...(path === undefined ? {} : { path }),
    ...(refName === undefined ? {} : { refName }),
    ...(name === undefined || format !== "docker" ? {} : { reference: parseReference(name) }),
  };
  const signatures = format === "oci" ? { signatures: layoutSignatures(layout) } : {};
  await admit(ctx, engine, { candidate, ...signatures });
}

function transportOf(format: FoundImage["format"], isDirectory: boolean): Candidate["transport"] {
  if (format === "oci") return isDirectory ? "oci" : "oci-archive";
  return isDirectory ? "dir" : "docker-archive";
}

function statOf(path: string) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat !== undefined) return stat;
  throw fail("not-found", `"${path}" does not exist`, { reason: "ENOENT" });
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
