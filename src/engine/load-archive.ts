/**
 * An archive of images read once, from front to back: every regular file goes into the content store
 * under the load's lease, small documents stay in memory. So a stream needs no copy of its own on disk, and a blob
 * that the store has is not written again.
 *
 * Names in the archive are only looked up among themselves, never in a file system: a link means another
 * member. Members that are neither files, links nor directories, and names that leave the archive, are refused.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { shortId } from "../core/id.ts";
import { isDigest } from "../image/digest.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import { MAX_MANIFEST_BYTES } from "../image/manifest.ts";
import type { Lease } from "../storage/storage.ts";
import { hostileMember, memberName } from "./archive-member.ts";
import { counted } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import type { ImageLayout, StoredFile } from "./load-layout.ts";
import { type Member, tarMembers } from "./load-members.ts";

/** Documents of the formats; everything else that is wanted is a blob. */
const DOCUMENTS = new Set(["manifest.json", "index.json", "oci-layout"]);

/** Docker wrote these for versions before 1.10; they say nothing that manifest.json does not. */
const IGNORED = /^(repositories|(.*\/)?(json|VERSION))$/;

/** Hops from link to link. */
const MAX_LINKS = 8;

export class ArchiveLayout implements ImageLayout {
  readonly #engine: Engine;
  readonly #documents = new Map<string, Uint8Array>();
  readonly #files = new Map<string, StoredFile>();
  readonly #links = new Map<string, string>();

  private constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** `stream` is without compression. Errors: data-loss, invalid-argument, resource-exhausted. */
  static async read(
    ctx: Ctx,
    engine: Engine,
    stream: AsyncIterable<Uint8Array>,
    lease: Lease,
  ): Promise<ArchiveLayout> {
    const layout = new ArchiveLayout(engine);
    for await (const member of tarMembers(stream)) {
      checkCanceled(ctx);
      await layout.#take(ctx, member, lease);
    }
    return layout;
  }

  document(name: string): Uint8Array | undefined {
    return this.#documents.get(name);
  }

  file(name: string): StoredFile | undefined {
    let at = memberName(name);
    for (let hops = 0; hops < MAX_LINKS; hops++) {
      const file = this.#files.get(at);
      if (file !== undefined) return file;
      const next = this.#links.get(at);
      if (next === undefined) return undefined;
      at = next;
    }
    return undefined;
  }

  has(digest: Digest): boolean {
    return this.#engine.content.has(digest);
  }

  async *blob(_ctx: Ctx, { digest }: Descriptor): AsyncGenerator<Uint8Array, void, undefined> {
    if (!this.#engine.content.has(digest)) {
      throw fail("not-found", `the archive lacks blob "${digest}"`, { reason: "archive-incomplete" });
    }
    yield* this.#engine.content.stream(digest);
  }

  async #take(ctx: Ctx, member: Member, lease: Lease): Promise<void> {
    const { type, linkName, size } = member.entry;
    const name = memberName(Buffer.from(member.entry.name).toString());
    if (type === "directory" || name === "") return;
    if (type === "hardlink" || type === "symlink") {
      const target = Buffer.from(linkName).toString();
      const from = type === "symlink" ? `${name.slice(0, name.lastIndexOf("/") + 1)}${target}` : target;
      this.#links.set(name, memberName(target.startsWith("/") && type === "symlink" ? target : from));
      return;
    }
    if (type !== "file") throw hostileMember(name, "is neither a file, a link nor a directory");
    if (DOCUMENTS.has(name)) this.#keepDocument(name, await inMemory(member, name));
    else if (!IGNORED.test(name)) {
      this.#links.delete(name);
      this.#files.set(name, await this.#store(ctx, { name, size, member }, lease));
    }
  }

  /** Two different ones are what two readers would see two different images in. */
  #keepDocument(name: string, bytes: Uint8Array): void {
    const before = this.#documents.get(name);
    if (before !== undefined && !Buffer.from(before).equals(bytes))
      throw hostileMember(name, "is there twice");
    this.#documents.set(name, bytes);
  }

  async #store(
    ctx: Ctx,
    { name, size, member }: { name: string; size: number; member: Member },
    lease: Lease,
  ): Promise<StoredFile> {
    const named = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/.exec(name);
    const digest: Digest = named === null ? "" : `${named[1]}:${named[2]}`;
    const expected = isDigest(digest) ? { digest, size } : undefined;
    const id = shortId(named?.[2] ?? name.replace(/\/layer\.tar$/, ""));
    const content = counted(ctx, member.content(), { id, status: "downloading", total: size });
    return await this.#engine.content.ingest(ctx, content, expected, lease);
  }
}

async function inMemory(member: Member, name: string): Promise<Uint8Array> {
  if (member.entry.size > MAX_MANIFEST_BYTES) {
    throw fail("resource-exhausted", `"${name}" in the archive is ${member.entry.size} bytes`, {
      reason: "document-too-large",
    });
  }
  const parts: Uint8Array[] = [];
  for await (const chunk of member.content()) parts.push(chunk.slice());
  return Buffer.concat(parts);
}
