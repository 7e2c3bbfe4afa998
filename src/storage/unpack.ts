/**
 * Unpacking an archive into a directory, in a sandboxed child of our own program (DESIGN §7).
 *
 * This side feeds the child compressed bytes as fast as it takes them and waits for its one line of JSON.
 */
import type { TarLimits } from "../archive/archive.ts";
import type { Ctx } from "../core/ctx.ts";
import { checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import { EAGAIN, EINTR, SIGKILL } from "../sys/const.ts";
import { SysError } from "../sys/errno.ts";
import { tryCall } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";
import { type Child, spawn } from "../sys/spawn.ts";
import type { Fd } from "../sys/sys.ts";
import type { UnpackDone, UnpackFailed, UnpackJob, UnpackReply } from "./unpack-protocol.ts";

export interface UnpackRequest {
  /** argv that starts this program as the unpacker: `[process.execPath, "__unpack"]`. */
  command: string[];
  /** An existing directory, a trusted path. */
  target: string;
  overlayXattr: "trusted" | "user";
  /** Compressed or not: the first bytes tell. */
  source: AsyncIterable<Uint8Array>;
  /** "layer" turns whiteouts into overlayfs' form; "plain" unpacks every name as it is (import, cp). */
  mode: "layer" | "plain";
  /** Unpack below this directory of the target (an untrusted path, resolved inside the target); for cp. */
  inside?: string;
  limits?: Partial<TarLimits>;
  /** Everything belongs to this user, whatever the archive says; for cp. */
  owner?: { uid: number; gid: number };
  /**
   * For what strangers have packed and is not kept in a container: no devices and pipes, no links that lead out, and neither
   * set-id bits nor extended attributes. Errors: invalid-argument for the former.
   */
  harmless?: boolean;
  /**
   * For a layer above others. "first": hard links to what is not there are left out and reported. "prepared": the
   * target already holds what was found for them in lower layers, and its directories count as implied.
   */
  above?: "first" | "prepared";
}

export interface Unpacked {
  /** Of the whole uncompressed stream. */
  diffId: Digest;
  /** Bytes of regular files. */
  size: number;
  entries: number;
  /**
   * Directories made without an entry of their own, relative to the target, as bytes; the empty path is the target itself.
   * They are 0755 root:root now; what they must look like is what the layers below say.
   */
  implied: Uint8Array[];
  /** Targets of hard links that were left out, relative to the target, as bytes. */
  missing: Uint8Array[];
}

const PIPE_SIZE = 1 << 20;
const EPIPE = 32;
const MAX_STDERR = 4096;

/**
 * Resolves when all is unpacked and the source is read to its end; nothing is synced. On failure the target holds
 * whatever was unpacked, and is the caller's to remove.
 * Errors: data-loss (corrupt or truncated), invalid-argument (an archive that breaks the rules),
 * resource-exhausted (disk full, naming the target), canceled, what the source throws, internal (the child died).
 */
export async function spawnUnpack(ctx: Ctx, request: UnpackRequest): Promise<Unpacked> {
  checkCanceled(ctx);
  const { target, overlayXattr, mode, inside, limits, owner, above, harmless } = request;
  const job: UnpackJob = { target, overlayXattr, mode, inside, limits, owner, above, harmless };
  const pipe = linux.pipe(PIPE_SIZE);
  let child: Child;
  try {
    linux.setNonBlocking(pipe.write);
    child = spawn(ctx, [...request.command, JSON.stringify(job)], {
      stdio: [pipe.read, "pipe", "pipe"],
      env: childEnvironment(),
    });
  } catch (error) {
    linux.close(pipe.write);
    throw error;
  } finally {
    linux.close(pipe.read);
  }
  const onAbort = (): void => child.kill(SIGKILL);
  ctx.signal.addEventListener("abort", onAbort, { once: true });
  try {
    const words = Promise.all([textOf(child.stdout), textOf(child.stderr)]);
    await feed(child, pipe.write, request.source);
    const [stdout, stderr] = await words;
    const { exitCode, signal } = await child.exited;
    checkCanceled(ctx);
    return toResult(ctx, target, { stdout, stderr, how: signal ?? `status ${exitCode}` });
  } finally {
    ctx.signal.removeEventListener("abort", onAbort);
  }
}

/** Nothing of the caller's environment may steer the child, but for what tests it. */
function childEnvironment(): Record<string, string | undefined> {
  const { BERTH_FAILPOINTS, PATH } = process.env;
  return { BERTH_FAILPOINTS, PATH };
}

async function textOf(stream: ReadableStream<Uint8Array> | undefined): Promise<string> {
  return stream === undefined ? "" : await new Response(stream as never).text();
}

/** Writes the source to the child until either ends, and closes the pipe. A source that throws takes the child with it. */
async function feed(child: Child, pipe: Fd, source: AsyncIterable<Uint8Array>): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  // A child that has died must not wait for a network that stalls. (Promise.race with its end would keep every chunk until then.)
  let isGone = false;
  let stopWaiting = (): void => {};
  const onExit = (): void => {
    isGone = true;
    stopWaiting();
  };
  child.exited.then(onExit, onExit);
  const nextUnlessGone = (): Promise<IteratorResult<Uint8Array> | undefined> =>
    new Promise((resolve, reject) => {
      stopWaiting = () => resolve(undefined);
      if (isGone) resolve(undefined);
      else iterator.next().then(resolve, reject);
    });
  try {
    for (;;) {
      const next = await nextUnlessGone();
      if (next === undefined) return void iterator.return?.().catch(() => {});
      if (next.done === true) return;
      if (!(await writeAll(pipe, next.value))) return void iterator.return?.().catch(() => {});
    }
  } catch (error) {
    child.kill(SIGKILL);
    await child.exited;
    throw error;
  } finally {
    linux.close(pipe);
  }
}

/** False if nobody reads any more. A full pipe holds several milliseconds of work, so waiting one does not starve the child. */
async function writeAll(pipe: Fd, bytes: Uint8Array): Promise<boolean> {
  let done = 0;
  while (done < bytes.length) {
    const result = tryCall("write", pipe, bytes.subarray(done), bytes.length - done);
    if (result >= 0) done += result;
    else if (result === -EPIPE) return false;
    else if (result === -EAGAIN) await Bun.sleep(1);
    else if (result !== -EINTR) throw new SysError("write", "unpack process", -result);
  }
  return true;
}

interface Ending {
  stdout: string;
  stderr: string;
  how: string;
}

function parseReply(text: string): UnpackReply | undefined {
  try {
    return JSON.parse(text) as UnpackReply;
  } catch {
    return undefined;
  }
}

function toResult(ctx: Ctx, target: string, { stdout, stderr, how }: Ending): Unpacked {
  const reply = parseReply(stdout);
  if (reply === undefined) {
    throw fail("internal", `the process that unpacks into "${target}" ended with ${how}`, {
      reason: "unpack-died",
      data: { stderr: stderr.slice(-MAX_STDERR) },
    });
  }
  if ("error" in reply) throw rethrown(reply, target);
  for (const warning of reply.warnings) ctx.log.area("storage").debug(warning);
  return done(reply);
}

function done({ diffId, size, entries, implied, missing }: UnpackDone): Unpacked {
  const bytes = (paths: string[]): Uint8Array[] => paths.map((path) => Buffer.from(path, "latin1"));
  return { diffId, size, entries, implied: bytes(implied), missing: bytes(missing) };
}

function rethrown({ error }: UnpackFailed, target: string): Error {
  const { kind, reason, message, hint, data } = error;
  if (kind === "resource-exhausted" && (reason === "ENOSPC" || reason === "EDQUOT")) {
    return fail(kind, `no space left while unpacking into "${target}": ${message}`, {
      reason,
      data: { ...data, target },
      hint: 'free space, for example with "berth system prune"',
    });
  }
  return fail(kind, message, { reason, data, ...(hint === undefined ? {} : { hint }) });
}
