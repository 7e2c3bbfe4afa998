/** An archive's bytes without their compression, whatever that is; bzip2 and xz by the host's programs. */
import { decompress, hostDecoder, peekCompression } from "../archive/compress.ts";
import type { Ctx } from "../core/ctx.ts";
import { throughProgram } from "../storage/host-decoder.ts";

/** Errors: data-loss (corrupt, truncated), not-found naming the package of a missing decoder, and those of the source. */
export async function* plainStream(
  ctx: Ctx,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { compression, stream } = await peekCompression(source);
  const argv = hostDecoder(compression);
  yield* argv === undefined ? decompress(stream) : throughProgram(ctx, argv, stream);
}
