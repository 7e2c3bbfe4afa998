/** The chain of layers below one, by a single recursive query in each store that has a part of it: on the path of every `run`. */
import { fail } from "../core/error.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import { type AdditionalStores, storeOfLayer } from "./additional.ts";
import type { StorePaths } from "./paths.ts";

export interface StackDeps {
  db: Db;
  paths: StorePaths;
  additional?: AdditionalStores | undefined;
}

interface StackRow {
  chain_id: string;
  parent: string | null;
  opaque: number;
}

/** No image has so many layers: a database that says so goes round in circles. */
const MAX_DEPTH = 10_000;

/** Chain ids from top to bottom: all that an image stands on. Errors: not-found if one is missing. */
export function stackIds(deps: StackDeps, top: Digest): Digest[] {
  return stackRows(deps, top).map((row) => row.chain_id);
}

/** As {@link stackIds}, of this store alone: down to the first layer that it does not have. */
export function ownStackIds(db: Db, top: Digest): Digest[] {
  return rowsBelow(db, top).map((row) => row.chain_id);
}

/**
 * Directories of the part of the stack that shows, topmost first: what overlayfs gets as its lowers. It ends at a layer whose root is
 * opaque, because the kernel looks for that mark everywhere but on the root of a lower. Errors: not-found if one is missing.
 */
export function visibleDirs(deps: StackDeps, top: Digest): string[] {
  const rows = stackRows(deps, top);
  const end = rows.findIndex((row) => row.opaque === 1);
  return (end === -1 ? rows : rows.slice(0, end + 1)).map((row) => row.paths.diff(row.chain_id));
}

type Placed = StackRow & { paths: StorePaths };

function stackRows(deps: StackDeps, top: Digest): Placed[] {
  const rows: Placed[] = [];
  for (let wanted: Digest | null = top; wanted !== null; wanted = rows.at(-1)?.parent ?? null) {
    const own = rowsBelow(deps.db, wanted).map((row) => ({ ...row, paths: deps.paths }));
    rows.push(...(own.length > 0 ? own : [rowElsewhere(deps, wanted)]));
    if (rows.length >= MAX_DEPTH) throw layerUnknown(wanted);
  }
  return rows;
}

/** Of additional stores each layer is looked for in all of them: one may have lost what another one has. */
function rowElsewhere(deps: StackDeps, chainId: Digest): Placed {
  const store = storeOfLayer(deps.additional, chainId);
  const sql = "SELECT chain_id, parent, opaque FROM layers WHERE chain_id = ?";
  const row = store?.db.get<StackRow>(sql, chainId);
  if (store === undefined || row === undefined) throw layerUnknown(chainId);
  return { ...row, paths: store.paths };
}

function rowsBelow(db: Db, top: Digest): StackRow[] {
  return db.all<StackRow>(
    `WITH RECURSIVE stack(chain_id, parent, opaque, depth) AS (
       SELECT chain_id, parent, opaque, 0 FROM layers WHERE chain_id = ?
       UNION ALL SELECT l.chain_id, l.parent, l.opaque, depth + 1 FROM layers l JOIN stack ON l.chain_id = stack.parent
         WHERE depth < ${MAX_DEPTH}
     ) SELECT chain_id, parent, opaque FROM stack ORDER BY depth`,
    top,
  );
}

export function layerUnknown(chainId: Digest): Error {
  return fail("not-found", `layer "${chainId}" is not in the store`, { reason: "layer-unknown" });
}
