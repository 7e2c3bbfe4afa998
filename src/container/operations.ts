/**
 * What is being done to a container, and by whom, while it is half done. The row comes with the first
 * step and goes with the last, in the transactions of those steps; when its owner is dead, the
 * next command finds it and undoes the work (`run`: the container goes; `start`: it is as before; `pause`: it goes on) or
 * finishes it (`remove`).
 */
import type { Db } from "../sys/db.ts";
import { bootId } from "../sys/host.ts";
import type { Sys } from "../sys/sys.ts";

/** `pause` is that of a commit, which ends with it. */
export type Verb = "run" | "start" | "remove" | "pause";

export interface Operation {
  container: string;
  verb: Verb;
}

interface Row extends Operation {
  pid: number;
  pid_start: number;
  boot_id: string;
}

export class Operations {
  readonly #db: Db;
  readonly #host: { readonly sys: Sys };

  /** `host.sys` is asked for only when there is a row. */
  constructor(db: Db, host: { readonly sys: Sys }) {
    this.#db = db;
    this.#host = host;
  }

  /** This process begins; a row of a former owner is replaced (its holder of the container's lock is gone). */
  begin(container: string, verb: Verb): void {
    this.#db.run(
      "INSERT OR REPLACE INTO operations (container, verb, pid, pid_start, boot_id) VALUES (?, ?, ?, ?, ?)",
      container,
      verb,
      process.pid,
      this.#host.sys.startTime(process.pid) ?? 0,
      bootId(),
    );
  }

  end(container: string): void {
    this.#db.run("DELETE FROM operations WHERE container = ?", container);
  }

  /** Operations whose owners are dead; one indexed read when there are none at all. */
  abandoned(): Operation[] {
    const rows = this.#db.all<Row>("SELECT * FROM operations");
    return rows.filter(
      (row) => row.boot_id !== bootId() || this.#host.sys.startTime(row.pid) !== row.pid_start,
    );
  }

  of(container: string): Operation | undefined {
    return this.#db.get<Row>("SELECT * FROM operations WHERE container = ?", container);
  }
}
