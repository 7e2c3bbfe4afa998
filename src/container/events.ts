/** What happened to objects, in the order it happened; kept in the state database, the newest EVENTS_KEPT of them. */
import type { Db } from "../sys/db.ts";

export interface EngineEvent {
  /** Grows by one with every event; use it to continue where one stopped. */
  seq: number;
  /** Nanoseconds since the epoch. */
  timeNano: bigint;
  type: "container" | "image" | "artifact" | "network" | "system";
  action: string;
  id: string;
  name: string;
  attributes: Record<string, string>;
}

interface Row {
  seq: number;
  /** As text: nanoseconds do not fit a double. */
  time_text: string;
  type: EngineEvent["type"];
  action: string;
  object: string;
  name: string;
  attributes: string;
}

const EVENTS_KEPT = 20_000;

export class Events {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  add(event: Omit<EngineEvent, "seq" | "timeNano">): void {
    this.#db.tx(() => {
      this.#db.run(
        "INSERT INTO events (time_ns, type, action, object, name, attributes) VALUES (?, ?, ?, ?, ?, ?)",
        nowNano(),
        event.type,
        event.action,
        event.id,
        event.name,
        JSON.stringify(event.attributes),
      );
      const last = this.#db.get<{ seq: number }>("SELECT max(seq) AS seq FROM events")?.seq ?? 0;
      if (last % 1000 === 0) this.#db.run("DELETE FROM events WHERE seq <= ?", last - EVENTS_KEPT);
    });
  }

  /** Events after `seq`, oldest first. */
  after(seq: number): EngineEvent[] {
    return this.#db
      .all<Row>("SELECT *, CAST(time_ns AS TEXT) AS time_text FROM events WHERE seq > ? ORDER BY seq", seq)
      .map((row) => ({
        seq: row.seq,
        timeNano: BigInt(row.time_text),
        type: row.type,
        action: row.action,
        id: row.object,
        name: row.name,
        attributes: JSON.parse(row.attributes) as Record<string, string>,
      }));
  }

  /** Exit code of a container's latest life, once somebody has recorded its end; still known when the container is gone. */
  endOf(container: string): number | undefined {
    const last = this.#db.get<{ action: string; attributes: string }>(
      "SELECT action, attributes FROM events WHERE object = ? AND action IN ('start', 'died') ORDER BY seq DESC LIMIT 1",
      container,
    );
    if (last?.action !== "died") return undefined;
    return Number((JSON.parse(last.attributes) as Record<string, string>)["containerExitCode"]);
  }

  lastSeq(): number {
    return this.#db.get<{ seq: number | null }>("SELECT max(seq) AS seq FROM events")?.seq ?? 0;
  }
}

/** Wall clock in nanoseconds, monotonic within a process to the resolution of `performance.now`. */
function nowNano(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1000)) * 1000n;
}
