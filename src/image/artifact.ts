/**
 * Artifacts: manifests whose config describes no file system to run (image-spec manifest.md, "Guidelines for Artifact Usage"), with
 * files as their layers in the way of oras and podman: the annotation org.opencontainers.image.title names the file, and a
 * directory is a compressed tar that says it wants to be unpacked.
 */
import { fail } from "../core/error.ts";
import { digestHex, digestAlgorithm, excerpt } from "./digest.ts";
import type { Descriptor, Digest, Manifest } from "./image.ts";
import { isImageConfigType, OCI_EMPTY, OCI_MANIFEST } from "./media-types.ts";

export const EMPTY_BYTES: Uint8Array = new TextEncoder().encode("{}");

/** The descriptor of `{}`, which carries its bytes itself (image-spec, "Guidance for an Empty Descriptor"). */
export const EMPTY: Descriptor = {
  mediaType: OCI_EMPTY,
  digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
  size: 2,
  data: "e30=",
};

export const UNKNOWN_ARTIFACT = "application/vnd.unknown.artifact.v1";
export const TITLE = "org.opencontainers.image.title";
export const CREATED = "org.opencontainers.image.created";
/** Says of a tar that it stands for the directory of its title. */
export const UNPACK = "io.deis.oras.content.unpack";
/** Digest of the tar of such a directory before compression. */
export const CONTENT_DIGEST = "io.deis.oras.content.digest";

const MAX_TITLE = 4096;
const MAX_NAME = 255;
const MAX_DEPTH = 64;

export interface ArtifactParts {
  artifactType: string;
  config?: Descriptor;
  files: Descriptor[];
  annotations: Record<string, string>;
  subject?: Descriptor;
}

/** The manifest's bytes; the same parts give the same bytes. An artifact without files has the empty layer. */
export function artifactManifest({
  artifactType,
  config,
  files,
  annotations,
  subject,
}: ArtifactParts): Uint8Array {
  const { mediaType, digest, size } = subject ?? EMPTY;
  const keys = Object.keys(annotations).toSorted();
  const document = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType,
    config: config ?? EMPTY,
    layers: files.length === 0 ? [EMPTY] : files,
    ...(subject === undefined ? {} : { subject: { mediaType, digest, size } }),
    ...(keys.length === 0 ? {} : { annotations: Object.fromEntries(keys.map((k) => [k, annotations[k]])) }),
  };
  return new TextEncoder().encode(JSON.stringify(document));
}

/** The manifest with more files, all else in it as it was; the empty layer of one without files goes. */
export function withFiles(bytes: Uint8Array, files: Descriptor[]): Uint8Array {
  const document = JSON.parse(new TextDecoder().decode(bytes)) as { layers?: Descriptor[] };
  const layers = (document.layers ?? []).filter((layer) => layer.mediaType !== OCI_EMPTY);
  return new TextEncoder().encode(JSON.stringify({ ...document, layers: [...layers, ...files] }));
}

export function isArtifact({ config }: Manifest): boolean {
  // Very old image tools wrote the generic type.
  return !isImageConfigType(config.mediaType) && config.mediaType !== "application/octet-stream";
}

/** What it is: its own word, else its config's media type. */
export function artifactTypeOf({ artifactType = "", config }: Manifest): string {
  return artifactType === "" ? config.mediaType : artifactType;
}

/** One layer of an artifact as a file or directory to be. */
export interface ArtifactFile {
  /** Path below wherever it is put, checked: no component is empty, "." or "..". "" for a directory's contents without a name. */
  path: string;
  descriptor: Descriptor;
  /** A tar to unpack. */
  directory: boolean;
  /** Digest of the tar before compression, where the artifact says it. */
  content?: Digest;
}

/**
 * The files of an artifact in their order; a layer without a title is named by its digest. Errors: invalid-argument for a
 * title that leads out of the directory it is put in, for two files of one name, and for a file where another needs a directory.
 */
export function artifactFiles(manifest: Manifest): ArtifactFile[] {
  const files = manifest.layers.filter((layer) => layer.mediaType !== OCI_EMPTY).map(fileOf);
  const byPath = new Map<string, ArtifactFile>();
  for (const file of files) {
    const same = byPath.get(file.path);
    if (same !== undefined && same.descriptor.digest !== file.descriptor.digest) throw twice(file.path);
    byPath.set(file.path, file);
  }
  for (const path of byPath.keys()) {
    const parts = path.split("/");
    for (let end = 1; end < parts.length; end++) {
      if (byPath.has(parts.slice(0, end).join("/"))) throw twice(parts.slice(0, end).join("/"));
    }
    if (path === "" && byPath.size > 1) throw twice(".");
  }
  return [...byPath.values()];
}

function fileOf(descriptor: Descriptor): ArtifactFile {
  const { annotations = {}, digest } = descriptor;
  const title = annotations[TITLE] ?? "";
  const directory = annotations[UNPACK] === "true";
  const content = annotations[CONTENT_DIGEST];
  const path =
    title === "" ? `${digestAlgorithm(digest)}-${digestHex(digest)}` : checkedTitle(title, directory);
  return { path, descriptor, directory, ...(directory && content !== undefined ? { content } : {}) };
}

function twice(path: string): Error {
  return fail("invalid-argument", `the artifact has more than one file for "${excerpt(path)}"`, {
    reason: "title-twice",
    hint: "extract one of them by its digest",
  });
}

/** The title as a relative path without "." and empty components. Errors: invalid-argument. */
export function checkedTitle(title: string, directory = false): string {
  const bad = (why: string): Error =>
    fail("invalid-argument", `the artifact's file name "${excerpt(title)}" ${why}`, { reason: "title" });
  if (title.length > MAX_TITLE) throw bad("is too long");
  if (/\p{Cc}/u.test(title)) throw bad("has control characters");
  if (title.startsWith("/") || /^[A-Za-z]:[\\/]/.test(title)) throw bad("is an absolute path");
  const parts = title.split(/\/+/).filter((part) => part !== "" && part !== ".");
  if (parts.some((part) => part === ".." || /(^|\\)\.\.(\\|$)/.test(part)))
    throw bad("leads out of its directory");
  if (parts.some((part) => Buffer.byteLength(part) > MAX_NAME)) throw bad("is too long");
  if (parts.length > MAX_DEPTH) throw bad("is nested too deeply");
  if (parts.length === 0 && !directory) throw bad("names no file");
  return parts.join("/");
}

const MAGIC: [mediaType: string, magic: string][] = [
  ["application/gzip", "1f8b08"],
  ["application/zstd", "28b52ffd"],
  ["application/x-xz", "fd377a585a00"],
  ["application/x-bzip2", "425a68"],
  ["application/zip", "504b0304"],
  ["application/pdf", "255044462d"],
  ["image/png", "89504e470d0a1a0a"],
  ["image/jpeg", "ffd8ff"],
  ["image/gif", "47494638"],
  ["application/wasm", "0061736d"],
  ["application/x-executable", "7f454c46"],
];

/** Bytes of a file's beginning that {@link sniffMediaType} wants to see. */
export const SNIFF_BYTES = 512;

/** A media type for a file whose owner gives none, by its first bytes; "application/octet-stream" for what is not recognised. */
export function sniffMediaType(head: Uint8Array): string {
  const hex = Buffer.from(head.subarray(0, 8)).toString("hex");
  const known = MAGIC.find(([, magic]) => hex.startsWith(magic));
  if (known !== undefined) return known[0];
  const isTar = head.length >= 262 && Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
  if (isTar) return "application/x-tar";
  return isText(head) ? "text/plain" : "application/octet-stream";
}

function isText(head: Uint8Array): boolean {
  // Tab to carriage return, and escape, which begins colours.
  if (head.some((byte) => byte < 32 && (byte < 9 || byte > 13) && byte !== 27)) return false;
  try {
    // A character may be cut in two at the end.
    new TextDecoder("utf-8", { fatal: true }).decode(head, { stream: true });
    return true;
  } catch {
    return false;
  }
}
