/** `system check`: every kind of damage is found and named, and `--repair` takes away what is damaged and nothing else. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { storeNames } from "../../src/network/names.ts";
import { Box } from "./box.ts";
import { footprint, leftovers } from "./footprint.ts";

const IMAGE = "localhost/busybox";
/** Damage is done to this one; the other image and its containers must live through everything. */
const VICTIM = "localhost/victim:latest";
let box: Box;

beforeAll(() => {
  box = new Box("check");
  box.importBusybox();
  box.ok(["run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true"]);
  box.ok(["run", "-d", "--name", "sound", IMAGE, "sleep", "1000"]);
  box.ok(["exec", "sound", "true"]);
  box.ok(["create", "--name", "idle", IMAGE, "true"]);
  box.ok(["run", "--name", "source", IMAGE, "sh", "-c", "mkdir /v; echo one > /v/one; echo two > /v/two"]);
});
afterAll(() => box.close());

interface Finding {
  kind: string;
  object: string;
  detail: string;
  repaired: boolean;
}

function check(...flags: string[]): { code: number; findings: Finding[] } {
  const outcome = box.berth(["system", "check", "--format", "json", ...flags]);
  expect(outcome.stderr).toBe("");
  return { code: outcome.code, findings: JSON.parse(outcome.stdout) as Finding[] };
}

function sql(text: string, ...values: string[]): Record<string, string>[] {
  using db = new Database(`${box.root}/berth.db`);
  db.run("PRAGMA busy_timeout = 10000");
  return db.query(text).all(...values) as Record<string, string>[];
}

interface Victim {
  id: string;
  chain: string;
  manifest: string;
}

function hex(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1);
}

function makeVictim(): Victim {
  box.ok(["commit", "source", VICTIM]);
  const [row] = sql(
    "SELECT id, chain_id AS chain, manifest_digest AS manifest FROM images JOIN image_names ON image_id = id WHERE name = ?",
    VICTIM,
  );
  return row as unknown as Victim;
}

interface Damage {
  /** Returns what the finding must name. */
  does: (victim: Victim) => string;
  kinds: string[];
  /** The image that was hit is no longer usable, and says so or is gone. */
  takesImage?: boolean;
}

const diff = (victim: Victim): string => `${box.root}/layers/${hex(victim.chain)}/diff`;
const blob = (digest: string): string => `${box.root}/blobs/sha256/${hex(digest)}`;

const DAMAGES: Record<string, Damage> = {
  "a file of a layer is gone": {
    does: (v) => (rmSync(`${diff(v)}/v/one`), v.chain),
    kinds: ["layer-damaged"],
    takesImage: true,
  },
  "a file of a layer is altered": {
    does: (v) => (writeFileSync(`${diff(v)}/v/one`, "ONE\n"), v.chain),
    kinds: ["layer-damaged"],
    takesImage: true,
  },
  "a layer's directory is gone": {
    does: (v) => (rmSync(diff(v), { recursive: true }), v.chain),
    kinds: ["layer-missing"],
    takesImage: true,
  },
  "a blob is gone": {
    does: (v) => (rmSync(blob(v.manifest)), v.manifest),
    kinds: ["blob-missing"],
    takesImage: true,
  },
  "a blob is altered": {
    does: (v) => {
      const path = blob(v.manifest);
      truncateSync(path, 10);
      appendFileSync(path, "x".repeat(500));
      return v.manifest;
    },
    kinds: ["blob-damaged"],
    takesImage: true,
  },
  "a blob is empty": {
    does: (v) => (truncateSync(blob(v.id), 0), v.id),
    kinds: ["blob-damaged"],
  },
  "an image's config in the database is cut": {
    does: (v) => (sql("UPDATE images SET config = substr(config, 1, 40) WHERE id = ?", v.id), v.id),
    kinds: ["image-incomplete"],
    takesImage: true,
  },
  "a blob that belongs to nothing": {
    does: () => {
      const name = "0".repeat(64);
      writeFileSync(`${box.root}/blobs/sha256/${name}`, "orphan");
      return `sha256:${name}`;
    },
    kinds: ["blob-orphan"],
  },
  "a layer that belongs to nothing": {
    does: () => {
      const name = "1".repeat(64);
      mkdirSync(`${box.root}/layers/${name}/diff/etc`, { recursive: true });
      return `sha256:${name}`;
    },
    kinds: ["layer-orphan"],
  },
  "a container's directory that belongs to nothing": {
    does: () => (
      mkdirSync(`${box.root}/containers/${"2".repeat(64)}/upper`, { recursive: true }),
      "2".repeat(64)
    ),
    kinds: ["container-orphan"],
  },
  "files in the ingest directory and the trash": {
    does: () => {
      writeFileSync(`${box.root}/ingest/stray`, "x");
      mkdirSync(`${box.root}/trash/stray/sub`, { recursive: true });
      return "ingest/stray";
    },
    kinds: ["leftover"],
  },
  "a container's record is cut": {
    does: () => {
      box.ok(["create", "--name", "cut", IMAGE]);
      const id = box.ok(["inspect", "--format", "{{.Id}}", "cut"]);
      sql("UPDATE containers SET state = substr(state, 1, 5) WHERE id = ?", id);
      return id;
    },
    kinds: ["container-damaged"],
  },
  "a container's specification is empty": {
    does: () => {
      box.ok(["create", "--name", "cut", IMAGE]);
      const id = box.ok(["inspect", "--format", "{{.Id}}", "cut"]);
      sql("UPDATE containers SET spec = '' WHERE id = ?", id);
      return id;
    },
    kinds: ["container-damaged"],
  },
  "run files of a container that does not exist": {
    does: () => {
      const id = "3".repeat(64);
      mkdirSync(`${box.run}/containers/${id}/persist`, { recursive: true });
      writeFileSync(`${box.run}/exits/${id}`, "0");
      writeFileSync(`${box.run}/netns/${id}`, "");
      return id;
    },
    kinds: ["run-orphan"],
  },
  "an address of a container that does not exist": {
    does: () => {
      const id = "4".repeat(64);
      sql(`INSERT INTO network_attachments SELECT ${attachmentColumns(id)} FROM network_attachments LIMIT 1`);
      return id;
    },
    kinds: ["orphan-network-lease"],
  },
};

/** The running container's row once more, for another id. */
function attachmentColumns(id: string): string {
  return sql("PRAGMA table_info(network_attachments)")
    .map(({ name }) => (name === "container" ? `'${id}'` : name === "host_veth" ? "'bv-none'" : `"${name}"`))
    .join(", ");
}

for (const [name, damage] of Object.entries(DAMAGES)) {
  test(name, async () => {
    const clean = footprint(box);
    const victim = makeVictim();
    const object = damage.does(victim);

    const found = check();
    expect(found.code).toBe(1);
    expect(found.findings.map(({ kind }) => kind)).toEqual(expect.arrayContaining(damage.kinds));
    expect(found.findings.some((finding) => finding.object.includes(object))).toBe(true);
    expect(found.findings.every(({ repaired }) => !repaired)).toBe(true);
    // Looking changes nothing.
    expect(check().findings).toEqual(found.findings);

    expect(check("--repair").findings.filter(({ repaired }) => !repaired)).toEqual([]);
    expect(check("--repair")).toEqual({ code: 0, findings: [] });

    // What was sound still is.
    expect(box.ok(["ps", "--format", "{{.Names}} {{.State}}"])).toBe("sound running");
    expect(box.ok(["exec", "sound", "echo", "alive"])).toBe("alive");
    expect(box.ok(["run", "--rm", IMAGE, "echo", "works"])).toBe("works");
    expect(box.ok(["ps", "-a", "--format", "{{.Names}}"]).split("\n").toSorted()).toEqual([
      "idle",
      "sound",
      "source",
    ]);
    const usable = box.berth(["run", "--rm", VICTIM, "cat", "/v/one", "/v/two"]);
    expect(usable.code).toBe(damage.takesImage === true ? 125 : 0);

    box.ok(["rmi", "-i", VICTIM]);
    box.ok(["image", "prune", "-f"]);
    expect(await leftovers(box, clean)).toEqual([]);
  });
}

test("a damaged layer of a running container is named and kept", () => {
  const [row] = sql(
    "SELECT chain_id AS chain FROM images JOIN image_names ON image_id = id WHERE name LIKE ?",
    `${IMAGE}%`,
  );
  const root = `${box.root}/layers/${hex(row?.["chain"] ?? "")}/diff`;
  expect(readdirSync(root)).toContain("etc");
  rmSync(`${root}/etc/group`);
  const { code, findings } = check("--repair");
  expect(code).toBe(1);
  expect(findings).toHaveLength(1);
  expect(findings[0]?.detail).toMatch(/kept for container/);
  expect(box.ok(["exec", "sound", "echo", "alive"])).toBe("alive");
});

test("a store with damaged records can be reset, and nothing of it stays on the host", async () => {
  const other = new Box("check-reset");
  try {
    other.importBusybox();
    const clean = footprint(other);
    other.ok(["run", "-d", "--name", "cut", "-p", "127.0.0.1::80", IMAGE, "sleep", "1000"]);
    {
      using db = new Database(`${other.root}/berth.db`);
      db.run("PRAGMA busy_timeout = 10000");
      db.run("UPDATE containers SET state = '{'");
    }
    other.ok(["system", "reset", "--force"]);
    const left = (await leftovers(other, clean)).filter((line) => line.includes(": +"));
    expect(left).toEqual([]);
    const { bridge } = storeNames(other.root);
    expect(existsSync(`/sys/class/net/${bridge}`)).toBe(false);
    expect(existsSync(other.root)).toBe(false);
  } finally {
    other.close();
  }
});
