/**
 * All that one store has on the machine, and nothing of anybody else: the census for tests that look a thousand times, and while others
 * are at work. Equal before and after, or `difference` of census.ts tells.
 */
import { Database } from "bun:sqlite";
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { storeNames } from "../../src/network/names.ts";
import type { Box } from "./box.ts";
import { type Census, difference } from "./census.ts";

export function footprint(box: Box): Census {
  const { bridge, table } = storeNames(box.root);
  const nft = Bun.spawnSync(["nft", "-s", "list", "table", "inet", table]);
  return {
    mounts: lines("/proc/self/mountinfo")
      .filter((line) => line.includes(box.dir))
      .map((line) => line.split(" ")[4] as string),
    ports: names(`/sys/class/net/${bridge}/brif`),
    rules: nft.stdout
      .toString()
      .split("\n")
      .filter((line) => line.includes(" : ")),
    cgroups: cgroups(cgroupName(box.root)),
    processes: processes(box),
    files: [
      ...tree(box.run),
      ...["containers", "ingest", "trash", "layers", "blobs/sha256"].flatMap((name) =>
        tree(`${box.root}/${name}`, 1),
      ),
    ],
    rows: rows(`${box.root}/berth.db`),
  };
}

/** What is different from `before` after at most `ms` of waiting for what ends asynchronously. */
export async function leftovers(box: Box, before: Census, ms = 2500): Promise<string[]> {
  const deadline = performance.now() + ms;
  for (;;) {
    const found = difference(before, footprint(box));
    if (found.length === 0 || performance.now() > deadline) return found;
    await Bun.sleep(25);
  }
}

/** As engine/open.ts names it; the "cgroups" of a footprint would be empty for ever if this were wrong, which a test looks at. */
function cgroupName(root: string): string {
  return `berth-${Bun.hash(root).toString(16).padStart(16, "0")}`;
}

function cgroups(name: string): string[] {
  return names("/sys/fs/cgroup").flatMap((hierarchy) =>
    tree(`/sys/fs/cgroup/${hierarchy}/${name}`).filter((path) => path.endsWith("/")),
  );
}

/** Those with the store's paths in their command line, and those whose root lies in it. Zombies do not count. */
function processes({ dir }: Box): string[] {
  const own = String(process.pid);
  return names("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== own)
    .flatMap((pid) => {
      const argv = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
      if (argv === "") return [];
      const isInside = lines(`/proc/${pid}/mountinfo`).some(
        (line) => line.split(" ")[4] === "/" && line.includes(dir),
      );
      return argv.includes(dir) || isInside ? [`${pid} ${argv.slice(0, 300)}`] : [];
    });
}

/** Tables that keep something on purpose; what a push has learned of a layer goes with the layer (storage/layer-variants.test.ts). */
const LASTING = new Set([
  "events",
  "networks",
  "network_cursors",
  "sqlite_sequence",
  "layer_variants",
  "blob_origins",
]);

function rows(path: string): string[] {
  if (!existsSync(path)) return [];
  using db = new Database(path, { readonly: true });
  db.run("PRAGMA busy_timeout = 10000");
  const tables = db.query("SELECT name FROM sqlite_master WHERE type = 'table'").all() as { name: string }[];
  return tables
    .filter(({ name }) => !LASTING.has(name))
    .flatMap(({ name }) =>
      db
        .query(`SELECT * FROM ${name}`)
        .all()
        .map((row) => `${name} ${JSON.stringify(row).slice(0, 300)}`),
    );
}

/** Paths below a directory, directories with a slash at their end. */
function tree(path: string, depth = Number.POSITIVE_INFINITY): string[] {
  if (depth === 0) return [];
  return names(path).flatMap((name) => {
    const child = `${path}/${name}`;
    const isDirectory = lstatSync(child, { throwIfNoEntry: false })?.isDirectory() === true;
    return isDirectory ? [`${child}/`, ...tree(child, depth - 1)] : [child];
  });
}

/** What vanishes while we look is not there. */
function names(path: string): string[] {
  try {
    return readdirSync(path).toSorted();
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function lines(path: string): string[] {
  return read(path).split("\n");
}
