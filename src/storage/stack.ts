/** The chain of layers below one, by a single recursive query: on the path of every `run`. */
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";

interface StackRow {
  chain_id: string;
  parent: string | null;
  opaque: number;
}

/** Chain ids from top to bottom: all that an image stands on. Errors: not-found if one is missing. */
export function stackIds(db: Db, top: Digest): Digest[] {
  return stackRows(db, top).map((row) => row.chain_id);
}

/**
 * The part of the stack that shows, topmost first: what overlayfs gets as its lowers. It ends at a layer whose root is
 * opaque, because the kernel looks for that mark everywhere but on the root of a lower. Errors: not-found if one is missing.
 */
export function visibleIds(db: Db, top: Digest): Digest[] {
  const rows = stackRows(db, top);
  const end = rows.findIndex((row) => row.opaque === 1);
  return (end === -1 ? rows : rows.slice(0, end + 1)).map((row) => row.chain_id);
}

function stackRows(db: Db, top: Digest): StackRow[] {
  const rows = db.all<StackRow>(
    `WITH RECURSIVE stack(chain_id, parent, opaque, depth) AS (
       SELECT chain_id, parent, opaque, 0 FROM layers WHERE chain_id = ?
       UNION ALL SELECT l.chain_id, l.parent, l.opaque, depth + 1 FROM layers l JOIN stack ON l.chain_id = stack.parent
     ) SELECT chain_id, parent, opaque FROM stack ORDER BY depth`,
    top,
  );
  const last = rows.at(-1);
  if (last !== undefined && last.parent === null) return rows;
  throw layerUnknown(last?.parent ?? top);
}

export function layerUnknown(chainId: Digest): Error {
  return fail("not-found", `layer "${chainId}" is not in the store`, { reason: "layer-unknown" });
}
