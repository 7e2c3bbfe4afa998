/** The verbs on stored images: list, tag, untag. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { parseTimestamp } from "../core/time.ts";
import { formatReference, parseReference, withDefaultTag } from "../image/reference.ts";
import type { ImageRecord, ManifestRecord } from "../storage/storage.ts";
import type { Engine, Filter } from "./engine.ts";
import { hasLabel, matcher, parseBoolean, type Test } from "./filter.ts";
import { withIndexes } from "./indexes.ts";

export interface ImageSummary {
  record: ImageRecord;
  /** "docker.io/library/alpine:3.20", or "<none>:<none>". */
  name: string;
  /** How many containers stand on it. */
  containers: number;
  /** Of an index: `record` then says of it what it would say of an image (`indexes.ts`). */
  index?: ManifestRecord;
}

export interface ListImagesRequest {
  all: boolean;
  filters: Filter[];
  /** Only this repository, or this repository and tag. */
  name?: string;
}

/**
 * One entry for each name of each image and index, newest first; images without a name that an index lists only with `all`.
 * Errors: invalid-argument for an unknown filter.
 */
export function listImages(_ctx: Ctx, engine: Engine, request: ListImagesRequest): ImageSummary[] {
  const used = engine.records.usedImages();
  const matches = matcher(request.filters, imageTests(engine, used));
  const wanted = request.name;
  const records = engine.images.list();
  const isAsked = request.all || request.filters.some(({ key }) => key === "intermediate");
  const shown = isAsked ? records : records.filter(isResult(records));
  return withIndexes(engine, shown, { all: request.all, used })
    .sort((a, b) => createdMs(b.record) - createdMs(a.record))
    .flatMap((one) => namesOf(one.record).map((name) => ({ ...one, name })))
    .filter((entry) => (wanted === undefined || isMeant(wanted, entry.name)) && matches(entry));
}

/** False for an image without a name that another one was made from. */
function isResult(records: ImageRecord[]): (record: ImageRecord) => boolean {
  if (records.every(({ names }) => names.length > 0)) return () => true;
  // Loaded here, because most lists have nothing to hide.
  const { isParent } = require("./remove-image.ts") as typeof import("./remove-image.ts");
  return (record) =>
    record.names.length > 0 || !records.some((other) => isParent(record.config, other.config));
}

const NO_NAME = "<none>:<none>";

function namesOf(record: ImageRecord): string[] {
  return record.names.length > 0 ? record.names : [NO_NAME];
}

/** True when `name` is the repository (any tag) or the reference (that tag) that `wanted` means; short forms match by their last parts. */
function isOf(wanted: string, name: string): boolean {
  if (name === NO_NAME) return false;
  const repository = name.slice(0, name.lastIndexOf(":"));
  const suffixes = (full: string): boolean => full === wanted || full.endsWith(`/${wanted}`);
  return suffixes(name) || suffixes(repository);
}

function createdMs(record: ImageRecord): number {
  const ms = Date.parse(record.config.created ?? record.created);
  return Number.isNaN(ms) ? 0 : ms;
}

/** What `--filter` knows of images; `used`: how many containers stand on each. */
export function imageTests(engine: Engine, used: Map<string, number>): Record<string, Test<ImageSummary>> {
  const anchor = (name: string): number => createdMs(engine.images.resolve(name));
  let test: ((record: ImageRecord) => boolean) | undefined;
  const isIntermediate = (record: ImageRecord): boolean => !(test ??= isResult(engine.images.list()))(record);
  const isAfter = (value: string, e: ImageSummary): boolean => createdMs(e.record) > anchor(value);
  return {
    dangling: (value, e) => parseBoolean("dangling", value) === (e.record.names.length === 0),
    containers: (value, e) =>
      parseBoolean("containers", value) === (used.has(e.record.id) || e.containers > 0),
    label: (value, e) => hasLabel(value, e.record.config.config.Labels ?? {}),
    reference: (value, e) => isMeant(value, e.name),
    id: (value, e) => e.record.id.replace("sha256:", "").startsWith(value.replace("sha256:", "")),
    digest: (value, e) => e.record.manifestDigest.startsWith(value),
    before: (value, e) => createdMs(e.record) < anchor(value),
    since: isAfter,
    after: isAfter,
    until: (value, e) => createdMs(e.record) < parseTimestamp(value),
    intermediate: (value, e) => parseBoolean("intermediate", value) === isIntermediate(e.record),
    readonly: (value, e) => parseBoolean("readonly", value) === (e.record.additionalStore !== undefined),
    manifest: (value, e) => parseBoolean("manifest", value) === (e.index !== undefined),
  };
}

/** As {@link isOf}, or by a glob of the whole name or of its last parts, with or without the tag. */
function isMeant(wanted: string, name: string): boolean {
  if (name === NO_NAME) return false;
  if (isOf(wanted, name)) return true;
  if (!/[*?[{]/.test(wanted)) return false;
  const glob = new Bun.Glob(wanted);
  const parts = name.split("/");
  return parts.some((_, index) => {
    const tail = parts.slice(index).join("/");
    return glob.match(tail) || glob.match(tail.slice(0, tail.lastIndexOf(":")));
  });
}

/** Gives an image, an index or an artifact more names. Errors: not-found, invalid-argument. */
export function tag(_ctx: Ctx, engine: Engine, request: { image: string; names: string[] }): void {
  const names = request.names.map(localName);
  engine.db.tx(() => {
    const document = engine.manifests.find(request.image);
    const id = document?.digest ?? engine.images.resolve(request.image).id;
    for (const name of names) {
      if (document === undefined) engine.images.tag(id, name);
      else engine.manifests.tag(id, name);
      engine.events.add({ type: "image", action: "tag", id, name, attributes: {} });
    }
  });
}

/** What a name means when it is given to an image here: a short one is local. */
export function localName(text: string): string {
  const reference = parseReference(text);
  if (reference.digest !== undefined) {
    throw fail("invalid-argument", `a name cannot have a digest: "${text}"`, { reason: "name-with-digest" });
  }
  return formatReference(withDefaultTag(reference));
}

/** Takes names away; all of them when none is given. Errors: not-found. */
export function untag(_ctx: Ctx, engine: Engine, request: { image: string; names: string[] }): void {
  const document = engine.manifests.find(request.image);
  const image = document ?? engine.images.resolve(request.image);
  const names = request.names.length > 0 ? request.names.map(localName) : image.names;
  for (const name of names) {
    if (!image.names.includes(name))
      throw fail("not-found", `${name}: tag not known`, { reason: "tag-unknown" });
  }
  const id = document?.digest ?? (image as ImageRecord).id;
  const take = (name: string): void => {
    if (document === undefined) engine.images.untag(name);
    else engine.manifests.untag(name);
    engine.events.add({ type: "image", action: "untag", id, name, attributes: {} });
  };
  // Files go with a document's last name: not in a transaction that could still be rolled back.
  if (document !== undefined) for (const name of names) take(name);
  else engine.db.tx(() => names.forEach(take));
}
