/**
 * What is attached to a manifest by `subject` (distribution-spec, "Listing Referrers" and "Referrers Tag Schema").
 *
 * A registry without the referrers API leaves the list to its clients: an index under a tag made of the subject's digest.
 * Nothing guards that index against two writers at once, so a writer looks again whether its entry has stayed.
 */
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { EngineError, fail, isKind, messageOf } from "../core/error.ts";
import { digestAlgorithm, digestHex } from "../image/digest.ts";
import type { Descriptor, Digest, Index, Manifest } from "../image/image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "../image/manifest.ts";
import { isImageConfigType, OCI_EMPTY, OCI_INDEX } from "../image/media-types.ts";
import type { Reply } from "./http.ts";
import { deleteManifest, fetchManifest, putManifest } from "./manifests.ts";
import { endless, PagedList } from "./pages.ts";
import type { Transport } from "./transport.ts";

const MAX_PAGES = 1000;
const MAX_REFERRERS = 100_000;
/** Manifests opened for one list because the list says nothing useful about them. */
const MAX_OPENED = 1000;
const OPEN_AT_ONCE = 8;
/** Answers of registries that do not know the referrers API. */
const UNKNOWN_ROUTE = [400, 404, 405, 406, 501];
const MAX_ROUNDS = 60;
const MIN_PAUSE_MS = 20;
const MAX_PAUSE_MS = 2000;

export interface ReferrersRequest {
  subject: Digest;
  artifactType?: string | undefined;
}

/** The tag of the list in a registry without the referrers API: "sha256-…"; the algorithm is cut to 32 characters, the hex to 64. */
export function referrersTag(subject: Digest): string {
  return `${digestAlgorithm(subject).slice(0, 32)}-${digestHex(subject).slice(0, 64)}`;
}

/** Contract: `RegistryClient.referrers`. */
export async function listReferrers(
  ctx: Ctx,
  transport: Transport,
  request: ReferrersRequest,
): Promise<Descriptor[]> {
  const listed = await listByApi(ctx, transport, request);
  return listed ?? (await listByTag(ctx, transport, request));
}

/** Undefined where the registry does not have the API. */
async function listByApi(
  ctx: Ctx,
  transport: Transport,
  { subject, artifactType }: ReferrersRequest,
): Promise<Descriptor[] | undefined> {
  const { repository } = transport.source;
  const what = whatOf(transport, subject);
  const query = artifactType === undefined ? "" : `?artifactType=${encodeURIComponent(artifactType)}`;
  const list = new PagedList(what, MAX_PAGES);
  const found = new Map<Digest, Descriptor>();
  let target: string | URL | undefined = `/v2/${repository}/referrers/${subject}${query}`;
  for (let page = 0; target !== undefined; page++) {
    if (found.size > MAX_REFERRERS) throw endless(what);
    const scopes = [`repository:${repository}:pull`];
    const accept = page === 0 ? [200, ...UNKNOWN_ROUTE] : [200];
    const headers = { Accept: OCI_INDEX };
    const reply: Reply = await transport.request(ctx, {
      method: "GET",
      target,
      headers,
      scopes,
      what,
      accept,
    });
    if (reply.status !== 200) {
      await reply.discard();
      return undefined;
    }
    const listed = pageOf(what, await list.page(reply), page === 0);
    if (listed === undefined) return undefined;
    const filtered = /\bartifactType\b/.test(reply.headers.get("oci-filters-applied") ?? "");
    for (const entry of listed) {
      if (artifactType === undefined || filtered || entry.artifactType === artifactType) {
        found.set(entry.digest, entry);
      }
    }
    target = list.next(reply);
  }
  return [...found.values()];
}

function whatOf({ source }: Transport, subject: Digest): string {
  return `referrers of "${subject}" in "${source.registry}/${source.repository}"`;
}

/** Undefined for a first answer that is no index at all: a web server's page for everything, say. */
function pageOf(what: string, bytes: Uint8Array, first: boolean): Descriptor[] | undefined {
  if (first && !looksLikeIndex(bytes)) return undefined;
  const document = parsed(what, bytes);
  if (isIndex(document)) return document.manifests;
  throw fail("invalid-argument", `${what}: the answer is not an index`, { reason: "referrers-answer" });
}

function parsed(what: string, bytes: Uint8Array): Manifest | Index {
  try {
    return parseManifest(bytes, OCI_INDEX);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw fail(error.kind, `${what}: ${error.message}`, { reason: "referrers-answer", cause: error });
  }
}

function looksLikeIndex(bytes: Uint8Array): boolean {
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes)) as { manifests?: unknown } | null;
    return typeof value === "object" && Array.isArray(value?.manifests);
  } catch {
    return false;
  }
}

async function listByTag(
  ctx: Ctx,
  transport: Transport,
  { subject, artifactType }: ReferrersRequest,
): Promise<Descriptor[]> {
  const index = await readIndex(ctx, transport, subject);
  const entries = new Map(index?.document.manifests.map((entry) => [entry.digest, entry]));
  const corrected = await openDoubtful(ctx, transport, [...entries.values()]);
  return artifactType === undefined
    ? corrected
    : corrected.filter((entry) => entry.artifactType === artifactType);
}

/**
 * Some clients wrote the config's media type, or nothing, as the type of what they attached, and left the annotations out: of
 * those entries the manifest itself tells.
 */
async function openDoubtful(ctx: Ctx, transport: Transport, entries: Descriptor[]): Promise<Descriptor[]> {
  const doubtful = entries.flatMap((entry, at) => (isDoubtful(entry) ? [at] : []));
  const result = [...entries];
  if (doubtful.length > MAX_OPENED) {
    ctx.log.warn(`only ${MAX_OPENED} of ${doubtful.length} referrers without a type are looked into`);
  }
  const queue = doubtful.slice(0, MAX_OPENED).values();
  const worker = async (): Promise<void> => {
    for (const at of queue) {
      const entry = entries[at] as Descriptor;
      result[at] = (await trueEntry(ctx, transport, entry)) ?? entry;
    }
  };
  await Promise.all(Array.from({ length: Math.min(OPEN_AT_ONCE, doubtful.length) }, worker));
  return result;
}

function isDoubtful({ artifactType = "" }: Descriptor): boolean {
  return artifactType === "" || artifactType === OCI_EMPTY || isImageConfigType(artifactType);
}

async function trueEntry(ctx: Ctx, transport: Transport, entry: Descriptor): Promise<Descriptor | undefined> {
  try {
    const { bytes, descriptor } = await fetchManifest(ctx, transport, entry.digest);
    const mediaType = entry.mediaType === "" ? descriptor.mediaType : entry.mediaType;
    return entryOf(parseManifest(bytes, mediaType), { ...descriptor, mediaType });
  } catch (error) {
    // One entry that is gone or broken must not hide the others.
    if (isKind(error, "not-found") || isKind(error, "data-loss") || isKind(error, "invalid-argument"))
      return undefined;
    throw error;
  }
}

/** How a list of referrers describes a manifest: with its type and annotations drawn up. */
function entryOf(document: Manifest | Index, { mediaType, digest, size }: Descriptor): Descriptor {
  const own = document.artifactType === "" ? undefined : document.artifactType;
  const artifactType = own ?? (isIndex(document) ? undefined : document.config.mediaType);
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(document.annotations === undefined ? {} : { annotations: document.annotations }),
  };
}

export interface PushedManifest {
  mediaType: string;
  bytes: Uint8Array;
  digest: Digest;
}

/** Enters a manifest that was pushed into the list at the fall-back tag, if it has a subject. */
export async function recordPushed(ctx: Ctx, transport: Transport, pushed: PushedManifest): Promise<void> {
  const found = subjectOf(ctx, pushed);
  if (found === undefined) return;
  const entry = entryOf(found.document, { ...pushed, size: pushed.bytes.length });
  await changeIndex(ctx, transport, found.subject, {
    isDone: (entries) => {
      const same = entries.filter((one) => one.digest === entry.digest);
      return same.length === 1 && same[0]?.artifactType === entry.artifactType;
    },
    change: (entries) => [...entries.filter((one) => one["digest"] !== entry.digest), { ...entry }],
  });
}

/** Takes a manifest that was deleted out of the list at the fall-back tag, if it had a subject and the list is there. */
export async function forgetDeleted(ctx: Ctx, transport: Transport, deleted: PushedManifest): Promise<void> {
  const { digest } = deleted;
  const found = subjectOf(ctx, deleted);
  if (found === undefined) return;
  await changeIndex(ctx, transport, found.subject, {
    isDone: (entries) => entries.every((one) => one.digest !== digest),
    change: (entries) => entries.filter((one) => one["digest"] !== digest),
  });
}

function subjectOf(
  ctx: Ctx,
  { bytes, mediaType }: PushedManifest,
): { document: Manifest | Index; subject: Digest } | undefined {
  try {
    const document = parseManifest(bytes, mediaType);
    return document.subject === undefined ? undefined : { document, subject: document.subject.digest };
  } catch (error) {
    // Whatever the registry takes it for, it is nothing that could be listed.
    ctx.log.debug(`not a manifest with a subject: ${messageOf(error)}`);
    return undefined;
  }
}

type RawEntry = Record<string, unknown>;

interface Change {
  isDone: (entries: Descriptor[]) => boolean;
  /** On the entries as they are, so that what others have written in them stays. */
  change: (entries: RawEntry[]) => RawEntry[];
}

/**
 * Writes until the change has stayed in an index that nobody else is writing: two looks at the same bytes, further apart than
 * it takes to read and write them. Nothing is written if all is done from the start.
 */
async function changeIndex(
  ctx: Ctx,
  transport: Transport,
  subject: Digest,
  { isDone, change }: Change,
): Promise<void> {
  let settled: string | undefined;
  let slowest = Math.min(MIN_PAUSE_MS, transport.retry.baseMs);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    checkCanceled(ctx);
    const started = performance.now();
    const index = await readIndex(ctx, transport, subject);
    if (isDone(index?.document.manifests ?? [])) {
      const found = index?.digest ?? "none";
      if (round === 0 || settled === found) return;
      settled = found;
    } else {
      settled = undefined;
      await writeIndex(ctx, transport, { subject, index, change });
    }
    slowest = Math.min(Math.max(slowest, performance.now() - started), MAX_PAUSE_MS);
    // Whoever has read the index before us is about to write it; and two who disturb each other must fall out of step.
    await Bun.sleep(slowest * (1 + 2 * Math.random()));
  }
  throw fail("aborted", `${whatOf(transport, subject)}: others keep overwriting the list`, {
    reason: "referrers-contended",
    hint: "try again",
  });
}

interface StoredIndex {
  document: Index;
  raw: Record<string, unknown>;
  digest: Digest;
}

async function readIndex(ctx: Ctx, transport: Transport, subject: Digest): Promise<StoredIndex | undefined> {
  const tag = referrersTag(subject);
  try {
    const { bytes, descriptor } = await fetchManifest(ctx, transport, tag);
    const document = parseManifest(bytes, descriptor.mediaType);
    if (!isIndex(document)) {
      throw fail("conflict", `${whatOf(transport, subject)}: tag "${tag}" is not an index`, {
        reason: "referrers-tag-taken",
      });
    }
    const raw = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    return { document, raw, digest: descriptor.digest };
  } catch (error) {
    if (isKind(error, "not-found")) return undefined;
    throw error;
  }
}

async function writeIndex(
  ctx: Ctx,
  transport: Transport,
  { subject, index, change }: { subject: Digest; index: StoredIndex | undefined; change: Change["change"] },
): Promise<void> {
  const manifests = change((index?.raw["manifests"] ?? []) as RawEntry[]);
  if (manifests.length === 0 && index !== undefined && (await emptied(ctx, transport, index))) return;
  const mediaType = index?.document.mediaType ?? OCI_INDEX;
  const bytes = new TextEncoder().encode(
    JSON.stringify({ schemaVersion: 2, mediaType, ...index?.raw, manifests }),
  );
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw fail(
      "resource-exhausted",
      `${whatOf(transport, subject)}: the list has no room for another entry`,
      {
        reason: "referrers-full",
        hint: "the registry has no referrers API: remove what is not needed any more",
      },
    );
  }
  await putManifest(ctx, transport, { tagOrDigest: referrersTag(subject), mediaType, bytes });
}

/** An empty list goes away, where the registry lets things be deleted. */
async function emptied(ctx: Ctx, transport: Transport, index: StoredIndex): Promise<boolean> {
  try {
    await deleteManifest(ctx, transport, index.digest);
    return true;
  } catch (error) {
    if (isKind(error, "permission-denied") || isKind(error, "invalid-argument")) return false;
    throw error;
  }
}
