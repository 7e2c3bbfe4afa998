/**
 * cp: files between a container and the host, by the rules of docker cp: a target that is a directory gets the source in
 * it, "/." at the source's end means its contents, a target that does not exist is the source's new name.
 *
 * Nothing is ever resolved on the host that lies in a container: sources are read beneath a descriptor of the container's
 * root, targets are written by the sandboxed unpacker that has made that root its own. While the container runs its
 * mount namespace is used, so that volumes and tmpfs are seen; the container cannot lead a path out of it.
 */
import { fstatSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { userOf } from "../container/bundle.ts";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { tarTree } from "../storage/changes.ts";
import { spawnUnpack } from "../storage/unpack.ts";
import { S_IFDIR, S_IFLNK, S_IFMT } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { Rooted } from "../sys/rooted.ts";
import type { Stat } from "../sys/sys.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { lockContainer } from "./lock.ts";
import { mountForReading, type Mounted } from "./mounted.ts";

export interface CopyRequest {
  /** "CONTAINER:/path", a host path, or "-" for a tar on stdin or stdout. */
  from: string;
  to: string;
  /** Give what comes into a container to the container's user instead of keeping owners. What comes out is always the caller's. */
  archive: boolean;
  /** Copy what a link as the source points to. */
  follow: boolean;
  /** Let directories and files replace each other. */
  overwrite: boolean;
}

interface Side {
  /** Root that the path lies in. */
  root: string;
  path: string;
  /** For messages: "in container web", "on the host". */
  where: string;
  /** Who owns what is written there; undefined keeps the owners that the source says. */
  owner?: Owner;
}

interface Owner {
  uid: number;
  gid: number;
}

/** Errors: not-found (container, source, the target's directory), invalid-argument (both sides alike, a directory over a file). */
export async function cp(ctx: Ctx, engine: Engine, request: CopyRequest): Promise<void> {
  const from = splitSide(request.from);
  const to = splitSide(request.to);
  if (from.container === undefined && to.container === undefined) {
    throw fail("invalid-argument", "one side of cp must be a container", {
      hint: 'write it like "web:/path"',
    });
  }
  await using open = new AsyncDisposableStack();
  const opening: Opening = { open, archive: request.archive };
  const source = await side(ctx, engine, opening, from);
  const target = await side(ctx, engine, opening, to);
  const stream = source === "-" ? stdinStream() : undefined;
  if (target === "-") return await writeOut(engine, source as Side, request);
  if (stream !== undefined) {
    return await unpackInto(ctx, engine, { target, inside: target.path, stream });
  }
  const plan = planCopy(engine, source as Side, target, request);
  await unpackInto(ctx, engine, {
    target,
    inside: plan.directory,
    stream: tarTree(engine.sys, {
      root: (source as Side).root,
      path: plan.source,
      ...(plan.name === "." ? {} : { name: plan.name }),
      follow: request.follow,
    }),
  });
}

function splitSide(text: string): { container?: string; path: string } {
  if (text === "-" || text.startsWith("/") || text.startsWith(".")) return { path: text };
  const at = text.indexOf(":");
  return at < 1 ? { path: text } : { container: text.slice(0, at), path: text.slice(at + 1) };
}

interface Opening {
  open: AsyncDisposableStack;
  archive: boolean;
}

async function side(
  ctx: Ctx,
  engine: Engine,
  { open, archive }: Opening,
  given: { container?: string; path: string },
): Promise<Side | "-"> {
  if (given.container !== undefined) {
    const mounted = open.use(await openContainer(ctx, engine, given.container));
    const path = given.path.startsWith("/") ? given.path : `/${given.path}`;
    const owner = archive ? userIn(engine, mounted.root, given.container) : undefined;
    return {
      root: mounted.root,
      path,
      where: `in container ${given.container}`,
      ...(owner === undefined ? {} : { owner }),
    };
  }
  if (given.path === "-") return "-";
  const trailing = /\/\.?$/.exec(given.path)?.[0] ?? "";
  return { root: "/", path: `${resolve(given.path)}${trailing}`, where: "on the host", owner: ourselves() };
}

/** Who the container's process is; its own passwd file says. */
function userIn(engine: Engine, root: string, container: string): Owner {
  const { spec } = engine.records.resolve(container);
  const image = spec.imageId === undefined ? undefined : engine.images.find(spec.imageId);
  using rooted = Rooted.open(engine.sys, root);
  const { uid, gid } = userOf(rooted, spec.user ?? image?.config.config.User ?? "", []);
  return { uid, gid };
}

function ourselves(): Owner {
  return { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
}

/** The container's root for as long as the result lives; one that does not run stays locked meanwhile. */
async function openContainer(ctx: Ctx, engine: Engine, name: string): Promise<Mounted> {
  const { id } = resolveContainer(engine, name);
  using undo = new DisposableStack();
  const lock = undo.use(await lockContainer(ctx, engine, id));
  const mounted = undo.use(mountForReading(engine, resolveContainer(engine, id)));
  if (mounted.root.startsWith("/proc/")) lock.release();
  const owned = undo.move();
  return { root: mounted.root, [Symbol.dispose]: () => owned.dispose() };
}

interface Plan {
  source: string;
  /** Existing directory in the target's root. */
  directory: string;
  /** Name of the copy in it; "." merges the source's contents into it. */
  name: string;
}

function planCopy(engine: Engine, source: Side, target: Side, request: CopyRequest): Plan {
  const sourceStat = statIn(engine, source, request.follow);
  if (sourceStat === undefined) throw missing(source);
  const sourceIsDirectory = isDirectory(sourceStat);
  const contentsOnly = source.path.endsWith("/.");
  const path = clean(source.path);
  const targetStat = statIn(engine, target, true);
  if (targetStat !== undefined && isDirectory(targetStat)) {
    return { source: path, directory: clean(target.path), name: contentsOnly ? "." : basename(path) || "." };
  }
  if (targetStat !== undefined && sourceIsDirectory && !request.overwrite) {
    throw fail("invalid-argument", `cannot copy the directory "${path}" over the file "${target.path}"`, {
      hint: "use --overwrite to replace it",
    });
  }
  if (targetStat === undefined && target.path.endsWith("/") && !sourceIsDirectory) throw missing(target);
  const place = throughLinks(engine, target);
  const parent = { ...target, path: dirname(place) };
  const parentStat = statIn(engine, parent, true);
  if (parentStat === undefined || !isDirectory(parentStat)) throw missing(parent);
  return { source: path, directory: parent.path, name: basename(place) };
}

/** As many as the kernel follows. */
const MAX_LINKS = 40;

/** Where a copy really goes: a link as the target, even one that leads to nothing yet, is followed as docker and podman do. */
function throughLinks(engine: Engine, target: Side): string {
  using rooted = Rooted.open(engine.sys, target.root);
  let place = clean(target.path);
  for (let links = 0; links < MAX_LINKS; links++) {
    const stat = statIn(engine, { ...target, path: place }, false);
    if (stat === undefined || (stat.mode & S_IFMT) !== S_IFLNK) return place;
    place = resolve(dirname(place), Buffer.from(rooted.readlink(place)).toString());
  }
  return clean(target.path);
}

function clean(path: string): string {
  return resolve("/", path);
}

function missing({ path, where }: { path: string; where: string }): Error {
  return fail("not-found", `"${path}" could not be found ${where}: no such file or directory`, {
    reason: "path-missing",
  });
}

function isDirectory(stat: Stat): boolean {
  return (stat.mode & S_IFMT) === S_IFDIR;
}

function statIn(
  engine: Engine,
  { root, path }: Pick<Side, "root" | "path">,
  follow: boolean,
): Stat | undefined {
  using rooted = Rooted.open(engine.sys, root);
  const wanted = clean(path);
  try {
    // A slash at the end means what a link leads to.
    return follow || /\/\.?$/.test(path) ? rooted.stat(wanted) : rooted.lstat(wanted);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

interface Unpacking {
  target: Side;
  inside: string;
  stream: AsyncIterable<Uint8Array>;
}

async function unpackInto(ctx: Ctx, engine: Engine, { target, inside, stream }: Unpacking): Promise<void> {
  const stat = statIn(engine, { root: target.root, path: inside }, true);
  if (stat === undefined || !isDirectory(stat)) throw missing({ ...target, path: inside });
  // On the host the directory itself is the unpacker's root: nothing in the archive leads out of it.
  const place =
    target.root === "/" ? { target: clean(inside) } : { target: target.root, inside: clean(inside) };
  await spawnUnpack(ctx, {
    command: engine.unpackCommand,
    ...place,
    overlayXattr: "trusted",
    source: stream,
    mode: "plain",
    ...(target.owner === undefined ? {} : { owner: target.owner }),
  });
}

async function writeOut(engine: Engine, source: Side, request: CopyRequest): Promise<void> {
  if (statIn(engine, source, request.follow) === undefined) throw missing(source);
  if (fstatSync(1).isCharacterDevice() && engine.sys.isTty(1)) {
    throw fail("invalid-argument", "a tar archive is not written to a terminal", {
      hint: "redirect standard output",
    });
  }
  const path = clean(source.path);
  const name = source.path.endsWith("/.") ? "." : basename(path) || ".";
  for await (const chunk of tarTree(engine.sys, {
    root: source.root,
    path,
    ...(name === "." ? {} : { name }),
    follow: request.follow,
  })) {
    engine.sys.write(1, chunk);
  }
}

async function* stdinStream(): AsyncIterable<Uint8Array> {
  for await (const chunk of Bun.stdin.stream()) yield chunk;
}
