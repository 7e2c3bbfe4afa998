/** A blob on its way as a step of the progress display. */
import type { Ctx, ProgressEvent } from "../core/ctx.ts";
import { shortId } from "../core/id.ts";
import { digestHex } from "../image/digest.ts";
import type { Digest } from "../image/image.ts";

/** The step's id, under which people see the blob. */
export function stepId(digest: Digest): string {
  return shortId(digestHex(digest));
}

/** The bytes as they are; each chunk is reported once its receiver has dealt with it. */
export async function* counted(
  ctx: Ctx,
  source: AsyncIterable<Uint8Array>,
  step: Pick<ProgressEvent, "id" | "status" | "total">,
): AsyncGenerator<Uint8Array, void, undefined> {
  let current = 0;
  for await (const chunk of source) {
    // The receiver may take the memory along.
    const { length } = chunk;
    yield chunk;
    current += length;
    ctx.progress({ ...step, current });
  }
}
