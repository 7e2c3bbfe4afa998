/** All that a store holds, as sorted lines: every file with its size, every row of every table but the log of events. */
import { Database } from "bun:sqlite";
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** What downloads that broke off may leave for the next one to go on with: unseen, and gone with the next `image prune`. */
const DOWNLOADED =
  /^(file ingest\/sha(256|512)-[0-9a-f]+\.part |partials |(file|directory) (blobs|layers)\/|blobs |blob_\w+ |layers )/;

export function storeState(root: string): string[] {
  return [...files(root, ""), ...rows(join(root, "berth.db"))].sort();
}

/** Lines like "+ file …" for what has come and "- …" for what has gone since `before`. */
export function changes(
  before: readonly string[],
  root: string,
  allowed: "nothing" | "downloads" = "nothing",
): string[] {
  const now = storeState(root);
  const [old, current] = [new Set(before), new Set(now)];
  return [
    ...now.filter((line) => !old.has(line)).map((line) => `+ ${line}`),
    ...before.filter((line) => !current.has(line)).map((line) => `- ${line}`),
  ].filter((line) => allowed === "nothing" || !DOWNLOADED.test(line.slice(2)));
}

function files(root: string, below: string): string[] {
  const path = join(root, below);
  if (!existsSync(path)) return [];
  return readdirSync(path).flatMap((name) => {
    if (below === "" && name.startsWith("berth.db")) return [];
    const relative = join(below, name);
    const stat = lstatSync(join(root, relative));
    if (stat.isDirectory()) return [`directory ${relative}`, ...files(root, relative)];
    return [`file ${relative} ${stat.size}`];
  });
}

function rows(path: string): string[] {
  if (!existsSync(path)) return [];
  using db = new Database(path, { readonly: true });
  db.run("PRAGMA busy_timeout = 5000");
  const tables = db
    .query(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('events', 'sqlite_sequence')",
    )
    .all() as { name: string }[];
  return tables.flatMap(({ name }) =>
    db
      .query(`SELECT * FROM "${name}"`)
      .all()
      .map(
        (row) =>
          `${name} ${JSON.stringify(row, (_, v: unknown) => (typeof v === "bigint" ? String(v) : v)).slice(0, 300)}`,
      ),
  );
}
