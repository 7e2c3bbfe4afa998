/**
 * Images on their way between any two places: a registry, the store, an OCI layout, an archive, a directory.
 *
 * Every place is a reader, a writer or both, opened from its *transport* name ("docker://host/repo:tag", "oci:dir:tag",
 * "oci-archive:file:tag", "docker-archive:file:repo:tag", "dir:path", "berth:name", also written "containers-storage:name").
 * A copy reads the top document, decides what of it goes over, puts the blobs, then the manifests (children before
 * the index that lists them), then commits. Bytes are never re-serialised unless something in them must change.
 *
 * Worked example: `copyImage(ctx, engine, {source: "docker://localhost:5000/a:1", destination: "oci:/tmp/a:1"})` → reader.manifest
 * → writer.putBlob for config and layers → writer.putManifest → writer.commit.
 */
import type { Ctx } from "../../core/ctx.ts";
import type { ImageFormat } from "../../image/convert.ts";
import type { Descriptor, Digest, Reference } from "../../image/image.ts";
import type { FetchedManifest, PushedBlob } from "../../registry/registry.ts";

export type TransportName = "docker" | "oci" | "oci-archive" | "docker-archive" | "dir" | "berth";

/** A parsed "transport:place"; `path` is as given, the reference or tag after it apart. */
export interface Place {
  transport: TransportName;
  /** For messages: the text it was parsed from. */
  text: string;
  /** File or directory; absent for docker and berth. */
  path?: string;
  /** docker and docker-archive; fully qualified, with tag or digest. */
  reference?: Reference;
  /** oci and oci-archive: the annotation org.opencontainers.image.ref.name. */
  refName?: string;
  /** oci and archives, ":@N": the image at that position, from 0. */
  position?: number;
  /** berth: a name, an id or a digest, as given. */
  name?: string;
}

export interface ImageReader extends AsyncDisposable {
  readonly place: Place;
  /** True where the manifest is made up here because the place has none (Docker's archives): there is no digest to keep. */
  readonly madeUp: boolean;
  /** The top document, or one it lists, by digest. Verified. Errors: not-found, data-loss, those of the place. */
  manifest(ctx: Ctx, digest?: Digest): Promise<FetchedManifest>;
  /** Bytes of a config or layer; the receiver verifies size and digest. */
  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array>;
  /** Documents whose `subject` is this digest; none where the place cannot tell. */
  referrers(ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]>;
}

export interface ImageWriter extends AsyncDisposable {
  readonly place: Place;
  /**
   * The family of media types that readers of the place know: others overlook Docker's manifests in an OCI layout. What is not of it is converted,
   * unless digests are to be kept or a format is asked for. Absent: any.
   */
  readonly family?: ImageFormat;
  /** Whether it holds an index with several images. */
  readonly takesIndexes: boolean;
  /** Whether layers that their author lets be fetched from their own `urls` only are left out. */
  readonly leavesForeign: boolean;
  /** Whether documents that are attached to others (`subject`) can lie there beside them. */
  readonly takesReferrers: boolean;
  /** Verified before it counts. `open` is called at most once a try and gives the bytes from the beginning. */
  putBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    from?: Place,
  ): Promise<PushedBlob>;
  /** `top` is what the place's name will stand for; others are children of an index. */
  putManifest(
    ctx: Ctx,
    manifest: { bytes: Uint8Array; mediaType: string; digest: Digest; top: boolean },
  ): Promise<void>;
  /** Makes everything visible at once, as far as the place can. Disposed without it, nothing is left of what is ours. */
  commit(ctx: Ctx): Promise<void>;
}
