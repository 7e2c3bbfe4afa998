/**
 * Unpacking an archive into a directory, in a sandboxed child of our own program (DESIGN §7).
 *
 * This side feeds a child compressed bytes as fast as it takes them and waits for its word.
 */
import type { TarLimits } from "../archive/archive.ts";
import { hostDecoder, peekCompression } from "../archive/compress.ts";
import type { Ctx } from "../core/ctx.ts";
import { checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import { throughProgram } from "./host-decoder.ts";
import { UnpackPool } from "./unpack-pool.ts";
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

/**
 * Resolves when all is unpacked and the source is read to its end; nothing is synced. On failure the target holds
 * whatever was unpacked, and is the caller's to remove. `pool` lends its unpackers; without one a fresh one does the job and ends.
 * Errors: data-loss (corrupt or truncated), invalid-argument (an archive that breaks the rules),
 * resource-exhausted (disk full, naming the target), canceled, what the source throws, internal (the child died).
 */
export async function spawnUnpack(
  ctx: Ctx,
  request: UnpackRequest,
  pool: UnpackPool = new UnpackPool(request.command, request.target),
): Promise<Unpacked> {
  checkCanceled(ctx);
  const { target, overlayXattr, mode, inside, limits, owner, above, harmless } = request;
  const job: UnpackJob = { overlayXattr, mode, inside, limits, owner, above, harmless };
  const source = await plainEnough(ctx, request.source);
  return toResult(ctx, target, await pool.run(ctx, { target, job, source }));
}

/** What the child cannot inflate itself, the host's programs do, out here. */
async function plainEnough(ctx: Ctx, source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const { compression, stream } = await peekCompression(source);
  const argv = hostDecoder(compression);
  return argv === undefined ? stream : throughProgram(ctx, argv, stream);
}

function toResult(ctx: Ctx, target: string, reply: UnpackReply): Unpacked {
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
