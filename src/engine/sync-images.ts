/** sync: every image of a repository, a directory or a list in YAML, to a registry or into a directory; names as skopeo gives them. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import type { Reference } from "../image/image.ts";
import { formatReference, parseReference, withDefaultTag } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import { ioError } from "../storage/files.ts";
import { hasCode } from "../sys/errno.ts";
import { copyImage, type CopyImageRequest } from "./copy-image.ts";
import type { Engine } from "./engine.ts";
import { registryOptions } from "./pull.ts";
import { parseSyncList, type SyncSource } from "./sync-list.ts";
import { parsePlace } from "./transfer/place.ts";
import type { Place } from "./transfer/transfer.ts";

export interface SyncImagesRequest {
  /** What `source` is: a repository with or without a tag, a directory of `dir:` images, a YAML file. */
  from: "docker" | "dir" | "yaml";
  source: string;
  to: "docker" | "dir";
  /** "HOST/PREFIX" or a directory. */
  destination: string;
  /** Keep the source's whole name below the destination, not only its last part. */
  scoped: boolean;
  /** Go on after a failure; all of them are told at the end. */
  keepGoing: boolean;
  /** Only say what would be done. */
  dryRun: boolean;
  copy: Omit<CopyImageRequest, "source" | "destination" | "names">;
  /** Told of each image when it is there, or would be. */
  onImage: (image: SyncedImage) => void;
}

export interface SyncedImage {
  source: string;
  destination: string;
}

interface Task {
  source: Place;
  /** What the destination's name ends with: "host/repo:tag" or a path below the source directory. */
  suffix: string;
  registry: RegistryOptions;
}

/** How many images were (or would be) copied. Errors: those of copy; with `keepGoing` one that counts them. */
export async function syncImages(ctx: Ctx, engine: Engine, request: SyncImagesRequest): Promise<number> {
  if (request.from === "dir" && request.to === "dir") {
    throw fail("invalid-argument", "directories are not synchronised with directories", {
      reason: "arguments",
      hint: "copy the files",
    });
  }
  const failures: unknown[] = [];
  let done = 0;
  for await (const task of tasksOf(ctx, engine, { request, failures })) {
    try {
      await syncOne(ctx, engine, request, task);
      done++;
    } catch (error) {
      keep(ctx, request, failures, error);
    }
  }
  if (failures.length === 0) return done;
  throw fail("unavailable", `${failures.length} of ${failures.length + done} images could not be copied`, {
    reason: "sync-failed",
    cause: failures[0],
  });
}

/** Errors: the given one unless work goes on after it. */
function keep(ctx: Ctx, { keepGoing }: SyncImagesRequest, failures: unknown[], error: unknown): void {
  if (!keepGoing || !(error instanceof EngineError) || error.kind === "canceled") throw error;
  failures.push(error);
  ctx.log.error(messageOf(error));
}

async function syncOne(ctx: Ctx, engine: Engine, request: SyncImagesRequest, task: Task): Promise<void> {
  const destination = destinationOf(request, task);
  if (!request.dryRun) {
    await copyImage(ctx, engine, {
      ...request.copy,
      source: task.source,
      destination,
      names: [],
      sourceRegistry: task.registry,
    });
  }
  request.onImage({ source: task.source.text, destination: destination.text });
}

function destinationOf({ to, destination, scoped }: SyncImagesRequest, { suffix }: Task): Place {
  const name = `${destination.replace(/\/+$/, "")}/${scoped ? suffix : basename(suffix)}`;
  return parsePlace(to === "docker" ? `docker://${name}` : `dir:${name}`);
}

async function* tasksOf(
  ctx: Ctx,
  engine: Engine,
  { request, failures }: { request: SyncImagesRequest; failures: unknown[] },
): AsyncGenerator<Task, void, undefined> {
  const registry = request.copy.sourceRegistry;
  if (request.from === "dir") {
    yield* directoryTasks(request.source, registry);
    return;
  }
  if (request.from === "docker") {
    yield* repositoryTasks(ctx, engine, { repository: parseRepository(request.source), registry });
    return;
  }
  for (const source of parseSyncList(readList(request.source))) {
    try {
      const own = { ...registry, ...source.registry };
      yield* repositoryTasks(ctx, engine, { ...source, registry: own });
    } catch (error) {
      keep(ctx, request, failures, error);
    }
  }
}

function parseRepository(text: string): Reference {
  return parseReference(text.replace(/^docker:\/\//, ""));
}

function readList(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw ioError(error, `cannot read "${path}"`);
  }
}

async function* repositoryTasks(
  ctx: Ctx,
  engine: Engine,
  { repository, registry, tags }: Pick<SyncSource, "repository" | "tags"> & { registry: RegistryOptions },
): AsyncGenerator<Task, void, undefined> {
  const isOne = repository.tag !== undefined || repository.digest !== undefined;
  if (isOne) {
    yield taskOf(repository, registry);
    return;
  }
  const { openRegistry } = await import("../registry/client.ts");
  const all = await openRegistry(withDefaultTag(repository), registryOptions(engine, registry)).tags(ctx);
  const wanted = tags === undefined ? all : all.filter(tags);
  if (wanted.length === 0) {
    throw fail(
      "not-found",
      `"${formatReference(repository)}" has no ${tags === undefined ? "" : "matching "}tags`,
      {
        reason: "no-tags",
      },
    );
  }
  for (const tag of wanted) yield taskOf({ ...repository, tag }, registry);
}

function taskOf(reference: Reference, registry: RegistryOptions): Task {
  const name = formatReference(reference);
  return { source: parsePlace(`docker://${name}`), suffix: name, registry };
}

/** Every directory below that has an image in it, in the order of names. */
function* directoryTasks(directory: string, registry: RegistryOptions): Generator<Task> {
  const base = parsePlace(`dir:${directory}`).path as string;
  let found = false;
  for (const path of imageDirectories(base)) {
    found = true;
    const suffix = path === base ? basename(base) : path.slice(base.length + 1);
    yield { source: parsePlace(`dir:${path}`), suffix, registry };
  }
  if (!found)
    throw fail("not-found", `"${excerpt(directory, 300)}" has no images in it`, { reason: "no-images" });
}

/** Links are not followed: the tree may be anybody's. */
function* imageDirectories(directory: string): Generator<string> {
  let entries;
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (hasCode(error, "ENOTDIR", "ENOENT")) throw ioError(error, `cannot read "${directory}"`);
    throw error;
  }
  if (entries.some((entry) => entry.isFile() && entry.name === "manifest.json")) {
    yield directory;
    return;
  }
  const below = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  for (const name of below.toSorted()) yield* imageDirectories(join(directory, name));
}
