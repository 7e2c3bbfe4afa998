/** The verbs on stored images: list, tag, untag. */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { parseTimestamp } from "../core/time.ts";
import { formatReference, parseReference, withDefaultTag } from "../image/reference.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { Engine, Filter } from "./engine.ts";
import { hasLabel, matcher, parseBoolean, type Test } from "./filter.ts";

export interface ImageSummary {
  record: ImageRecord;
  /** "docker.io/library/alpine:3.20", or "<none>:<none>". */
  name: string;
  /** How many containers stand on it. */
  containers: number;
}

export interface ListImagesRequest {
  all: boolean;
  filters: Filter[];
  /** Only this repository, or this repository and tag. */
  name?: string;
}

/** One entry for each name of each image, newest first. Errors: invalid-argument for an unknown filter. */
export function listImages(_ctx: Ctx, engine: Engine, request: ListImagesRequest): ImageSummary[] {
  const used = engine.records.usedImages();
  const matches = matcher(request.filters, imageTests(engine, used));
  const wanted = request.name;
  return engine.images
    .list()
    .sort((a, b) => createdMs(b) - createdMs(a))
    .flatMap((record) =>
      namesOf(record).map((name) => ({ record, name, containers: used.get(record.id) ?? 0 })),
    )
    .filter((entry) => (wanted === undefined || isMeant(wanted, entry.name)) && matches(entry));
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
  const isAfter = (value: string, e: ImageSummary): boolean => createdMs(e.record) > anchor(value);
  return {
    dangling: (value, e) => parseBoolean("dangling", value) === (e.record.names.length === 0),
    containers: (value, e) => parseBoolean("containers", value) === used.has(e.record.id),
    label: (value, e) => hasLabel(value, e.record.config.config.Labels ?? {}),
    reference: (value, e) => isMeant(value, e.name),
    id: (value, e) => e.record.id.replace("sha256:", "").startsWith(value.replace("sha256:", "")),
    digest: (value, e) => e.record.manifestDigest.startsWith(value),
    before: (value, e) => createdMs(e.record) < anchor(value),
    since: isAfter,
    after: isAfter,
    until: (value, e) => createdMs(e.record) < parseTimestamp(value),
    intermediate: (value) => !parseBoolean("intermediate", value),
    readonly: (value, e) => parseBoolean("readonly", value) === (e.record.additionalStore !== undefined),
    manifest: (value) => !parseBoolean("manifest", value),
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

/** Gives an image more names. Errors: not-found, invalid-argument. */
export function tag(_ctx: Ctx, engine: Engine, request: { image: string; names: string[] }): void {
  const names = request.names.map(localName);
  engine.db.tx(() => {
    const { id } = engine.images.resolve(request.image);
    for (const name of names) {
      engine.images.tag(id, name);
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
  engine.db.tx(() => {
    const image = engine.images.resolve(request.image);
    const names = request.names.length > 0 ? request.names.map(localName) : image.names;
    for (const name of names) {
      if (!image.names.includes(name))
        throw fail("not-found", `${name}: tag not known`, { reason: "tag-unknown" });
      engine.images.untag(name);
      engine.events.add({ type: "image", action: "untag", id: image.id, name, attributes: {} });
    }
  });
}
