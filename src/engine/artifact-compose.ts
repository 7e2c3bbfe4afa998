/** An artifact made of files: its manifest, and all the blobs that this names. */
import type { Ctx } from "../core/ctx.ts";
import { now } from "../core/time.ts";
import { artifactManifest, CREATED, EMPTY, EMPTY_BYTES, UNKNOWN_ARTIFACT } from "../image/artifact.ts";
import { digestOf } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { OCI_EMPTY } from "../image/media-types.ts";
import {
  checkMediaType,
  packConfig,
  type Packed,
  packFiles,
  type PackRequest,
  type PackTarget,
} from "./artifact-files.ts";
import type { Engine } from "./engine.ts";

export interface ComposeRequest {
  pack: PackRequest;
  /** Its artifactType; "application/vnd.unknown.artifact.v1" when absent. */
  type?: string | undefined;
  /** "FILE" or "FILE:TYPE"; the empty descriptor when absent. */
  config?: string | undefined;
  /** Of the manifest. */
  annotations: Record<string, string>;
  subject?: Descriptor;
}

export interface Composed {
  bytes: Uint8Array;
  digest: Digest;
  /** Each once. */
  blobs: Packed[];
}

/** Errors: as `packFiles`. */
export async function compose(
  ctx: Ctx,
  engine: Engine,
  request: ComposeRequest,
  target: PackTarget,
): Promise<Composed> {
  const { pack, type, config, subject } = request;
  const artifactType = type === undefined ? UNKNOWN_ARTIFACT : checkMediaType(type);
  const files = await packFiles(ctx, engine, pack, target);
  const own = config === undefined ? undefined : await packConfig(ctx, engine, config, target);
  const bytes = artifactManifest({
    artifactType,
    ...(own === undefined ? {} : { config: own.descriptor }),
    files: files.map((file) => file.descriptor),
    annotations: { [CREATED]: created(), ...request.annotations },
    ...(subject === undefined ? {} : { subject }),
  });
  const blobs = own === undefined || files.length === 0 ? [emptyBlob(), ...files] : files;
  const all = own === undefined ? blobs : [own, ...blobs];
  const unique = new Map(all.map((blob) => [blob.descriptor.digest, blob]));
  return { bytes, digest: digestOf(bytes), blobs: [...unique.values()] };
}

/** Now, or what SOURCE_DATE_EPOCH says, so that the same files give the same digest. */
function created(): string {
  const epoch = process.env["SOURCE_DATE_EPOCH"];
  if (epoch === undefined || !/^\d{1,11}$/.test(epoch)) return now();
  return new Date(Number(epoch) * 1000).toISOString().replace(".000Z", "Z");
}

function emptyBlob(): Packed {
  const open = async function* (): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    yield EMPTY_BYTES;
  };
  return { descriptor: EMPTY, open };
}

/** Puts the blobs that are no files into the store: those are there already. */
export async function storeEmpty(
  ctx: Ctx,
  engine: Engine,
  { blobs }: Composed,
  target: PackTarget,
): Promise<void> {
  for (const { descriptor, open } of blobs) {
    if (descriptor.mediaType !== OCI_EMPTY) continue;
    await engine.content.ingest(ctx, open(), descriptor, target.lease);
  }
}
