/**
 * Files of an artifact into a directory of the host. All of them are fetched and verified aside, in a staging directory
 * within the target, before the first gets its name; then each is renamed into place without following a link. On failure
 * nothing is left and what was replaced is back. A staging directory whose owner was killed goes with the next use of the target.
 */
import { mkdirSync, rmdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { createDigester, verifyStream } from "../archive/digest.ts";
import { checkCanceled, type Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { ArtifactFile } from "../image/artifact.ts";
import { digestAlgorithm } from "../image/digest.ts";
import type { Descriptor } from "../image/image.ts";
import { ioError } from "../storage/files.ts";
import { runOrdered } from "../storage/ordered.ts";
import { spawnUnpack } from "../storage/unpack.ts";
import * as k from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { randomName } from "../sys/path-bytes.ts";
import { removeTree } from "../sys/remove-tree.ts";
import type { Fd, Sys } from "../sys/sys.ts";
import { HostDirectory } from "./artifact-place.ts";
import type { Engine } from "./engine.ts";

export interface WriteRequest {
  files: ArtifactFile[];
  /** Made if it is missing; may be a link to a directory. */
  directory: string;
  /** Replace what has a file's name. */
  overwrite: boolean;
  blob(ctx: Ctx, descriptor: Descriptor): AsyncIterable<Uint8Array>;
}

export interface Written {
  path: string;
  descriptor: Descriptor;
  /** The same file was there before. */
  existed: boolean;
}

const STAGING = ".berth-artifact-";
const AT_ONCE = 4;
const CHUNK = 1 << 20;

/**
 * Absolute paths in the artifact's order. Errors: already-exists (nothing is replaced unless asked), invalid-argument (a link or a
 * file where a directory is needed, a hostile archive), data-loss, those of the source and of the disk.
 */
export async function writeFiles(ctx: Ctx, engine: Engine, request: WriteRequest): Promise<Written[]> {
  const { sys } = engine;
  const root = resolve(request.directory);
  // In the order in which they must end: what was published is taken back, then the staging directory goes, then what it lay in.
  using made = new DisposableStack();
  using open = new DisposableStack();
  using undo = new DisposableStack();
  makeDirectory(root, made);
  const target = open.use(HostDirectory.open(sys, root));
  sweepStaging(sys, target.fd);
  const existing = new Set(request.files.filter((file) => isThere(ctx, sys, target, { file, ...request })));
  const wanted = request.files.filter((file) => !existing.has(file));
  if (wanted.length > 0) {
    const staging = openStaging(sys, target.fd, open);
    await runOrdered(ctx, AT_ONCE, wanted, (inner, file, at) =>
      stage(inner, engine, { fd: staging, file, at, blob: request.blob }),
    );
    const staged = wanted.flatMap((file, at) => stagedAs(sys, { fd: staging, file, at }, open));
    const { overwrite } = request;
    for (const one of staged) target.put(one, { overwrite, staging, undo });
  }
  undo.move();
  made.move();
  return request.files.map((file) => ({
    path: file.path === "" ? root : `${root}/${file.path}`,
    descriptor: file.descriptor,
    existed: existing.has(file),
  }));
}

function makeDirectory(root: string, undo: DisposableStack): void {
  try {
    const first = mkdirSync(root, { recursive: true });
    if (first === undefined) return;
    undo.defer(() => {
      for (let path = root; path.length >= first.length; path = dirname(path)) rmdirSync(path);
    });
  } catch (error) {
    throw ioError(error, `cannot make the directory "${root}"`);
  }
}

function openStaging(sys: Sys, target: Fd, open: DisposableStack): Fd {
  const name = `${STAGING}${randomName()}`;
  sys.mkdir(target, name, 0o700);
  open.defer(() => removeTree(sys, target, name));
  const fd = sys.openat(target, name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
  open.defer(() => sys.close(fd));
  sys.flock(fd, "exclusive", false);
  return fd;
}

/** Takes away what others have left who were killed here: their locks are gone with them. */
function sweepStaging(sys: Sys, target: Fd): void {
  for (const { name } of sys.readdir(target)) {
    if (!Buffer.from(name).toString("latin1").startsWith(STAGING)) continue;
    let fd: Fd;
    try {
      fd = sys.openat(target, name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    } catch (error) {
      if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) continue;
      throw error;
    }
    try {
      if (sys.flock(fd, "exclusive", false)) removeTree(sys, target, name);
    } finally {
      sys.close(fd);
    }
  }
}

/** True if exactly this file is there already. Errors: already-exists for anything else, unless it may be replaced. */
function isThere(
  ctx: Ctx,
  sys: Sys,
  target: HostDirectory,
  { file, overwrite }: { file: ArtifactFile; overwrite: boolean },
): boolean {
  if (file.path === "") return false;
  const found = target.find(file.path);
  if (found === undefined) return false;
  using _found = found;
  const { descriptor, directory } = file;
  const same = !directory && found.isFile && found.size === descriptor.size;
  if (same && digestOfFile(ctx, sys, found.open(), descriptor) === descriptor.digest) return true;
  if (overwrite) return false;
  throw target.taken(file.path);
}

function digestOfFile(ctx: Ctx, sys: Sys, fd: Fd, { digest }: Descriptor): string {
  const digester = createDigester(digestAlgorithm(digest));
  const buffer = Buffer.allocUnsafe(CHUNK);
  try {
    for (let n = sys.read(fd, buffer); n > 0; n = sys.read(fd, buffer)) {
      checkCanceled(ctx);
      digester.update(buffer.subarray(0, n));
    }
  } finally {
    sys.close(fd);
  }
  return digester.digest();
}

interface Job {
  /** The staging directory. */
  fd: Fd;
  file: ArtifactFile;
  /** Its name in the staging directory. */
  at: number;
}

/** Fetches one file and verifies it. */
async function stage(
  ctx: Ctx,
  engine: Engine,
  { fd, file, at, blob }: Job & Pick<WriteRequest, "blob">,
): Promise<void> {
  const { descriptor, directory } = file;
  const source = verifyStream(reported(ctx, file, blob(ctx, descriptor)), descriptor);
  if (directory) {
    engine.sys.mkdir(fd, String(at), 0o777);
    const inner = engine.sys.openat(fd, String(at), k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    try {
      // By the descriptor: whoever owns the target directory could put a link in the place of what was made in it.
      await unpackDirectory(ctx, engine, { file, source, target: `/proc/${process.pid}/fd/${inner}` });
    } finally {
      engine.sys.close(inner);
    }
  } else {
    const flags = k.O_WRONLY | k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW;
    const out = engine.sys.openat(fd, String(at), flags, 0o666);
    try {
      for await (const chunk of source) {
        checkCanceled(ctx);
        engine.sys.write(out, chunk);
      }
    } finally {
      engine.sys.close(out);
    }
  }
  ctx.progress({ id: nameOf(file), status: "done", current: descriptor.size, total: descriptor.size });
}

function nameOf({ path }: ArtifactFile): string {
  return path === "" ? "." : path;
}

async function* reported(
  ctx: Ctx,
  file: ArtifactFile,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const { size: total } = file.descriptor;
  let current = 0;
  ctx.progress({ id: nameOf(file), status: "downloading", current, total });
  for await (const chunk of source) {
    yield chunk;
    current += chunk.length;
    ctx.progress({ id: nameOf(file), status: "downloading", current, total });
  }
}

async function unpackDirectory(
  ctx: Ctx,
  engine: Engine,
  { file, source, target }: { file: ArtifactFile; source: AsyncIterable<Uint8Array>; target: string },
): Promise<void> {
  const { diffId } = await spawnUnpack(ctx, {
    command: engine.unpackCommand,
    target,
    overlayXattr: "trusted",
    source,
    mode: "plain",
    owner: { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 },
    harmless: true,
  });
  const { content } = file;
  if (content === undefined || !content.startsWith("sha256:") || content === diffId) return;
  throw fail("data-loss", `directory "${nameOf(file)}" has the content "${diffId}", not "${content}"`, {
    reason: "digest-mismatch",
  });
}

interface Staged {
  dir: Fd;
  name: string;
  /** Where to, relative to the target. */
  path: string;
}

/**
 * Where the staged file lies and where it belongs. A directory's archive has the directory's own name in front of all its
 * names, as oras packs it, or not, as others do; one without a name stands for what is in it.
 */
function stagedAs(sys: Sys, { fd, file, at }: Job, open: DisposableStack): Staged[] {
  const whole = { dir: fd, name: String(at), path: file.path };
  if (!file.directory) return [whole];
  const enter = (dir: Fd, name: string): Fd => {
    const inner = sys.openat(dir, name, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW);
    open.defer(() => sys.close(inner));
    return inner;
  };
  if (file.path === "") {
    const dir = enter(fd, String(at));
    return sys.readdir(dir).map(({ name }) => {
      const text = Buffer.from(name).toString();
      return { dir, name: text, path: text };
    });
  }
  let place = whole;
  for (const part of file.path.split("/")) {
    const dir = enter(place.dir, place.name);
    const [only, ...more] = sys.readdir(dir);
    if (only?.type !== k.DT_DIR || more.length > 0 || Buffer.from(only.name).toString() !== part)
      return [whole];
    place = { ...place, dir, name: part };
  }
  return [place];
}
