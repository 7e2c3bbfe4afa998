/**
 * Records of containers in the state database. Every change of a state goes through here, in one
 * transaction with the event that tells of it.
 *
 * Errors: not-found with podman's words (`no container with name or ID "x" found: no such container`),
 * already-exists for a name, conflict for an ambiguous id prefix, data-loss for a damaged row.
 */
import { fail } from "../core/error.ts";
import { isIdPrefix, shortId } from "../core/id.ts";
import type { Db } from "../sys/db.ts";
import type { ContainerRecord, ContainerSpec, ContainerState } from "./container.ts";

interface Row {
  id: string;
  name: string;
  created: string;
  spec: string;
  state: string;
}

/** Images that containers have mounted (`--mount type=image`). A damaged record has none. */
const MOUNTED = `SELECT json_extract(m.value, '$.source') AS image_id, c.id AS id FROM containers c,
  json_each(CASE WHEN instr(c.spec, '"type":"image"') > 0 AND json_valid(c.spec) THEN c.spec ELSE '{}' END, '$.mounts') m
  WHERE json_extract(m.value, '$.type') = 'image'`;

const COLUMNS = "id, name, created, spec, state";

export class ContainerRecords {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /** Reserves the name and makes the container visible. Errors: already-exists. */
  insert(record: ContainerRecord): void {
    this.#db.tx(() => {
      const holder = this.#db.get<{ id: string }>("SELECT id FROM containers WHERE name = ?", record.name);
      if (holder !== undefined) throw nameTaken(record.name, holder.id);
      this.#db.run(
        `INSERT INTO containers (${COLUMNS}, image_id, status) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        record.id,
        record.name,
        record.created,
        JSON.stringify(record.spec),
        JSON.stringify(record.state),
        record.spec.imageId ?? null,
        record.state.status,
      );
    });
  }

  get(id: string): ContainerRecord | undefined {
    const row = this.#db.get<Row>(`SELECT ${COLUMNS} FROM containers WHERE id = ?`, id);
    return row === undefined ? undefined : parse(row);
  }

  /** By name, id, or unique id prefix. A name wins over a prefix. */
  find(nameOrId: string): ContainerRecord | undefined {
    const text = nameOrId.startsWith("/") ? nameOrId.slice(1) : nameOrId;
    const exact = this.#db.get<Row>(`SELECT ${COLUMNS} FROM containers WHERE name = ? OR id = ?`, text, text);
    if (exact !== undefined) return parse(exact);
    if (!isIdPrefix(text)) return undefined;
    const upper = `${text}g`; // 'g' sorts after every hexadecimal digit
    const rows = this.#db.all<Row>(
      `SELECT ${COLUMNS} FROM containers WHERE id >= ? AND id < ? LIMIT 2`,
      text,
      upper,
    );
    if (rows.length > 1) {
      throw fail("conflict", `more than one container has an ID that starts with "${text}"`, {
        reason: "ambiguous-id",
        hint: "give more digits",
      });
    }
    return rows[0] === undefined ? undefined : parse(rows[0]);
  }

  resolve(nameOrId: string): ContainerRecord {
    const found = this.find(nameOrId);
    if (found === undefined) throw noSuchContainer(nameOrId);
    return found;
  }

  /** Oldest first; without damaged ones, which must not keep the others from being seen. */
  list(): ContainerRecord[] {
    return this.#db
      .all<Row>(`SELECT ${COLUMNS} FROM containers ORDER BY created, id`)
      .flatMap((row) => tryParse(row) ?? []);
  }

  /** Those whose rows cannot be read: a finding of `system check`. */
  damaged(): { id: string; name: string }[] {
    return this.#db
      .all<Row>(`SELECT ${COLUMNS} FROM containers ORDER BY created, id`)
      .filter((row) => tryParse(row) === undefined)
      .map(({ id, name }) => ({ id, name }));
  }

  latest(): ContainerRecord | undefined {
    const row = this.#db.get<Row>(`SELECT ${COLUMNS} FROM containers ORDER BY created DESC, id LIMIT 1`);
    return row === undefined ? undefined : parse(row);
  }

  /** Ids of the containers made from this image. */
  usersOf(imageId: string): string[] {
    return this.#db
      .all<{ id: string }>(
        `SELECT id FROM containers WHERE image_id = ? UNION SELECT id FROM (${MOUNTED}) WHERE image_id = ?`,
        imageId,
        imageId,
      )
      .map((row) => row.id);
  }

  /** Image ids that some container stands on or has mounted, and how many do. */
  usedImages(): Map<string, number> {
    const rows = this.#db.all<{ image_id: string; n: number }>(
      `SELECT image_id, count(DISTINCT id) AS n FROM (
         SELECT image_id, id FROM containers WHERE image_id IS NOT NULL UNION ALL ${MOUNTED}
       ) GROUP BY image_id`,
    );
    return new Map(rows.map((row) => [row.image_id, row.n]));
  }

  /** Merges `change` into the stored state and returns the whole. Errors: not-found when it was removed meanwhile. */
  update(id: string, change: Partial<ContainerState>): ContainerRecord {
    return this.#db.tx(() => {
      const record = this.get(id);
      if (record === undefined) throw noSuchContainer(id);
      record.state = { ...record.state, ...change };
      this.#db.run(
        "UPDATE containers SET state = ?, status = ? WHERE id = ?",
        JSON.stringify(record.state),
        record.state.status,
        id,
      );
      return record;
    });
  }

  /** Stores this state as the whole. */
  replaceState(id: string, state: ContainerState): void {
    this.#db.run(
      "UPDATE containers SET state = ?, status = ? WHERE id = ?",
      JSON.stringify(state),
      state.status,
      id,
    );
  }

  rename(id: string, name: string): void {
    this.#db.tx(() => {
      const holder = this.#db.get<{ id: string }>("SELECT id FROM containers WHERE name = ?", name);
      if (holder !== undefined) throw nameTaken(name, holder.id);
      this.#db.run("UPDATE containers SET name = ? WHERE id = ?", name, id);
    });
  }

  updateSpec(id: string, spec: ContainerSpec): void {
    this.#db.run("UPDATE containers SET spec = ? WHERE id = ?", JSON.stringify(spec), id);
  }

  /** Idempotent. */
  delete(id: string): void {
    this.#db.tx(() => {
      this.#db.run("DELETE FROM sessions WHERE container = ?", id);
      this.#db.run("DELETE FROM containers WHERE id = ?", id);
    });
  }

  isNameFree(name: string): boolean {
    return this.#db.get("SELECT 1 AS one FROM containers WHERE name = ?", name) === undefined;
  }
}

function parse(row: Row): ContainerRecord {
  const record = tryParse(row);
  if (record !== undefined) return record;
  throw fail("data-loss", `the record of container ${row.name} (${shortId(row.id)}) is damaged`, {
    reason: "record-damaged",
    hint: "remove it: berth system check --repair",
  });
}

/** Undefined if the row is no record any more: a disk error, or somebody's hand. */
function tryParse(row: Row): ContainerRecord | undefined {
  try {
    return {
      id: row.id,
      name: row.name,
      created: row.created,
      spec: JSON.parse(row.spec) as ContainerSpec,
      state: JSON.parse(row.state) as ContainerState,
    };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function noSuchContainer(name: string): Error {
  return fail("not-found", `no container with name or ID "${name}" found: no such container`, {
    reason: "no-such-container",
  });
}

function nameTaken(name: string, holder: string): Error {
  return fail("already-exists", `the container name "${name}" is already in use by ${shortId(holder)}`, {
    reason: "name-taken",
    hint: "remove or rename that container, or use --replace",
    data: { holder },
  });
}
