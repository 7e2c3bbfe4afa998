/** What comes into the store piece by piece, and what stays of it when the work fails. */
import type { Kind } from "../core/error-table.ts";
import { EngineError } from "../core/error.ts";
import { collectGarbage } from "../storage/gc.ts";
import type { Lease } from "../storage/storage.ts";
import type { Engine } from "./engine.ts";

/** The bytes were right as far as they came: whoever tries again wants to go on with them. */
const BROKEN_OFF: readonly Kind[] = ["unavailable", "canceled", "unauthenticated"];

/**
 * Runs `work` under a lease of its own. If it fails because something is wrong with what came, or because there is no room for it, all
 * that nothing else needs goes again. If only the way it came on has failed, whole blobs and layers stay as beginnings do: unseen, for the
 * next try, until something is pruned.
 */
export async function underLease<T>(engine: Engine, work: (lease: Lease) => Promise<T>): Promise<T> {
  using lease = engine.leases.take("pull");
  try {
    return await work(lease);
  } catch (error) {
    lease.release();
    if (!isBrokenOff(error)) collectGarbage(engine.store);
    throw error;
  }
}

function isBrokenOff(error: unknown): boolean {
  return (
    error instanceof EngineError && (BROKEN_OFF.includes(error.kind) || error.data["transient"] === true)
  );
}
