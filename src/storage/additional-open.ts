/** Opening additional stores: read-only, and whatever is wrong with one of them is a warning and no failure. */
import { copyFileSync, mkdirSync, realpathSync, statSync } from "node:fs";
import { messageOf } from "../core/error.ts";
import { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import type { AdditionalStore, AdditionalStores } from "./additional.ts";
import { deleteTree, uniqueName } from "./files.ts";
import type { Owner } from "./lease.ts";
import { type StorePaths, storePaths } from "./paths.ts";
import { openStore } from "./store.ts";

/** Has all the tables that reading needs. A store that is only read cannot be brought to a newer one. */
const OLDEST_SCHEMA = 2;

export interface AdditionalRequest {
  sys: Sys;
  /** Of the own store: it is no additional one of itself, and in its ingest directory databases are copied that need it. */
  own: StorePaths;
  /** Directories, the most important first. */
  roots: () => readonly string[];
  /** The newest schema this program can read. */
  version: number;
  owner: () => Owner;
  warn: (message: string) => void;
}

export function additionalStores(request: AdditionalRequest): AdditionalStores {
  let opened: AdditionalStore[] | undefined;
  return () => {
    if (opened !== undefined) return opened;
    opened = [];
    const seen = new Set([realPath(request.own.root)]);
    for (const root of request.roots()) {
      const real = realPath(root);
      if (seen.has(real)) continue;
      seen.add(real);
      try {
        opened.push(openOne(request, root));
      } catch (error) {
        request.warn(`additional store "${root}" is left out: ${messageOf(error)}`);
      }
    }
    return opened;
  };
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function openOne({ sys, own, version, owner }: AdditionalRequest, root: string): AdditionalStore {
  const paths = storePaths(root, own.run);
  const db = openDatabase(sys, paths.db, own);
  const found = db.get<{ user_version: number }>("PRAGMA user_version")?.user_version ?? 0;
  if (found > version) {
    throw new Error(`it was written by a newer berth (schema ${found}, this one knows ${version})`);
  }
  if (found < OLDEST_SCHEMA)
    throw new Error(`it was written by an older berth (schema ${found}) and cannot be read as it is`);
  // Damage shows now, and not in the middle of a command.
  db.get("SELECT count(*) FROM images, layers, blobs, image_names WHERE 0");
  return openStore({ db, sys, paths, owner, unpackCommand: [], readOnlyRoot: root });
}

/**
 * As it is in the file, without locks: SQLite then makes no files beside it. A log that its last writer has not put into the file
 * (it was killed, or is running) would be overlooked so: then a private copy of the two is opened.
 */
function openDatabase(sys: Sys, path: string, own: StorePaths): Db {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) throw new Error("there is no store");
  if ((statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) === 0) return Db.openImmutable(path);
  // Where recovery finds it, should we be killed.
  const aside = `${own.ingest}/additional-${uniqueName()}`;
  try {
    mkdirSync(aside, 0o700);
    const copy = `${aside}/berth.db`;
    copyTogether(path, copy);
    const db = Db.openCopy(copy);
    // Reads the log, so that nothing needs the names any more.
    db.get("SELECT count(*) FROM sqlite_master");
    return db;
  } finally {
    deleteTree(sys, aside);
  }
}

const COPY_ATTEMPTS = 5;

/** Of one moment: again if one of them changed meanwhile. */
function copyTogether(path: string, copy: string): void {
  const files = ["", "-wal"];
  const stamp = (): string =>
    files
      .map((suffix) => statSync(path + suffix, { throwIfNoEntry: false, bigint: true }))
      .map((stat) => `${stat?.ino}:${stat?.size}:${stat?.mtimeNs}`)
      .join();
  for (let attempt = 1; ; attempt++) {
    const before = stamp();
    for (const suffix of files) copyFileSync(path + suffix, copy + suffix);
    if (stamp() === before) return;
    if (attempt === COPY_ATTEMPTS) throw new Error("it is being written all the time");
  }
}
