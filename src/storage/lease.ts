/**
 * Leases: who is busy with what. A row is committed before the temporary thing it speaks of comes into being
 * and goes in the transaction that makes it permanent; `recover.ts` undoes what dead owners left.
 *
 * A process is dead when its boot is over, its pid is free, or the pid has another start time.
 */
import { now } from "../core/time.ts";
import type { Digest } from "../image/image.ts";
import type { Db } from "../sys/db.ts";
import type { Sys } from "../sys/sys.ts";
import { uniqueName } from "./files.ts";
import type { Lease } from "./storage.ts";

/** The process that holds leases. */
export interface Owner {
  pid: number;
  /** Field 22 of /proc/PID/stat. */
  startTime: number;
  /** /proc/sys/kernel/random/boot_id. */
  bootId: string;
}

/**
 * `session` protects what a short command made until it ends; `pull` and the like are taken by callers of
 * the store; `blob`, `layer` and `image` have a path under `ingest/` (an image's is the beginning of its files' names);
 * `rootfs` has one under `containers/`; `gc` says that files without rows are being deleted.
 */
export type LeaseKind =
  | "session"
  | "pull"
  | "load"
  | "commit"
  | "build"
  | "blob"
  | "layer"
  | "image"
  | "rootfs"
  | "gc";

export interface LeaseRow {
  id: string;
  kind: LeaseKind;
  path: string;
  pid: number;
  start_time: number;
  boot_id: string;
  created: string;
}

export interface Leases {
  /** `path` is relative to the store's root. */
  take(kind: LeaseKind, path?: string): Lease;
  /** The lease that stands in where a caller gives none; made at first use, kept until the process ends or `endSession`. */
  session(): Lease;
  endSession(): void;
  /** Rows whose owner is gone. */
  dead(): LeaseRow[];
}

export interface LeaseDeps {
  db: Db;
  sys: Sys;
  /** This process; asked at the first lease, so that commands that only read pay nothing. */
  owner: () => Owner;
}

export function createLeases(deps: LeaseDeps): Leases {
  const { db } = deps;
  let owner: Owner | undefined;
  let session: Lease | undefined;
  const me = (): Owner => (owner ??= deps.owner());

  const take = (kind: LeaseKind, path = ""): Lease => {
    const id = uniqueName();
    const { pid, startTime, bootId } = me();
    db.tx(() =>
      db.run(
        "INSERT INTO leases (id, kind, path, pid, start_time, boot_id, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        id,
        kind,
        path,
        pid,
        startTime,
        bootId,
        now(),
      ),
    );
    return openLease(db, id);
  };

  return {
    take,
    session: () => (session ??= take("session")),
    endSession: () => {
      session?.release();
      session = undefined;
    },
    dead: () => {
      const rows = db.all<LeaseRow>("SELECT * FROM leases");
      return rows.length === 0 ? [] : rows.filter((row) => isDead(deps.sys, me(), row));
    },
  };
}

function openLease(db: Db, id: string): Lease {
  let released = false;
  const release = (): void => {
    if (released) return;
    released = true;
    dropLease(db, id);
  };
  return {
    id,
    protect: (kind: "blob" | "layer", digest: Digest) => {
      const sql = "INSERT OR IGNORE INTO lease_refs (lease, kind, digest) VALUES (?, ?, ?)";
      db.tx(() => db.run(sql, id, kind, digest));
    },
    release,
    [Symbol.dispose]: release,
  };
}

/** Takes the row and what it protects away; also of another process, once what it spoke of is undone. */
export function dropLease(db: Db, id: string): void {
  db.tx(() => {
    db.run("DELETE FROM leases WHERE id = ?", id);
    db.run("DELETE FROM lease_refs WHERE lease = ?", id);
  });
}

function isDead(sys: Sys, me: Owner, row: LeaseRow): boolean {
  if (row.boot_id !== me.bootId) return true;
  if (row.pid === me.pid) return row.start_time !== me.startTime;
  return sys.startTime(row.pid) !== row.start_time;
}
