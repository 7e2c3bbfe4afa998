/** Additional stores: a store on a read-only file system whose images are used where they lie. */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeRegistry } from "../fake/registry.ts";
import { Box, runArgv } from "./box.ts";

const NONE = ["--network", "none"];
/** Fills the shared store. */
let theirs: Box;
/** Uses it. */
let box: Box;
let shared: string;

beforeAll(() => {
  theirs = new Box("theirs");
  box = new Box("ours");
  theirs.importBusybox("localhost/base:1");
  theirs.ok(["run", "--name", "c", ...NONE, "localhost/base:1", "sh", "-c", "echo two > /two"]);
  theirs.ok(["commit", "-q", "c", "localhost/two:1"]);
  theirs.ok(["rm", "c"]);
  shared = join(theirs.dir, "shared");
  mkdirSync(shared);
  must(["mount", "--bind", theirs.root, shared]);
  must(["mount", "-o", "remount,bind,ro", shared]);
});
afterEach(() => {
  box.clear();
  const names = box.ok(["images", "-q", "--filter", "readonly=false"]);
  if (names !== "") box.ok(["rmi", "-f", ...names.split("\n")]);
});
afterAll(() => {
  box.close();
  runArgv(["umount", shared]);
  theirs.close();
});

function must(argv: string[]): void {
  const { code, stderr } = runArgv(argv);
  if (code !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

const ADDED = {
  env: {
    get BERTH_ADDITIONAL_STORES() {
      return shared;
    },
  },
};
const ours = (...args: string[]): string => box.ok(args, ADDED);
const names = (): string[] =>
  ours("images", "--format", "{{.Repository}}:{{.Tag}} {{.ReadOnly}}").split("\n").sort();

function allFiles(): string[] {
  return (readdirSync(theirs.root, { recursive: true }) as string[])
    .map((name) => {
      const { mtimeMs, size, mode } = statSync(join(theirs.root, name), { throwIfNoEntry: false }) ?? {};
      return `${name} ${size} ${mode} ${mtimeMs}`;
    })
    .sort();
}

test("its images are listed, inspected, run and saved, and nothing in it changes", () => {
  const before = allFiles();
  expect(names()).toEqual(["localhost/base:1 true", "localhost/two:1 true"]);
  expect(ours("images", "--filter", "readonly=true", "-q").split("\n").length).toBe(2);
  expect(ours("images", "--filter", "readonly=false", "-q")).toBe("");
  expect(ours("images").split("\n")[0]).toEndWith("R/O");
  expect(
    ours("run", "--rm", ...NONE, "localhost/two:1", "sh", "-c", "cat /two; echo x > /new; ls /new"),
  ).toBe("two\n/new");
  const tar = join(box.dir, "two.tar");
  ours("save", "-q", "-o", tar, "localhost/two:1");
  expect(ours("image", "inspect", "--format", "{{.Id}}", "localhost/two:1")).toBe(
    theirs.ok(["image", "inspect", "--format", "{{.Id}}", "localhost/two:1"]),
  );
  expect(runArgv(["tar", "tf", tar]).stdout).toContain("manifest.json");
  expect(ours("history", "--format", "{{.CreatedBy}}", "localhost/two:1")).toContain("echo two");
  expect(ours("image", "tree", "localhost/two:1")).toContain("Top Layer of: [localhost/two:1]");
  expect(box.berth(["system", "check"], ADDED)).toMatchObject({ code: 0, stdout: "" });
  // The bind mount is read-only; this looks at what is behind it.
  expect(allFiles()).toEqual(before);
  expect(readdirSync(theirs.root).filter((name) => name.startsWith("berth.db"))).toEqual(["berth.db"]);
});

test("a container on it lives through a stop and a start, and is committed", () => {
  ours(
    "run",
    "-d",
    "--name",
    "c",
    ...NONE,
    "localhost/two:1",
    "sh",
    "-c",
    "echo own > /own; exec sleep 1000",
  );
  ours("stop", "-t", "0", "c");
  ours("start", "c");
  expect(ours("exec", "c", "cat", "/two", "/own")).toBe("two\nown");
  expect(ours("diff", "c")).toContain("A /own");
  ours("commit", "-q", "c", "localhost/three:1");
  ours("rm", "-f", "-t", "0", "c");
  expect(ours("run", "--rm", ...NONE, "localhost/three:1", "cat", "/two", "/own")).toBe("two\nown");
  expect(box.berth(["system", "check"], ADDED)).toMatchObject({ code: 0, stdout: "" });
});

test("rmi refuses, prune leaves it, a name of our own goes alone", () => {
  const refused = box.berth(["rmi", "localhost/two:1"], ADDED);
  expect(refused).toMatchObject({ code: 125, stdout: "" });
  expect(refused.stderr).toContain(`cannot remove read-only image "localhost/two:1"`);
  expect(refused.stderr).toContain(shared);
  expect(box.berth(["untag", "localhost/two:1"], ADDED).code).toBe(125);
  ours("tag", "localhost/two:1", "localhost/mine:1");
  expect(names()).toContain("localhost/mine:1 false");
  expect(ours("run", "--rm", ...NONE, "localhost/mine:1", "cat", "/two")).toBe("two");
  ours("image", "prune", "-af");
  ours("rmi", "-a");
  expect(names()).toEqual(["localhost/base:1 true", "localhost/two:1 true"]);
});

test("pull and load take the layers that are there", async () => {
  const tar = join(box.dir, "again.tar");
  theirs.ok(["tag", "localhost/two:1", "localhost/again:1"]);
  theirs.ok(["save", "-q", "-o", tar, "localhost/again:1"]);
  theirs.ok(["rmi", "localhost/again:1"]);
  ours("load", "-q", "-i", tar);
  expect(readdirSync(join(box.root, "layers"))).toEqual([]);
  expect(ours("run", "--rm", ...NONE, "localhost/again:1", "cat", "/two")).toBe("two");

  using registry = new FakeRegistry();
  const added = ["--additional-store", shared];
  const pushed = await box.async([...added, "push", "-q", "localhost/two:1", `${registry.host}/two:1`]);
  expect(pushed.code).toBe(0);
  expect(await box.async([...added, "pull", "-q", `${registry.host}/two:1`])).toMatchObject({ code: 0 });
  // Neither a layer nor the config.
  expect(registry.count("GET", "/blobs/")).toBe(0);
  expect(readdirSync(join(box.root, "layers"))).toEqual([]);
});

test("storage.conf names it as well, beside stores of other engines", () => {
  const conf = join(box.dir, "storage.conf");
  writeFileSync(
    conf,
    `[storage]\ndriver = "overlay"\n[storage.options]\nadditionalimagestores = ["/nowhere", "${shared}"]\n`,
  );
  const outcome = box.berth(["images", "-q"], { env: { CONTAINERS_STORAGE_CONF: conf } });
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout.trim().split("\n").length).toBe(2);
  writeFileSync(conf, "[storage.options]\nadditionalimagestores = 5\n");
  const odd = box.berth(["images", "-q"], { env: { CONTAINERS_STORAGE_CONF: conf } });
  expect(odd).toMatchObject({ code: 0, stdout: "" });
  expect(odd.stderr).toContain("additionalimagestores is not a list of directories");
});

test("one that is missing, newer, damaged, or the store itself", () => {
  const say = (root: string) => box.berth(["--additional-store", root, "images", "-q"]);
  const missing = say("/nowhere");
  expect(missing).toMatchObject({ code: 0, stdout: "" });
  expect(missing.stderr.match(/additional store "\/nowhere" is left out/g)).toHaveLength(1);
  expect(say(box.root)).toMatchObject({ code: 0, stderr: "" });
  expect(box.berth(["--additional-store", "", "images"]).code).toBe(125);

  const broken = join(box.dir, "broken");
  rmSync(broken, { recursive: true, force: true });
  mkdirSync(broken);
  writeFileSync(join(broken, "berth.db"), "no database at all, for sure");
  expect(say(broken)).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("is left out") });
  rmSync(join(broken, "berth.db"));
  using db = new Database(join(broken, "berth.db"), { create: true });
  db.run("PRAGMA user_version = 9999");
  expect(say(broken).stderr).toContain("written by a newer berth");
});

test("what its last writer has only in SQLite's log is seen too", () => {
  const copy = join(box.dir, "copy");
  must(["cp", "-a", theirs.root, copy]);
  const writer = new Database(join(copy, "berth.db"));
  writer.run("PRAGMA journal_mode = WAL");
  writer.run("UPDATE image_names SET name = 'localhost/renamed:1' WHERE name = 'localhost/two:1'");
  expect(existsSync(join(copy, "berth.db-wal"))).toBe(true);
  const before = readdirSync(copy).sort();
  const list = box.ok(["--additional-store", copy, "images", "--format", "{{.Repository}}"]);
  expect(list.split("\n")).toContain("localhost/renamed");
  expect(readdirSync(copy).sort()).toEqual(before);
  expect(readdirSync(join(box.root, "ingest"))).toEqual([]);
  writer.close();
  rmSync(copy, { recursive: true, force: true });
});

test("without it a container on it says what is missing", () => {
  ours("create", "--name", "c", ...NONE, "localhost/two:1", "true");
  const outcome = box.berth(["start", "c"]);
  expect(outcome.code).toBe(125);
  expect(outcome.stderr).toContain("image not known");
  expect(box.ok(["rm", "c"])).toBe("c");
});

test("without it a repair leaves what was made here on top of it", () => {
  ours("run", "--name", "c", ...NONE, "localhost/two:1", "sh", "-c", "echo own > /own");
  ours("commit", "-q", "c", "localhost/three:1");
  ours("rm", "c");
  const check = box.berth(["system", "check", "--repair"]);
  expect(check.code).toBe(1);
  expect(check.stdout).toContain("name the store with --additional-store");
  expect(ours("run", "--rm", ...NONE, "localhost/three:1", "cat", "/two", "/own")).toBe("two\nown");
  expect(box.berth(["system", "check"], ADDED)).toMatchObject({ code: 0, stdout: "" });
});
