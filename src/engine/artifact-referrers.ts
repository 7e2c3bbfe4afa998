/** artifact referrers: what is attached to a manifest, and to that in turn. */
import type { Ctx } from "../core/ctx.ts";
import type { Descriptor, Digest } from "../image/image.ts";
import type { RegistryClient } from "../registry/registry.ts";
import { runOrdered } from "../storage/ordered.ts";
import { attachedTo } from "./artifact-list.ts";
import { localSubject } from "./artifact-push.ts";
import { openRemote, pinned, type RemoteRequest } from "./artifact-remote.ts";
import type { Engine } from "./engine.ts";

export interface Referrer {
  /** "repository@digest"; of the store the digest alone. */
  reference: string;
  descriptor: Descriptor;
  referrers: Referrer[];
}

export interface ReferrersRequest extends RemoteRequest {
  /** Only what has this artifactType is shown; it is asked for on the first level only. */
  type?: string | undefined;
  /** Levels; 1 is what is attached to the thing itself. */
  depth: number;
  /** In the store instead of on a registry. */
  local: boolean;
}

/** Lists fetched for one tree; a hostile registry could go on for ever. */
const MAX_ASKED = 500;
const AT_ONCE = 4;

type List = (ctx: Ctx, subject: Digest, type?: string) => Promise<Descriptor[]>;

interface Walk {
  list: List;
  nameOf: (digest: Digest) => string;
  seen: Set<Digest>;
  asked: number;
}

/** The thing itself with what is attached to it below; a tree without an end is cut, with a warning. Errors: not-found, those of the registry. */
export async function referrersOf(ctx: Ctx, engine: Engine, request: ReferrersRequest): Promise<Referrer> {
  const { type, depth } = request;
  const { descriptor, list, nameOf } = request.local
    ? openLocal(engine, request.reference)
    : await openTree(ctx, engine, request);
  const walk: Walk = { list, nameOf, seen: new Set([descriptor.digest]), asked: 0 };
  const referrers = await below(ctx, walk, { subject: descriptor.digest, type, depth });
  return { reference: nameOf(descriptor.digest), descriptor, referrers };
}

interface Tree {
  descriptor: Descriptor;
  list: List;
  nameOf: (digest: Digest) => string;
}

async function openTree(ctx: Ctx, engine: Engine, request: RemoteRequest): Promise<Tree> {
  const remote = await openRemote(ctx, engine, request);
  const client: RegistryClient = remote.client;
  return {
    descriptor: remote.descriptor,
    list: (inner, subject, type) => client.referrers(inner, subject, type),
    nameOf: (digest) => pinned(remote, digest),
  };
}

function openLocal(engine: Engine, name: string): Tree {
  const list: List = (_ctx, subject, type) =>
    Promise.resolve(
      attachedTo(engine, subject)
        .filter((one) => type === undefined || one.type === type)
        .map(({ record, type: artifactType, manifest }) => ({
          mediaType: record.mediaType,
          digest: record.digest,
          size: engine.content.size(record.digest),
          artifactType,
          ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
        })),
    );
  return { descriptor: localSubject(engine, name), list, nameOf: (digest) => digest };
}

async function below(
  ctx: Ctx,
  walk: Walk,
  { subject, type, depth }: { subject: Digest; type: string | undefined; depth: number },
): Promise<Referrer[]> {
  if (depth <= 0) return [];
  if (walk.asked >= MAX_ASKED) {
    if (walk.asked++ === MAX_ASKED) {
      ctx.log.warn(`more than ${MAX_ASKED} manifests would have to be asked about: the tree is cut there`);
    }
    return [];
  }
  walk.asked++;
  const listed = await walk.list(ctx, subject, type);
  // Nothing can truly be attached to itself; a registry may say so.
  const fresh = listed.filter(({ digest }) => !walk.seen.has(digest));
  for (const { digest } of fresh) walk.seen.add(digest);
  return await runOrdered(ctx, AT_ONCE, fresh, async (inner, descriptor) => ({
    reference: walk.nameOf(descriptor.digest),
    descriptor,
    referrers: await below(inner, walk, { subject: descriptor.digest, type: undefined, depth: depth - 1 }),
  }));
}
