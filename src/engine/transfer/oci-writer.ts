/** `oci:DIR[:REF]` as a destination (image-spec image-layout.md): images are added to what the layout has. */
import type { Ctx } from "../../core/ctx.ts";
import { fail } from "../../core/error.ts";
import { asObject, invalid, parseDocument } from "../../image/document.ts";
import type { Descriptor, Digest } from "../../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../../image/manifest.ts";
import { OCI_INDEX } from "../../image/media-types.ts";
import type { PushedBlob } from "../../registry/registry.ts";
import type { Sys } from "../../sys/sys.ts";
import { BlobDirectory, blobName } from "./blob-directory.ts";
import { REF_NAME } from "./oci-index.ts";
import { ASIDE } from "./staged-file.ts";
import type { ImageWriter, Place } from "./transfer.ts";

export const LAYOUT_FILE = "oci-layout";
export const LAYOUT_BYTES = new TextEncoder().encode('{"imageLayoutVersion":"1.0.0"}');

type PutManifest = Parameters<ImageWriter["putManifest"]>[1];

export class OciWriter implements ImageWriter {
  readonly place: Place;
  readonly family = "oci";
  readonly takesIndexes = true;
  readonly leavesForeign = true;
  readonly takesReferrers = true;
  readonly #directory: BlobDirectory;
  readonly #entries: object[] = [];
  #isCommitted = false;

  private constructor(place: Place, directory: BlobDirectory) {
    this.place = place;
    this.#directory = directory;
  }

  /** Errors: invalid-argument for a directory that holds something else. */
  static async open(ctx: Ctx, sys: Sys, place: Place): Promise<OciWriter> {
    if (place.position !== undefined) {
      throw fail("invalid-argument", `"${place.text}": a position cannot be written to`, {
        reason: "invalid-place",
      });
    }
    const directory = await BlobDirectory.open(ctx, sys, place.path as string, "shared");
    const writer = new OciWriter(place, directory);
    try {
      checkIsLayout(directory);
      if (directory.sizeOf(LAYOUT_FILE) === undefined) await directory.write(LAYOUT_FILE, LAYOUT_BYTES);
      return writer;
    } catch (error) {
      await writer[Symbol.asyncDispose]();
      throw error;
    }
  }

  async putBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
  ): Promise<PushedBlob> {
    const exists = await this.#directory.put(ctx, blobName(descriptor.digest), descriptor, open);
    return exists ? "exists" : "uploaded";
  }

  async putManifest(ctx: Ctx, { bytes, mediaType, digest, top }: PutManifest): Promise<void> {
    const descriptor = { mediaType, digest, size: bytes.length };
    await this.putBlob(ctx, descriptor, async function* () {
      yield bytes;
    });
    // Children are found through their index; what is attached to an image is found nowhere but in the list.
    if (top) this.#entries.push(this.#named(descriptor));
    else if (hasSubject(bytes)) this.#entries.push(descriptor);
  }

  #named(descriptor: Descriptor): object {
    const { refName } = this.place;
    return refName === undefined ? descriptor : { ...descriptor, annotations: { [REF_NAME]: refName } };
  }

  async commit(ctx: Ctx): Promise<void> {
    await this.#directory.exclusive(ctx, LAYOUT_FILE, async () => {
      const index = readIndex(this.#directory);
      const manifests = this.#entries.reduce<unknown[]>(addEntry, index["manifests"] as unknown[]);
      await this.#directory.write(
        "index.json",
        new TextEncoder().encode(JSON.stringify({ ...index, manifests })),
      );
    });
    this.#isCommitted = true;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#directory.close(this.#isCommitted);
    return Promise.resolve();
  }
}

/** Nothing of somebody else's is written into: the directory is empty or a layout. */
function checkIsLayout(directory: BlobDirectory): void {
  if (directory.sizeOf(LAYOUT_FILE) !== undefined || directory.sizeOf("index.json") !== undefined) return;
  const names = directory.names().filter((name) => name !== "blobs" && !name.startsWith(ASIDE));
  if (names.length === 0) return;
  throw fail("already-exists", `"${directory.path}" has files in it and is no OCI layout`, {
    reason: "not-a-layout",
    hint: "name an empty or a new directory",
  });
}

function readIndex(directory: BlobDirectory): Record<string, unknown> {
  if (directory.sizeOf("index.json") === undefined) {
    return { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] };
  }
  const bytes = directory.root.readFile("index.json", MAX_MANIFEST_BYTES);
  // As text, so that what we do not know about stays in it.
  const { fields } = parseDocument("index.json", bytes, MAX_MANIFEST_BYTES);
  const manifests = fields["manifests"] ?? [];
  if (!Array.isArray(manifests)) throw invalid("index.json", "manifests is not a list");
  for (const entry of manifests) asObject("index.json", "manifests", entry);
  return { ...fields, manifests };
}

interface Entry {
  digest?: Digest;
  annotations?: Record<string, unknown>;
}

/** The name moves to the new entry; what had it stays without one, as skopeo leaves it. The same digest is listed once a name. */
function addEntry(manifests: unknown[], added: Entry): unknown[] {
  const name = added.annotations?.[REF_NAME];
  const others = manifests.flatMap((value) => {
    const entry = value as Entry;
    const itsName = entry.annotations?.[REF_NAME];
    if (entry.digest === added.digest && (itsName === undefined || itsName === name)) return [];
    return name !== undefined && itsName === name ? [withoutName(entry)] : [entry];
  });
  const isListed = name === undefined && others.some((entry) => entry.digest === added.digest);
  return isListed ? others : [...others, added];
}

function withoutName(entry: Entry): Entry {
  const { [REF_NAME]: _, ...annotations } = entry.annotations ?? {};
  const { annotations: __, ...rest } = entry;
  return Object.keys(annotations).length === 0 ? rest : { ...rest, annotations };
}

function hasSubject(bytes: Uint8Array): boolean {
  const document = JSON.parse(new TextDecoder().decode(bytes)) as { subject?: unknown };
  return document.subject !== undefined && document.subject !== null;
}
