import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { Db } from "./db.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync("/tmp/berth-db-");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const FIRST = "CREATE TABLE IF NOT EXISTS ships (name TEXT PRIMARY KEY)";
const THIRD = `CREATE TABLE IF NOT EXISTS ships (name TEXT PRIMARY KEY, flag TEXT NOT NULL DEFAULT '');
  CREATE TABLE IF NOT EXISTS ports (name TEXT PRIMARY KEY)`;
const STEPS = {
  2: "ALTER TABLE ships ADD COLUMN flag TEXT NOT NULL DEFAULT ''",
  3: "UPDATE ships SET flag = 'unknown' WHERE flag = ''",
};

function columns(db: Db, table: string): string[] {
  return db.all<{ name: string }>(`PRAGMA table_info(${table})`).map((row) => row.name);
}

test("an older file gets every step it lacks, and a new one none", () => {
  const path = `${dir}/old.db`;
  using old = Db.open(path, 1, FIRST);
  old.run("INSERT INTO ships (name) VALUES ('Aurora')");
  using now = Db.open(path, 3, THIRD, STEPS);
  expect(now.all("SELECT name, flag FROM ships")).toEqual([{ name: "Aurora", flag: "unknown" }]);
  expect(columns(now, "ports")).toEqual(["name"]);
  // Who has had it open all the time goes on.
  old.run("INSERT INTO ships (name) VALUES ('Belle')");
  expect(now.get("SELECT flag FROM ships WHERE name = 'Belle'")).toEqual({ flag: "" });
  using again = Db.open(path, 3, THIRD, STEPS);
  expect(again.get("SELECT flag FROM ships WHERE name = 'Belle'")).toEqual({ flag: "" });

  using fresh = Db.open(`${dir}/new.db`, 3, THIRD, STEPS);
  expect(columns(fresh, "ships")).toEqual(columns(now, "ships"));
});

test("a step that fails leaves the file as it was", () => {
  const path = `${dir}/old.db`;
  Db.open(path, 1, FIRST).close();
  const steps = { 2: "ALTER TABLE ships ADD COLUMN flag TEXT; INSERT INTO nowhere VALUES (1)" };
  expect(() => Db.open(path, 2, FIRST, steps)).toThrow("nowhere");
  using db = Db.open(path, 1, FIRST);
  expect(columns(db, "ships")).toEqual(["name"]);
});

test("processes that open an older file at the same time migrate it once", async () => {
  const path = `${dir}/old.db`;
  using db = Db.open(path, 1, FIRST);
  db.run("INSERT INTO ships (name) VALUES ('Aurora')");
  const script = `const { Db } = await import("${import.meta.dir}/db.ts");
    Db.open("${path}", 2, ${JSON.stringify(THIRD)}, { 2: ${JSON.stringify(STEPS[2])} }).close();`;
  const children = Array.from({ length: 4 }, () =>
    Bun.spawn([process.execPath, "-e", script], { stdout: "ignore", stderr: "pipe" }),
  );
  const results = await Promise.all(
    children.map(async (child) => [await child.exited, await new Response(child.stderr).text()]),
  );
  expect(results).toEqual(children.map(() => [0, ""]));
  expect(columns(db, "ships")).toEqual(["name", "flag"]);
});

test("a newer store is refused", () => {
  const path = `${dir}/new.db`;
  Db.open(path, 3, THIRD).close();
  expect(() => Db.open(path, 2, FIRST)).toThrow("was written by a newer berth (schema 3, this one knows 2)");
});
