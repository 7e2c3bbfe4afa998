/** Small steps that every durable change of the store is made of: fsync, rename aside, clear errors. */
import { closeSync, fsyncSync, openSync, readdirSync, renameSync } from "node:fs";
import type { Kind } from "../core/error-table.ts";
import { EngineError, fail, ioText } from "../core/error.ts";
import { AT_FDCWD } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { removeTree } from "../sys/remove-tree.ts";
import type { Sys } from "../sys/sys.ts";
import type { StorePaths } from "./paths.ts";

const KIND: Record<string, Kind> = {
  ENOSPC: "resource-exhausted",
  EDQUOT: "resource-exhausted",
  EMFILE: "resource-exhausted",
  SQLITE_FULL: "resource-exhausted",
  EACCES: "permission-denied",
  EPERM: "permission-denied",
  EROFS: "permission-denied",
  SQLITE_READONLY: "permission-denied",
  ENOENT: "not-found",
  EIO: "data-loss",
};

/** An error of node:fs or SQLite as ours; one that is ours already passes as it is. `what` begins the message: "cannot store …". */
export function ioError(error: unknown, what: string): EngineError {
  if (error instanceof EngineError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const reason = typeof code === "string" ? code : "io";
  const kind = KIND[reason] ?? "internal";
  return fail(kind, `${what}: ${ioText(error)}`, {
    reason,
    cause: error,
    ...(kind === "resource-exhausted" ? { hint: 'free space, for example with "berth system prune"' } : {}),
  });
}

/** Makes the names in a directory durable: a rename without this may be undone by a power cut. */
export function fsyncDir(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** A name nobody else uses, for the ingest and trash directories. */
export function uniqueName(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/**
 * Takes a file or directory out of sight in one rename; what is in the trash is deleted by whoever
 * comes. Returns its new path, or undefined if there was nothing.
 */
export function moveToTrash(paths: StorePaths, path: string): string | undefined {
  const aside = `${paths.trash}/${uniqueName()}`;
  try {
    renameSync(path, aside);
    return aside;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

const DELETE_ATTEMPTS = 20;

/**
 * Deletes a tree; links are not followed, what is gone already is no error, and others may be deleting the
 * same tree. Errors: in-use for a mount point in it.
 */
export function deleteTree(sys: Sys, path: string): void {
  for (let attempt = 1; ; attempt++) {
    try {
      return removeTree(sys, AT_FDCWD, path);
    } catch (error) {
      // Somebody else took a directory away under us, or was just filling it.
      if (!hasCode(error, "ENOENT", "ENOTEMPTY") || attempt === DELETE_ATTEMPTS) throw error;
    }
  }
}

/** Both steps: out of sight at once, then deleted. */
export function discard(deps: { sys: Sys; paths: StorePaths }, path: string): void {
  const aside = moveToTrash(deps.paths, path);
  if (aside !== undefined) deleteTree(deps.sys, aside);
}

/** Names in a directory; none if it does not exist. */
export function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}
