/**
 * The census of DESIGN §4: everything a container can leave on a machine, as sorted lists of lines.
 * `takeCensus` before and after a test must be equal; `difference` says what was added or lost.
 */
import { Database } from "bun:sqlite";
import { existsSync, readdirSync, readFileSync, readlinkSync, lstatSync } from "node:fs";

export interface Store {
  root: string;
  run: string;
}

export type Census = Record<string, string[]>;

export function takeCensus(store: Store): Census {
  // Compiled filters are kept for the boot, one a combination of capabilities.
  const filters = `${store.run}/seccomp/`;
  return {
    mounts: mounts(),
    namespaces: networkNamespaces(),
    links: readdirSync("/sys/class/net").sort(),
    rules: nftRules(),
    cgroups: cgroups(),
    processes: processes(store),
    files: [
      ...tree(store.run).filter((path) => !path.startsWith(filters)),
      ...tree(`${store.root}/containers`),
      ...tree(`${store.root}/ingest`),
    ].sort(),
    rows: rows(store),
  };
}

/** Lines like "mounts: + /x" for what came, "- /x" for what went; empty when the two are equal. */
export function difference(before: Census, after: Census): string[] {
  return Object.keys(before).flatMap((kind) => {
    const old = new Set(before[kind]);
    const now = new Set(after[kind]);
    return [
      ...[...now].filter((line) => !old.has(line)).map((line) => `${kind}: + ${line}`),
      ...[...old].filter((line) => !now.has(line)).map((line) => `${kind}: - ${line}`),
    ];
  });
}

function mounts(): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trimEnd().split("\n");
  return lines.map((line) => line.split(" ").slice(4, 5).join(" ")).sort();
}

function processIds(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

function networkNamespaces(): string[] {
  const found = new Set<string>();
  for (const pid of processIds()) {
    try {
      found.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      // the process is gone
    }
  }
  return [...found].sort();
}

function nftRules(): string[] {
  const result = Bun.spawnSync(["nft", "-s", "list", "ruleset"]);
  return numbered(result.stdout.toString().split("\n"));
}

/** Makes equal lines different, so that a set of them still counts them. */
function numbered(lines: string[]): string[] {
  const seen = new Map<string, number>();
  return lines.map((line) => {
    const n = (seen.get(line) ?? 0) + 1;
    seen.set(line, n);
    return n === 1 ? line : `${line} (${n})`;
  });
}

function cgroups(): string[] {
  const found: string[] = [];
  const walk = (path: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue;
      const child = `${path}/${entry.name}`;
      found.push(child);
      try {
        walk(child);
      } catch {
        // removed while we looked
      }
    }
  };
  walk("/sys/fs/cgroup");
  return found.sort();
}

/** Processes that belong to the store: its paths in their command line. Zombies do not count. */
function processes(store: Store): string[] {
  const found: string[] = [];
  for (const pid of processIds()) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      if (line.includes(store.run) || line.includes(store.root)) found.push(`${line.slice(0, 300)}`);
    } catch {
      // the process is gone
    }
  }
  return numbered(found.sort());
}

function tree(path: string): string[] {
  if (!existsSync(path)) return [];
  const found: string[] = [];
  for (const name of readdirSync(path)) {
    const child = `${path}/${name}`;
    const isDirectory = lstatSync(child, { throwIfNoEntry: false })?.isDirectory() ?? false;
    found.push(isDirectory ? `${child}/` : child);
    if (isDirectory) found.push(...tree(child));
  }
  return found;
}

const ROW_TABLES = ["containers", "sessions", "leases", "network_leases", "network_ports"];

function rows(store: Store): string[] {
  const path = `${store.root}/berth.db`;
  if (!existsSync(path)) return [];
  using db = new Database(path, { readonly: true });
  db.run("PRAGMA busy_timeout = 5000");
  const tables = db.query("SELECT name FROM sqlite_master WHERE type = 'table'").all() as { name: string }[];
  return ROW_TABLES.filter((table) => tables.some(({ name }) => name === table)).flatMap((table) =>
    db
      .query(`SELECT * FROM ${table}`)
      .all()
      .map((row) => `${table} ${JSON.stringify(row).slice(0, 200)}`),
  );
}
