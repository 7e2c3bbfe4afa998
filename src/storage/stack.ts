/** The chain of layers below one, by a single recursive query: on the path of every `run`. */
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";

interface StackRow {
  chain_id: string;
  parent: string | null;
}

/** Chain ids from top to bottom. Errors: not-found if one is missing. */
export function stackIds(db: Db, top: Digest): Digest[] {
  const rows = db.all<StackRow>(
    `WITH RECURSIVE stack(chain_id, parent, depth) AS (
       SELECT chain_id, parent, 0 FROM layers WHERE chain_id = ?
       UNION ALL SELECT l.chain_id, l.parent, depth + 1 FROM layers l JOIN stack ON l.chain_id = stack.parent
     ) SELECT chain_id, parent FROM stack ORDER BY depth`,
    top,
  );
  const last = rows.at(-1);
  if (last !== undefined && last.parent === null) return rows.map((row) => row.chain_id);
  throw layerUnknown(last?.parent ?? top);
}

export function layerUnknown(chainId: Digest): Error {
  return fail("not-found", `layer "${chainId}" is not in the store`, { reason: "layer-unknown" });
}
