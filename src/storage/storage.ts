/**
 * The store: blobs as received, layers unpacked for overlayfs, names of images, all of it described in SQLite.
 *
 * Vocabulary: *content* is bytes by digest under `blobs/sha256/…`. A *layer* is one unpacked
 * changeset at `layers/<chain-id hex>/diff`, keyed by its chainId. A *root file system* is a stack of layers
 * with a private upper directory, mounted for one container. A *lease* is a row saying that a
 * process (pid, start time, boot id) is busy with something temporary; when that process is gone any later command
 * undoes it. A lease also *protects* blobs and layers from garbage collection until an image refers to them.
 *
 * Worked example (pull): `using lease = leases.take("pull")`, then `layers.applyAll` with one request a layer, and when all
 * are there `images.put` makes the image visible in one transaction. (run): `rootfs.create`,
 * `rootfs.mount`, …, `rootfs.unmount`, `rootfs.remove`.
 *
 * Errors: not-found, already-exists, data-loss (digest or size mismatch), resource-exhausted
 * (disk full: nothing is left behind), in-use. All operations are safe among many processes.
 */
import type { TarHeader } from "../archive/tar-writer.ts";
import type { Ctx } from "../core/ctx.ts";
import type { Descriptor, Digest, ImageConfig, Index, Manifest } from "../image/image.ts";

export interface LayerRecord {
  chainId: Digest;
  diffId: Digest;
  parent?: Digest;
  /** The blob it came from, if that is still kept. */
  blob?: Descriptor;
  /** Bytes of its tar, for a layer made here (`fromUpper`): with the diffId it is its uncompressed descriptor. */
  tarSize?: number;
  /** Bytes of regular files, unpacked. */
  size: number;
  created: string;
}

export interface ImageRecord {
  /** Digest of the config. */
  id: Digest;
  /** Digest of the manifest it was stored with. */
  manifestDigest: Digest;
  /** Read and parsed at first use: `run` and `images` never look at it. Errors: data-loss, not-found. */
  readonly manifest: Manifest;
  /** Parsed at first use. */
  readonly config: ImageConfig;
  /** Topmost layer; undefined for an image without layers. What `rootfs.create` wants. */
  chainId?: Digest;
  /** Fully qualified names with tag, "docker.io/library/alpine:3.20"; empty for a dangling image. */
  names: string[];
  /** "docker.io/library/alpine@sha256:…": what it was pulled or pushed as. */
  repoDigests: string[];
  /** As in the config; "0001-01-01T00:00:00Z" where it says nothing. */
  created: string;
  /** Sum of the unpacked layers, bytes. */
  size: number;
  /** Root of the additional store that it is in; absent for an image of this store. */
  additionalStore?: string;
}

/** What a garbage collection took away. */
export interface Freed {
  /** Chain ids. */
  layers: Digest[];
  blobs: Digest[];
  /** Bytes of the blobs and of the unpacked layers. */
  bytes: number;
}

/**
 * Disposable; releasing twice is harmless. What a lease protects is a root of garbage collection
 * until it is released or its process is gone.
 */
export interface Lease extends Disposable {
  readonly id: string;
  protect(kind: "blob" | "layer", digest: Digest): void;
  release(): void;
}

/**
 * Bytes on their way into the store. A function can begin anywhere: it is called once, with the offset to go on from, where an
 * earlier attempt at the same blob has left its beginning; what it fails after stays for the next one. Its chunks are each their own
 * memory and the receiver's, which frees it without waiting for the collector: a layer's worth of garbage comes in a second.
 */
export type ByteSource = AsyncIterable<Uint8Array> | ((offset: number) => AsyncIterable<Uint8Array>);

export interface ContentStore {
  has(digest: Digest): boolean;
  /** Absolute path of the blob's file. Errors: not-found. */
  path(digest: Digest): string;
  /** Errors: not-found. */
  size(digest: Digest): number;
  /** Whole small blob (a manifest, a config). Errors: not-found, data-loss, resource-exhausted over `limit` bytes (default 8 MiB). */
  read(digest: Digest, limit?: number): Uint8Array;
  /** The blob as a stream of chunks (1 MiB), for push and save; not verified again. Errors: not-found. */
  stream(digest: Digest): AsyncIterable<Uint8Array>;
  /**
   * Stores the stream as a blob. `expected` is verified (size before digest) before the blob gets its
   * name; without it the digest is computed (sha256). Idempotent: an existing blob is not written again
   * (the stream is then not read). Single flight across processes: a second ingest of the same
   * expected digest waits for the first. `lease` protects the blob afterwards; without one the
   * process's own does, until the process ends, so a server passes its own.
   */
  ingest(
    ctx: Ctx,
    source: ByteSource,
    expected?: { digest: Digest; size?: number },
    lease?: Lease,
  ): Promise<{ digest: Digest; size: number }>;
}

export interface ApplyRequest {
  /** Chain id of the layer below; it may still be on its way in this process (see {@link LayerStore.apply}). */
  parent?: Digest;
  /** Verified against the uncompressed tar when given. Without it single flight and "already there" cannot work. */
  diffId?: Digest;
  /** Compressed bytes of the layer; not touched if the layer or its blob is there already. */
  source: ByteSource;
  /**
   * What the bytes are verified against. They are always kept as a blob, since nothing else gives exactly this tar
   * again; without a descriptor its digest, size and media type are found out (see the record's `blob`).
   */
  blob?: Descriptor;
  /** Reports compressed bytes consumed so far. */
  onBytes?: (bytes: number) => void;
  /** As for {@link ContentStore.ingest}. */
  lease?: Lease;
}

export interface UpperRequest {
  parent?: Digest;
  upper: string;
  lease?: Lease;
  /** False for an entry that does not become part of the layer. */
  filter?: (header: TarHeader) => boolean;
}

export interface LayerStore {
  get(chainId: Digest): LayerRecord | undefined;
  list(): LayerRecord[];
  /** Directory that overlayfs takes as a lower. */
  diffPath(chainId: Digest): string;
  /** The whole stack from top to bottom. Errors: not-found if one is missing. */
  stack(chainId: Digest): LayerRecord[];
  /**
   * Directories of the layers that show, topmost first: the stack down to a layer that hides all below it
   * (".wh..wh..opq" at its top), which overlayfs itself would not see. Errors: not-found if one is missing.
   */
  lowers(chainId: Digest): string[];
  /**
   * Fetch, verify, inflate and unpack in one pass, in a sandboxed child. Existing chainId: returns
   * it without reading. The result is durable (syncfs) when the promise resolves; a failure leaves
   * nothing. Layers of one image may be applied at the same time, started bottom first: each is unpacked
   * on its own and becomes visible only after its parent (an apply of the parent that runs in this
   * process is waited for; if it fails, so does this one). The result is what unpacking it over its parents into one
   * directory would show: names lead through links of lower layers that lead to directories, hard links to files of lower
   * layers find them (those few layers are unpacked twice), directories that are not listed look as they do below.
   */
  apply(ctx: Ctx, request: ApplyRequest): Promise<LayerRecord>;
  /**
   * {@link apply} for a whole image, bottom first, `concurrency` at a time (default: one a core, at
   * least 2). `parent` is filled in from the diffIds. The first failure stops the others and is thrown when all have stopped.
   */
  applyAll(
    ctx: Ctx,
    requests: (ApplyRequest & { diffId: Digest })[],
    concurrency?: number,
  ): Promise<LayerRecord[]>;
  /** Turns an upper directory into a new layer on `parent` (commit, later build). The directory is copied, not moved. */
  fromUpper(ctx: Ctx, request: UpperRequest): Promise<LayerRecord>;
  /** The layer as a tar stream that has exactly its diffId: from the blob if kept, else made again. Errors at the end: data-loss. */
  tar(ctx: Ctx, chainId: Digest): AsyncIterable<Uint8Array>;
}

export interface PutImageRequest {
  manifestBytes: Uint8Array;
  manifestDigest: Digest;
  configBytes: Uint8Array;
  names?: string[];
  repoDigests?: string[];
}

export interface RemoveImageOptions {
  /** By id with all its names; a container in use then only loses the names of its image. */
  force: boolean;
  /** With all its names, but an image in use stays. */
  allNames?: boolean;
  /** Ids of the containers that use the image. Called inside the transaction. */
  inUse: (id: Digest) => string[];
}

export interface ImageStore {
  /**
   * By name (short names get defaults), by "name@digest", by id or unique id prefix. What means an index means
   * the image it has for this host, if that is here; its record then has the index's names and digests too. Errors: not-found ("x: image not known"), conflict for an ambiguous prefix.
   */
  resolve(name: string): ImageRecord;
  /** As `resolve`, but undefined where nothing is found or the text could not be a name. Errors: conflict. */
  find(name: string): ImageRecord | undefined;
  get(id: Digest): ImageRecord | undefined;
  /** Newest first. */
  list(): ImageRecord[];
  /**
   * Makes an image visible, atomically and durably; moves a name if it was another image's. Its
   * layers must be there. Errors: invalid-argument, data-loss (digests), not-found (a layer).
   */
  put(request: PutImageRequest): ImageRecord;
  /** Moves the name if it was another image's. Errors: not-found, invalid-argument (a name with a digest). */
  tag(id: Digest, name: string): void;
  /** Takes one name away and leaves the image. Returns the full name. Errors: not-found. */
  untag(name: string): string;
  /** Remembers what the image is known as at a registry ("repo@digest"), after a push. */
  addRepoDigest(id: Digest, repoDigest: string): void;
  /**
   * A name takes the name away, and the last name takes the image with it; an id takes the image. Layers
   * and blobs that nothing needs any more go too. An image in use is kept without names under `force`.
   * Returns what was untagged and deleted, for `rmi`'s output. Errors: not-found, in-use (containers or several names, unless force).
   */
  remove(
    name: string,
    options: RemoveImageOptions,
  ): { untagged: string[]; deleted: Digest[]; layers: Digest[] };
}

/** An index (manifest list) or an artifact, kept byte for byte. */
export interface ManifestRecord {
  /** Of its bytes. */
  digest: Digest;
  mediaType: string;
  kind: "index" | "artifact";
  /** Of an artifact: `artifactType`, else the config's media type (image-spec, "Guidelines for Artifact Usage"). */
  artifactType?: string;
  /** What it is attached to. */
  subject?: Digest;
  /** Fully qualified with tag; empty for one that is only kept because a registry has it, an index lists it or a lease protects it. */
  names: string[];
  /** "docker.io/library/alpine@sha256:…". */
  repoDigests: string[];
  /** When it came into the store, RFC 3339. */
  stored: string;
  /** Parsed at first use. Errors: data-loss. */
  readonly document: Manifest | Index;
}

export interface PutManifestRequest {
  bytes: Uint8Array;
  digest: Digest;
  mediaType: string;
  names?: string[];
  repoDigests?: string[];
}

/**
 * Documents that are stored but are no runnable image of their own. What an index lists may be missing here (a sparse index);
 * what is there is kept as long as the index is: manifests of images (also rows of `images` where their layers were unpacked), their
 * configs and layers as blobs. Names share one name space with images: giving a name here takes it from an image, and the other way round.
 */
export interface ManifestStore {
  get(digest: Digest): ManifestRecord | undefined;
  /** By name (short names get defaults), "name@digest", digest, or unique prefix of the digest's hex. Errors: conflict for an ambiguous prefix. */
  find(name: string): ManifestRecord | undefined;
  /** As `find`. Errors: not-found. */
  resolve(name: string): ManifestRecord;
  /** Newest first. */
  list(kind?: ManifestRecord["kind"]): ManifestRecord[];
  /**
   * Makes the document visible, atomically and durably. Blobs it needs are put before, under a lease.
   * Errors: invalid-argument (neither index nor manifest), data-loss (digest).
   */
  put(request: PutManifestRequest): ManifestRecord;
  /** Moves the name if it was another's. Errors: not-found, invalid-argument. */
  tag(digest: Digest, name: string): void;
  /**
   * Takes a name away. With its last one goes a document that is known at no registry, attached to nothing and
   * listed nowhere: nobody could find it again. Returns the full name. Errors: not-found.
   */
  untag(name: string): string;
  /** Remembers what the document is known as at a registry ("repo@digest"), or where one that it lists can be fetched. */
  addRepoDigest(digest: Digest, repoDigest: string): void;
  /**
   * With all its names, and everything that nothing else needs. Images that it lists stay, except those without a name that no
   * other index lists and for which `withImage` is true (called inside the transaction). Errors: not-found.
   */
  remove(digest: Digest, withImage?: (id: Digest) => boolean): RemovedManifest;
  /** Ids of the images here that the index lists, also through an index within it. */
  members(digest: Digest): Digest[];
  /** Ids of all images that any index lists: without a name of their own they are not dangling. */
  allMembers(): Set<Digest>;
  /** Repositories ("docker.io/library/alpine") where a manifest of this digest is known to be. */
  sources(digest: Digest): string[];
}

/** What went with a document. */
export interface RemovedManifest {
  /** Full names. */
  untagged: string[];
  /** Ids. */
  images: Digest[];
  /** Chain ids. */
  layers: Digest[];
}

export interface RootfsRequest {
  /** Container id; owns the directory `containers/<id>/`. */
  id: string;
  /** Topmost layer, or undefined for an empty root. */
  chainId?: Digest;
  /** Never sync the upper directory: for containers that are removed when they end. */
  volatile?: boolean;
}

export interface RootfsStore {
  /** Makes the directories `upper`, `work` and `merged`; idempotent. Errors: not-found (the layer). */
  create(request: RootfsRequest): void;
  /** Mounts at `containers/<id>/merged` and returns that path; idempotent. */
  mount(request: RootfsRequest): string;
  /** Lazy only if busy; idempotent. */
  unmount(id: string): void;
  /** Unmounts and deletes `containers/<id>/` with all that is in it; idempotent. */
  remove(id: string): void;
  upper(id: string): string;
  merged(id: string): string;
  isMounted(id: string): boolean;
}
