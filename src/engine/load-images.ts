/** Which images an archive or directory has, in each of the formats: Docker's manifest.json, the OCI layout, skopeo's `dir:`. */
import { detectCompression } from "../archive/compress.ts";
import type { Compression } from "../archive/archive.ts";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { digestOf, excerpt } from "../image/digest.ts";
import { optionalList, optionalString, optionalStrings, asObject, invalid } from "../image/document.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "../image/config.ts";
import type { Descriptor, Digest, Index, Manifest, Platform } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, MAX_NESTING, parseManifest } from "../image/manifest.ts";
import {
  COSIGN_ARTIFACT,
  DOCKER_CONFIG,
  DOCKER_LAYER,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  isIndexType,
  isSigstoreBundleType,
} from "../image/media-types.ts";
import { selectPlatform } from "../image/platform.ts";
import { formatReference, isAttachmentTag, parseReference, withDefaultTag } from "../image/reference.ts";
import type { SignedDocument } from "../trust/trust.ts";
import { type ImageSource, readVerified } from "./image-source.ts";
import type { ImageLayout, StoredFile } from "./load-layout.ts";

export interface FoundImage {
  source: ImageSource;
  names: string[];
  /** What it can be taken for; an archive of docker 25 describes each image in both ways. */
  formats: ("oci" | "docker" | "dir")[];
  /** oci: what index.json calls it. */
  refName?: string;
  /** The manifest, then the indexes on the way to it, innermost first; index.json itself is none of them. */
  documents: SignedDocument[];
}

const REF_NAME = "org.opencontainers.image.ref.name";

/** Errors: invalid-argument (no image, malformed), not-found (incomplete), data-loss. */
export async function findImages(ctx: Ctx, layout: ImageLayout, platform?: Platform): Promise<FoundImage[]> {
  const index = layout.document("index.json");
  const manifest = layout.document("manifest.json");
  const docker = manifest === undefined ? undefined : parseJson("manifest.json", manifest);
  if (index !== undefined) return await ociImages(ctx, layout, { index, docker, platform });
  if (Array.isArray(docker)) return await dockerImages(ctx, layout, docker);
  if (manifest !== undefined) return [found("dir", sourceOf(layout, manifest), [])];
  throw fail(
    "invalid-argument",
    "this is no archive of images: it has neither manifest.json nor index.json",
    {
      reason: "not-an-archive",
      hint: 'a root file system is imported with "berth import"',
    },
  );
}

function found(format: FoundImage["formats"][number], source: ImageSource, names: string[]): FoundImage {
  const { manifestBytes: bytes, manifestDigest: digest } = source;
  return { source, names, formats: [format], documents: [{ bytes, digest }] };
}

function parseJson(what: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalid(what, `not JSON in UTF-8 (${(error as Error).message})`, error);
  }
}

function sourceOf(layout: ImageLayout, bytes: Uint8Array, mediaType?: string): ImageSource {
  const manifest = parseManifest(bytes, mediaType);
  if (isIndex(manifest)) throw invalid("manifest", "it is an index");
  const manifestDigest = digestOf(bytes);
  const blob = (ctx: Ctx, descriptor: Descriptor) => layout.blob(ctx, descriptor);
  return { manifest, manifestBytes: bytes, manifestDigest, what: manifestDigest, blob };
}

// --- OCI layout (image-spec image-layout.md)

async function ociImages(
  ctx: Ctx,
  layout: ImageLayout,
  { index, docker, platform }: { index: Uint8Array; docker: unknown; platform: Platform | undefined },
): Promise<FoundImage[]> {
  const top = parseManifest(index);
  if (!isIndex(top)) throw invalid("index.json", "it is not an image index");
  const images = new Map<string, FoundImage>();
  for (const group of groups(top)) {
    const first = group[0] as Descriptor;
    const resolved = await resolveEntry(ctx, layout, { index: { ...top, manifests: group }, platform });
    // By what the name stands for: of one image in two indexes each is asked about by itself.
    const { digest } = resolved.documents.at(-1) as SignedDocument;
    const entries = dockerEntries(layout, docker, resolved.source.manifest);
    const known = images.get(digest) ?? {
      ...resolved,
      names: entries.flatMap((entry) => entry.repoTags.map(repoTag)),
      formats: entries.length > 0 ? ["oci", "docker"] : ["oci"],
      ...refNameOf(first),
    };
    known.names = [...new Set([...known.names, ...nameOf(first)])];
    images.set(digest, known);
  }
  if (images.size === 0) throw invalid("index.json", "it lists no image");
  return [...images.values()];
}

/** Entries of one name belong together: they are platforms of one image. So do entries without a name that have platforms. */
function groups(index: Index): Descriptor[][] {
  const byName = new Map<string, Descriptor[]>();
  const images = index.manifests.filter((entry) => !isAttached(entry));
  for (const entry of images) {
    const name = annotatedName(entry) ?? (entry.platform === undefined ? entry.digest : "");
    byName.set(name, [...(byName.get(name) ?? []), entry]);
  }
  return [...byName.values()];
}

/** Attestations of BuildKit, signatures of cosign by tag or as bundles. */
function isAttached({ annotations, artifactType = "", platform }: Descriptor): boolean {
  const refName = annotations?.[REF_NAME] ?? "";
  return (
    annotations?.["vnd.docker.reference.type"] !== undefined ||
    (platform?.os === "unknown" && platform.architecture === "unknown") ||
    isSigstoreBundleType(artifactType) ||
    artifactType === COSIGN_ARTIFACT ||
    isAttachmentTag(refName)
  );
}

function refNameOf({ annotations }: Descriptor): { refName?: string } {
  const refName = annotations?.[REF_NAME];
  return refName === undefined ? {} : { refName };
}

function annotatedName({ annotations }: Descriptor): string | undefined {
  return annotations?.["io.containerd.image.name"] ?? annotations?.[REF_NAME];
}

/** A bare tag names no image; what is no reference at all is passed over, because the annotation may hold anything. */
function nameOf(entry: Descriptor): string[] {
  const name = annotatedName(entry);
  if (name === undefined || !/[/:]/.test(name)) return [];
  try {
    const reference = withDefaultTag(parseReference(name));
    return reference.digest === undefined ? [formatReference(reference)] : [];
  } catch {
    return [];
  }
}

async function resolveEntry(
  ctx: Ctx,
  layout: ImageLayout,
  { index, platform }: { index: Index; platform: Platform | undefined },
): Promise<FoundImage> {
  let at = index;
  const indexes: SignedDocument[] = [];
  for (let depth = 0; depth <= MAX_NESTING; depth++) {
    const [only, ...more] = at.manifests;
    const isPlain =
      only !== undefined && more.length === 0 && (platform === undefined || only.platform === undefined);
    const entry = isPlain ? only : selectPlatform(at, platform);
    const bytes = await readVerified(layout.blob(ctx, entry), entry, MAX_MANIFEST_BYTES);
    if (!isIndexType(entry.mediaType)) {
      const source = { ...sourceOf(layout, bytes, entry.mediaType), manifestDigest: entry.digest };
      const image = found("oci", source, []);
      return { ...image, documents: [...image.documents, ...indexes] };
    }
    indexes.unshift({ bytes, digest: entry.digest });
    at = parseManifest(bytes, entry.mediaType) as Index;
  }
  throw invalid("index.json", `indexes are nested deeper than ${MAX_NESTING} levels`);
}

// --- Docker's manifest.json

interface DockerEntry {
  config: string;
  layers: string[];
  repoTags: string[];
}

function dockerEntry(value: unknown): DockerEntry {
  const what = "manifest.json";
  const fields = asObject(what, "entry", value);
  const config = optionalString(what, "Config", fields["Config"]);
  if (config === undefined) throw invalid(what, "an entry has no Config");
  return {
    config,
    layers: optionalStrings(what, "Layers", fields["Layers"]) ?? [],
    repoTags: optionalStrings(what, "RepoTags", fields["RepoTags"]) ?? [],
  };
}

async function dockerImages(ctx: Ctx, layout: ImageLayout, entries: unknown[]): Promise<FoundImage[]> {
  const images: FoundImage[] = [];
  for (const entry of entries.map(dockerEntry)) {
    const config = { mediaType: DOCKER_CONFIG, ...memberOf(layout, entry.config) };
    const diffIds = parseConfig(await readVerified(layout.blob(ctx, config), config, MAX_CONFIG_BYTES)).rootfs
      .diff_ids;
    const layers: Descriptor[] = [];
    for (const [i, name] of entry.layers.entries())
      layers.push(await layerDescriptor(ctx, layout, memberOf(layout, name, diffIds[i])));
    const manifest = { schemaVersion: 2, mediaType: DOCKER_MANIFEST, config, layers };
    const bytes = new TextEncoder().encode(JSON.stringify(manifest));
    const source = { ...sourceOf(layout, bytes), what: entry.config };
    images.push(found("docker", source, entry.repoTags.map(repoTag)));
  }
  if (images.length === 0) throw invalid("manifest.json", "it lists no image");
  return images;
}

function memberOf(layout: ImageLayout, name: string, plain?: Digest): StoredFile {
  const file = layout.file(name, plain);
  if (file !== undefined) return { digest: file.digest, size: file.size };
  throw fail("not-found", `the archive lacks "${excerpt(name)}", which its manifest.json names`, {
    reason: "archive-incomplete",
  });
}

function repoTag(text: string): string {
  return formatReference(withDefaultTag(parseReference(text)));
}

/** Docker's archives say nothing about compression: the bytes do. */
async function layerDescriptor(ctx: Ctx, layout: ImageLayout, file: StoredFile): Promise<Descriptor> {
  const descriptor = { mediaType: DOCKER_LAYER, ...file };
  for await (const chunk of layout.blob(ctx, descriptor)) {
    return { ...descriptor, mediaType: layerType(detectCompression(chunk)) };
  }
  return descriptor;
}

function layerType(compression: Compression): string {
  if (compression === "none") return DOCKER_LAYER;
  if (compression === "gzip") return DOCKER_LAYER_GZIP;
  if (compression === "zstd") return `${DOCKER_LAYER}.zstd`;
  throw fail("unimplemented", `a layer in the archive is compressed with ${compression}`, {
    reason: "compression",
  });
}

/** What manifest.json says of the image of this config; archives of docker 25 have both documents. */
function dockerEntries(layout: ImageLayout, docker: unknown, manifest: Manifest): DockerEntry[] {
  const entries = optionalList("manifest.json", "document", docker) ?? [];
  return entries
    .map(dockerEntry)
    .filter((entry) => layout.file(entry.config)?.digest === manifest.config.digest);
}
