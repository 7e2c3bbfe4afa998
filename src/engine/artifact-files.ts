/**
 * Files and directories of the host as layers of an artifact. A file is its own blob; a directory becomes a compressed tar of
 * that name, always the same bytes for the same content. Nothing is held in memory whole.
 */
import { open, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { basename, resolve } from "node:path";
import { parallelCompress } from "../archive/compress-parallel.ts";
import { createDigester } from "../archive/digest.ts";
import type { TarHeader } from "../archive/tar-writer.ts";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import {
  checkedTitle,
  CONTENT_DIGEST,
  SNIFF_BYTES,
  sniffMediaType,
  TITLE,
  UNPACK,
} from "../image/artifact.ts";
import type { Descriptor } from "../image/image.ts";
import { OCI_LAYER_GZIP } from "../image/media-types.ts";
import { tarTree } from "../storage/changes.ts";
import { ioError } from "../storage/files.ts";
import type { Lease } from "../storage/storage.ts";
import { leadsOut } from "../storage/unpack-harmless.ts";
import { components } from "../sys/path-bytes.ts";
import type { Engine } from "./engine.ts";

const CHUNK = 1 << 20;
const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;
const PERMISSIONS = 0o777;

export interface PackRequest {
  /** "FILE" or "FILE:TYPE"; a name with a colon of its own ends in ":" or has a type. */
  files: string[];
  /** Media type of those files that have none of their own; without it a file's beginning is looked at. */
  fileType?: string | undefined;
  /** Set on every file; the title too, where there is one file only. */
  annotations: Record<string, string>;
}

/** Something that a manifest can list, and its bytes from the beginning, as often as wanted. */
export interface Packed {
  descriptor: Descriptor;
  open: () => AsyncIterable<Uint8Array>;
}

export interface PackTarget {
  /** Protects the blobs that are made. */
  lease: Lease;
  /** Files become blobs of the store; otherwise they are read where they lie, and only directories do. */
  store: boolean;
}

/** Errors: not-found, invalid-argument (a device, two files of one name, a malformed type), those of the disk. */
export async function packFiles(
  ctx: Ctx,
  engine: Engine,
  request: PackRequest,
  target: PackTarget,
): Promise<Packed[]> {
  const packed: Packed[] = [];
  const titles = new Set<string>();
  for (const text of request.files) {
    checkCanceled(ctx);
    const spec = await fileSpec(text);
    const title = checkedTitle(request.annotations[TITLE] ?? basename(resolve(spec.path)), false);
    if (titles.has(title)) {
      throw fail("invalid-argument", `two of the files are named "${title}"`, {
        reason: "title-twice",
        hint: "files of an artifact go by their last name; rename one of them",
      });
    }
    titles.add(title);
    const found = spec.stat.isDirectory()
      ? await packDirectory(ctx, engine, { ...spec, title }, target)
      : await packFile(ctx, engine, spec, target);
    const mediaType = spec.mediaType ?? request.fileType ?? found.descriptor.mediaType;
    const annotations = { ...found.descriptor.annotations, ...request.annotations, [TITLE]: title };
    packed.push({ ...found, descriptor: { ...found.descriptor, mediaType, annotations } });
  }
  return packed;
}

/** A config for an artifact that has one. Errors: as {@link packFiles}. */
export async function packConfig(
  ctx: Ctx,
  engine: Engine,
  text: string,
  target: PackTarget,
): Promise<Packed> {
  const spec = await fileSpec(text);
  if (spec.stat.isDirectory())
    throw fail("invalid-argument", `"${spec.path}" is a directory`, { reason: "not-regular" });
  const { descriptor, ...rest } = await packFile(ctx, engine, spec, target);
  const mediaType = spec.mediaType ?? "application/vnd.unknown.config.v1+json";
  return { ...rest, descriptor: { ...descriptor, mediaType } };
}

/** Errors: invalid-argument. */
export function checkMediaType(text: string): string {
  if (MEDIA_TYPE.test(text)) return text;
  throw fail("invalid-argument", `"${text}" is not a media type`, {
    reason: "media-type",
    hint: 'write it like "application/vnd.example.data+json"',
  });
}

interface FileSpec {
  path: string;
  stat: Stats;
  mediaType?: string;
}

/** The whole text if there is a file of that name, else what stands before the last colon. */
async function fileSpec(text: string): Promise<FileSpec> {
  const colon = text.lastIndexOf(":");
  const whole = await statOf(text);
  if (whole !== undefined) return { path: text, stat: whole };
  const path = colon > 0 ? text.slice(0, colon) : text;
  const found = await statOf(path);
  if (found === undefined)
    throw fail("not-found", `"${path}": no such file or directory`, { reason: "path-missing" });
  const type = colon > 0 ? text.slice(colon + 1) : "";
  return { path, stat: found, ...(type === "" ? {} : { mediaType: checkMediaType(type) }) };
}

async function statOf(path: string): Promise<Stats | undefined> {
  let found: Stats;
  try {
    found = await stat(path);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(String((error as { code?: unknown }).code))) return undefined;
    throw ioError(error, `cannot read "${path}"`);
  }
  if (found.isFile() || found.isDirectory()) return found;
  throw fail("invalid-argument", `"${path}" is neither a file nor a directory`, { reason: "not-regular" });
}

async function packFile(
  ctx: Ctx,
  engine: Engine,
  { path }: FileSpec,
  { lease, store }: PackTarget,
): Promise<Packed> {
  let head: Uint8Array | undefined;
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of fileChunks(ctx, path)) {
      head ??= chunk.slice(0, SNIFF_BYTES);
      yield chunk;
    }
  };
  const { digest, size } = store
    ? await engine.content.ingest(ctx, source(), undefined, lease)
    : await measure(source());
  const descriptor = { mediaType: sniffMediaType(head ?? new Uint8Array()), digest, size };
  const open = () => (store ? engine.content.stream(digest) : unchanged(ctx, path, descriptor));
  return { descriptor, open };
}

async function measure(source: AsyncIterable<Uint8Array>): Promise<{ digest: string; size: number }> {
  const digester = createDigester();
  let size = 0;
  for await (const chunk of source) {
    digester.update(chunk);
    size += chunk.length;
  }
  return { digest: digester.digest(), size };
}

/** The file once more; it must still have the size it had. (Other bytes of that size are found out by whoever receives them.) */
async function* unchanged(ctx: Ctx, path: string, { size }: Descriptor): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of fileChunks(ctx, path)) {
    sent += chunk.length;
    if (sent > size) break;
    yield chunk;
  }
  if (sent !== size)
    throw fail("aborted", `"${path}" has changed while it was being sent`, { reason: "file-changed" });
}

async function* fileChunks(ctx: Ctx, path: string): AsyncGenerator<Uint8Array> {
  try {
    await using file = await open(path, "r");
    for (;;) {
      checkCanceled(ctx);
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafeSlow(CHUNK), 0, CHUNK);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    throw ioError(error, `cannot read "${path}"`);
  }
}

async function packDirectory(
  ctx: Ctx,
  engine: Engine,
  { path, title }: FileSpec & { title: string },
  { lease }: PackTarget,
): Promise<Packed> {
  const content = createDigester();
  const source = async function* (): AsyncGenerator<Uint8Array> {
    // Of a link to a directory the directory is meant.
    const tree = { root: "/", path: resolve(path), name: title, follow: true, filter: packable };
    for await (const chunk of tarTree(engine.sys, tree)) {
      content.update(chunk);
      yield chunk;
    }
  };
  const { digest, size } = await engine.content.ingest(
    ctx,
    parallelCompress(source(), { format: "gzip" }),
    undefined,
    lease,
  );
  const annotations = { [UNPACK]: "true", [CONTENT_DIGEST]: content.digest() };
  const descriptor = { mediaType: OCI_LAYER_GZIP, digest, size, annotations };
  return { descriptor, open: () => engine.content.stream(digest) };
}

/** Who owns a file here says nothing to whoever unpacks it; nor do pipes and devices. Errors: invalid-argument for a link that leads out. */
function packable(header: TarHeader): boolean {
  if (header.type === "char" || header.type === "block" || header.type === "fifo") return false;
  const depth = components(header.name).length - 1;
  if (header.type === "symlink" && leadsOut(header.linkName ?? new Uint8Array(), depth)) {
    throw fail(
      "invalid-argument",
      `"${Buffer.from(header.name)}" is a link that leads out of the directory to pack`,
      { reason: "link-leads-out", hint: "remove the link, or pack what it leads to" },
    );
  }
  Object.assign(header, { uid: 0, gid: 0, xattrs: new Map(), mode: (header.mode ?? 0) & PERMISSIONS });
  return true;
}
