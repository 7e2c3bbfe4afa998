/**
 * The state database: SQLite in WAL mode, shared by any number of berth processes without a daemon.
 *
 * One connection a process, and the file is never opened by other means while it lives: POSIX
 * locks die with any close of the file. Writes go through `tx` (BEGIN IMMEDIATE), so a reader never
 * turns into a writer half way; nested `tx` calls join the outer one. `tx` survives a crash of the process;
 * `durable` survives a power cut as well (synchronous=FULL for that commit).
 */
import { constants, Database, type SQLQueryBindings } from "bun:sqlite";
import { EngineError, fail } from "../core/error.ts";

export type Value = string | number | bigint | Uint8Array | null;

/** SQL by the version that it leads to; see {@link Db.open}. */
export type Migrations = Readonly<Record<number, string>>;

const BUSY_TIMEOUT_MS = 30_000;

export class Db {
  readonly path: string;
  readonly #db: Database;
  #depth = 0;

  private constructor(path: string, db: Database) {
    this.path = path;
    this.#db = db;
  }

  /**
   * Opens or creates the file, and brings it to `version` (kept in `user_version`) in one transaction; a higher
   * one belongs to a newer berth. How a schema changes, for whoever does it next:
   *
   * - `schema` is the whole of it as it is now: CREATE … IF NOT EXISTS statements. A new file gets just that.
   * - A new table or index needs no more than its statement there and a higher version: an older file gets it the same way.
   * - What those statements cannot do to tables that exist (a column more, rows to rewrite) is also a step in `steps`, under the version that
   *   it leads to: SQL that turns a file of the version before into that one. An older file gets all steps that it lacks, in
   *   order, and then `schema`. Steps are never edited once they are released.
   * - Processes of the older version may be running on the file meanwhile, and they do not look again: what they read
   *   and write must stay right for them, so columns and tables are added and not renamed, and a column has a default.
   *
   * Errors: conflict (newer store), data-loss (not a database), internal.
   */
  static open(path: string, version: number, schema: string, steps: Migrations = {}): Db {
    try {
      const raw = new Database(path, { create: true, readwrite: true });
      raw.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      const db = new Db(path, raw);
      db.#migrate(version, schema, steps);
      raw.run("PRAGMA synchronous = NORMAL");
      return db;
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw fail("data-loss", `cannot open the state database "${path}": ${(error as Error).message}`, {
        reason: "db-open",
        cause: error,
      });
    }
  }

  /**
   * Opens a database that is never written: without locks and without files beside it, on a read-only file system too. The
   * contents of its "-wal" are not seen. Errors: data-loss (not a database).
   */
  static openImmutable(path: string): Db {
    const special = /[%?#]/g;
    const name = path.replace(special, (c) => `%${c.charCodeAt(0).toString(16)}`);
    const flags = constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI;
    return Db.#reading(path, () => new Database(`file:${name}?immutable=1`, flags));
  }

  /** Opens a private copy of a database with its log as it is, without a migration. Errors: data-loss. */
  static openCopy(path: string): Db {
    return Db.#reading(path, () => new Database(path, { readwrite: true }));
  }

  static #reading(path: string, open: () => Database): Db {
    try {
      return new Db(path, open());
    } catch (error) {
      throw fail("data-loss", `cannot read the state database "${path}": ${(error as Error).message}`, {
        reason: "db-open",
        cause: error,
      });
    }
  }

  #version(): number {
    return this.get<{ user_version: number }>("PRAGMA user_version")?.user_version ?? 0;
  }

  #migrate(version: number, schema: string, steps: Migrations): void {
    if (this.#isCurrent(version)) return;
    this.#db.run("PRAGMA journal_mode = WAL");
    this.tx(() => {
      // Asked again now that nobody else can be doing the same.
      if (this.#isCurrent(version)) return;
      const found = this.#version();
      for (let next = found + 1; found > 0 && next <= version; next++) {
        const step = steps[next];
        if (step !== undefined) this.#db.run(step);
      }
      this.#db.run(schema);
      this.#db.run(`PRAGMA user_version = ${version}`);
    });
  }

  /** Errors: conflict. */
  #isCurrent(version: number): boolean {
    const found = this.#version();
    if (found <= version) return found === version;
    throw fail(
      "conflict",
      `the store "${this.path}" was written by a newer berth (schema ${found}, this one knows ${version})`,
      { reason: "newer-store", hint: "use that berth, or another store with --root and --run" },
    );
  }

  /** Runs `body` in one write transaction; throws roll it back. Synchronous on purpose: never hold it across an await. */
  tx<T>(body: () => T): T {
    if (this.#depth > 0) return body();
    this.#db.run("BEGIN IMMEDIATE");
    this.#depth++;
    try {
      const result = body();
      this.#db.run("COMMIT");
      return result;
    } catch (error) {
      if (this.#db.inTransaction) this.#db.run("ROLLBACK");
      throw error;
    } finally {
      this.#depth--;
    }
  }

  /** As `tx`, and on the disk when it returns. Use where a later power cut must not undo what was said to be done. */
  durable<T>(body: () => T): T {
    if (this.#depth > 0) return body();
    this.#db.run("PRAGMA synchronous = FULL");
    try {
      return this.tx(body);
    } finally {
      this.#db.run("PRAGMA synchronous = NORMAL");
    }
  }

  run(sql: string, ...values: Value[]): { changes: number } {
    const result = this.#db.query(sql).run(...(values as SQLQueryBindings[]));
    return { changes: result.changes };
  }

  get<T>(sql: string, ...values: Value[]): T | undefined {
    return (this.#db.query(sql).get(...(values as SQLQueryBindings[])) as T | null) ?? undefined;
  }

  all<T>(sql: string, ...values: Value[]): T[] {
    return this.#db.query(sql).all(...(values as SQLQueryBindings[])) as T[];
  }

  /** "ok", or what `PRAGMA integrity_check` found. */
  integrity(): string {
    return this.all<{ integrity_check: string }>("PRAGMA integrity_check")
      .map((r) => r.integrity_check)
      .join("; ");
  }

  close(): void {
    this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
