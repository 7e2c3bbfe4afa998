/**
 * The state database: SQLite in WAL mode, shared by any number of berth processes without a daemon.
 *
 * One connection a process, and the file is never opened by other means while it lives: POSIX
 * locks die with any close of the file. Writes go through `tx` (BEGIN IMMEDIATE), so a reader never
 * turns into a writer half way; nested `tx` calls join the outer one. `tx` survives a crash of the process;
 * `durable` survives a power cut as well (synchronous=FULL for that commit).
 */
import { Database, type SQLQueryBindings } from "bun:sqlite";
import { EngineError, fail } from "../core/error.ts";

export type Value = string | number | bigint | Uint8Array | null;

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
   * Opens or creates the file. When its `user_version` is lower than `version`, `schema` (idempotent
   * CREATE … IF NOT EXISTS statements) is run; when it is higher, the store belongs to a newer berth.
   * Errors: conflict (newer store), data-loss (not a database), internal.
   */
  static open(path: string, version: number, schema: string): Db {
    try {
      const raw = new Database(path, { create: true, readwrite: true });
      raw.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      const db = new Db(path, raw);
      db.#migrate(version, schema);
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

  #migrate(version: number, schema: string): void {
    const found = this.get<{ user_version: number }>("PRAGMA user_version")?.user_version ?? 0;
    if (found === version) return;
    if (found > version) {
      throw fail(
        "conflict",
        `the store "${this.path}" was written by a newer berth (schema ${found}, this one knows ${version})`,
      );
    }
    this.#db.run("PRAGMA journal_mode = WAL");
    this.tx(() => {
      this.#db.run(schema);
      this.#db.run(`PRAGMA user_version = ${version}`);
    });
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
