/**
 * Changing a small file that several programs and people share: read, change, write aside, rename, under a lock. The lock is one on
 * the directory, so that nothing is left lying about; other programs rename too, so a reader never sees half a file.
 */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { O_DIRECTORY, O_RDONLY } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";

export interface UpdatedFile {
  path: string;
  /** Of the file from now on. */
  mode: number;
  /** Of directories that are made for it. */
  directoryMode: number;
}

/**
 * `change` gets the file's text, undefined if there is none, and gives the new one; undefined leaves it alone. A symbolic
 * link stays one: what it leads to is replaced. Durable when it returns. Errors: those of the file system, and what `change` throws.
 */
export function updateFile(
  file: UpdatedFile,
  change: (before: string | undefined) => string | undefined,
): void {
  const path = target(file.path);
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: file.directoryMode });
  const lock = linux.open(directory, O_RDONLY | O_DIRECTORY);
  try {
    linux.flock(lock, "exclusive", true);
    const before = readIfThere(path);
    const after = change(before);
    if (after === undefined || after === before) return;
    replace(path, after, file.mode);
    linux.fsync(lock);
  } finally {
    linux.close(lock);
  }
}

function target(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return path;
    throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Under the lock, so that what a killed process has left under the name is nobody's. */
function replace(path: string, text: string, mode: number): void {
  const aside = join(dirname(path), `.${basename(path)}.berth`);
  rmSync(aside, { force: true });
  try {
    // Never readable for others, not even for a moment.
    writeFileSync(aside, text, { mode: mode & 0o600, flag: "wx", flush: true });
    keepOwner(path, aside);
    chmodSync(aside, mode);
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

/** With sudo, a user's file must stay the user's. */
function keepOwner(path: string, aside: string): void {
  const before = statSync(path, { throwIfNoEntry: false });
  if (before === undefined || (before.uid === process.geteuid?.() && before.gid === process.getegid?.()))
    return;
  chownSync(aside, before.uid, before.gid);
}
