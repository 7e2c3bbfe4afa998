/** One blob on its way to a registry: at most once at a time, from whoever has it nearest. */
import type { Ctx } from "../core/ctx.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";
import { isForeignLayerType } from "../image/media-types.ts";
import { repositoryName } from "../image/reference.ts";
import type { PushedBlob, RegistryClient } from "../registry/registry.ts";
import { addOrigins, originsOf } from "../storage/layer-variants.ts";
import { FileLock } from "../storage/lock.ts";
import { counted, stepId } from "./blob-step.ts";
import type { Engine } from "./engine.ts";
import type { LayerPlan } from "./image-source-stored.ts";

export interface BlobTarget {
  client: RegistryClient;
  reference: Reference;
}

/** Pushes of one blob into one repository that this command has begun; shared by all images it pushes. */
export class BlobPusher {
  readonly #engine: Engine;
  readonly #target: BlobTarget;
  readonly #sending = new Map<Digest, Promise<void>>();

  constructor(engine: Engine, target: BlobTarget) {
    this.#engine = engine;
    this.#target = target;
  }

  /** What the registry has then. A layer whose blob would have to be made is asked for there first. */
  async layer(ctx: Ctx, plan: LayerPlan): Promise<Descriptor> {
    const { descriptor } = plan;
    if (descriptor !== undefined && isForeignLayerType(descriptor.mediaType)) return descriptor;
    if (descriptor !== undefined && !plan.isHere && (await this.#isThere(ctx, descriptor))) return descriptor;
    const made = await plan.make(ctx);
    await this.blob(ctx, made);
    return made;
  }

  /** The blob must be in the store. */
  async blob(ctx: Ctx, descriptor: Descriptor): Promise<void> {
    let sending = this.#sending.get(descriptor.digest);
    if (sending === undefined) {
      sending = this.#send(ctx, descriptor);
      this.#sending.set(descriptor.digest, sending);
    }
    await sending;
  }

  async #isThere(ctx: Ctx, descriptor: Descriptor): Promise<boolean> {
    const how = await this.#target.client.mountBlob(ctx, descriptor.digest, this.#origins(descriptor.digest));
    if (how === undefined) return false;
    this.#arrived(ctx, descriptor, how);
    return true;
  }

  async #send(ctx: Ctx, descriptor: Descriptor): Promise<void> {
    const { digest, size: total } = descriptor;
    const { client, reference } = this.#target;
    const { sys, paths, content } = this.#engine;
    const id = stepId(digest);
    ctx.progress({ id, status: "waiting", total });
    // Of several pushes at the same time one sends, and the others find it there.
    using _lock = await FileLock.acquire(ctx, {
      sys,
      dir: paths.locks,
      name: `push-${reference.registry}-${digest}`,
    });
    const open = (): AsyncIterable<Uint8Array> =>
      counted(ctx, content.stream(digest), { id, status: "uploading", total });
    const how = await client.pushBlob(ctx, descriptor, open, this.#origins(digest));
    this.#arrived(ctx, descriptor, how);
  }

  #origins(digest: Digest): string[] {
    return originsOf(this.#engine.db, digest, this.#target.reference.registry);
  }

  #arrived(ctx: Ctx, { digest, size: total }: Descriptor, how: PushedBlob): void {
    addOrigins(this.#engine.db, repositoryName(this.#target.reference), [digest]);
    const id = stepId(digest);
    ctx.progress({ id, status: how === "uploaded" ? "done" : "exists", current: total, total });
  }
}
