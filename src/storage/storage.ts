/**
 * The store: blobs as received, layers unpacked for overlayfs, names of images, all of it described in SQLite.
 *
 * Vocabulary: *content* is bytes by digest under `blobs/sha256/…`. A *layer* is one unpacked
 * changeset at `layers/<chain-id hex>/diff`, keyed by its chainId. A *root file system* is a stack of layers
 * with a private upper directory, mounted for one container. A *lease* is a row saying that a
 * process (pid and start time) is busy with something temporary; when that process is gone any later command undoes it.
 *
 * Worked example (pull): for each layer `content.ingest` and `layers.apply` run on one stream; when all
 * are there `images.put` makes the image visible in one transaction. (run): `rootfs.create`,
 * `rootfs.mount`, …, `rootfs.unmount`, `rootfs.remove`.
 *
 * Errors: not-found, already-exists, data-loss (digest or size mismatch), resource-exhausted
 * (disk full: nothing is left behind), in-use. All operations are safe among many processes.
 */
import type { Ctx } from "../core/ctx.ts";
import type { Descriptor, Digest, ImageConfig, Manifest, Platform } from "../image/image.ts";

export interface LayerRecord {
  chainId: Digest;
  diffId: Digest;
  parent?: Digest;
  /** The blob it came from, if it came from one and that blob is still kept. */
  blob?: Descriptor;
  /** Bytes of regular files, unpacked. */
  size: number;
  created: string;
}

export interface ImageRecord {
  /** Digest of the config. */
  id: Digest;
  /** Digest of the manifest it was stored with. */
  manifestDigest: Digest;
  manifest: Manifest;
  config: ImageConfig;
  /** Fully qualified names with tag, "docker.io/library/alpine:3.20"; empty for a dangling image. */
  names: string[];
  /** "docker.io/library/alpine@sha256:…": what it was pulled or pushed as. */
  repoDigests: string[];
  created: string;
  /** Sum of the unpacked layers, bytes. */
  size: number;
}

export interface ContentStore {
  has(digest: Digest): boolean;
  /** Absolute path of the blob's file. Errors: not-found. */
  path(digest: Digest): string;
  size(digest: Digest): number;
  /** Whole small blob (a manifest, a config). Errors: not-found, data-loss, resource-exhausted over `limit` bytes. */
  read(digest: Digest, limit?: number): Uint8Array;
  /** The blob as a stream of chunks (1 MiB), for push and save. */
  stream(digest: Digest): AsyncIterable<Uint8Array>;
  /**
   * Stores the stream as a blob. `expected` is verified (size before digest) before the blob gets its
   * name; without it the digest is computed. Idempotent: an existing blob is not written again
   * (the stream is then not read). Single flight across processes: a second ingest of the same
   * expected digest waits for the first.
   */
  ingest(
    ctx: Ctx,
    source: AsyncIterable<Uint8Array>,
    expected?: { digest: Digest; size?: number },
  ): Promise<{ digest: Digest; size: number }>;
}

export interface ApplyRequest {
  parent?: Digest;
  /** Verified against the uncompressed tar when given. */
  diffId?: Digest;
  /** Compressed bytes of the layer. */
  source: AsyncIterable<Uint8Array>;
  /** When given, the bytes are also kept as this blob and verified against it. */
  blob?: Descriptor;
  /** Reports compressed bytes consumed so far. */
  onBytes?: (bytes: number) => void;
}

export interface LayerStore {
  get(chainId: Digest): LayerRecord | undefined;
  list(): LayerRecord[];
  /** Directory that overlayfs takes as a lower. */
  diffPath(chainId: Digest): string;
  /** The stack from top to bottom. Errors: not-found if one is missing. */
  stack(chainId: Digest): LayerRecord[];
  /**
   * Fetch, verify, inflate and unpack in one pass, in a sandboxed child. Existing chainId: returns
   * it without reading. The result is durable (syncfs) when the promise resolves; a failure leaves
   * nothing. Layers of one image may be applied at the same time: each is unpacked in isolation
   * against *declared* parents and committed in order by the caller through `commitOrder`.
   */
  apply(ctx: Ctx, request: ApplyRequest): Promise<LayerRecord>;
  /** Turns an upper directory into a new layer on `parent` (commit, later build). The directory is copied, not moved. */
  fromUpper(ctx: Ctx, request: { parent?: Digest; upper: string }): Promise<LayerRecord>;
  /** The layer as a tar stream that has exactly its diffId: from the blob if kept, else made again and verified. */
  tar(ctx: Ctx, chainId: Digest): AsyncIterable<Uint8Array>;
}

export interface ImageStore {
  /**
   * By name (short names get defaults), by "name@digest", by id or unique id prefix.
   * Errors: not-found ("x: image not known"), conflict for an ambiguous prefix.
   */
  resolve(name: string): ImageRecord;
  find(name: string): ImageRecord | undefined;
  list(): ImageRecord[];
  /** Makes an image visible, atomically and durably; moves the name if it was another image's. */
  put(request: {
    manifestBytes: Uint8Array;
    manifestDigest: Digest;
    configBytes: Uint8Array;
    names?: string[];
    repoDigests?: string[];
    platform?: Platform;
  }): ImageRecord;
  tag(id: Digest, name: string): void;
  /** Returns what was untagged and deleted, for `rmi`'s output. Errors: not-found, in-use (containers or several names, unless force). */
  remove(
    name: string,
    options: { force: boolean; inUse: (id: Digest) => string[] },
  ): { untagged: string[]; deleted: Digest[] };
}

export interface RootfsRequest {
  /** Container id; owns the directory `containers/<id>/`. */
  id: string;
  /** Topmost layer, or undefined for an empty root. */
  chainId?: Digest;
}

export interface RootfsStore {
  /** Makes upper and work directories. */
  create(request: RootfsRequest): void;
  /** Mounts at `containers/<id>/merged` and returns that path; idempotent. */
  mount(request: RootfsRequest): string;
  /** Lazy only if busy; idempotent. */
  unmount(id: string): void;
  remove(id: string): void;
  upper(id: string): string;
  isMounted(id: string): boolean;
}
