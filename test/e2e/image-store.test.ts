/** The store for people: mounted images, trees, removal, pruning, what takes space (compared with podman 4.3.1 and docker 20.10 by hand). */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Box, type Outcome, runArgv } from "./box.ts";

const NONE = ["--network", "none"];
const IMAGE = "localhost/busybox";
let box: Box;
let docker: string;

beforeAll(() => {
  box = new Box("image-store");
  box.importBusybox();
  docker = join(box.dir, "docker");
  symlinkSync(box.argv[0] as string, docker);
  // What is kept of the first container: probes of the runtime, the cgroup of the store.
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  box.mark();
});
afterEach(async () => {
  box.ok(["image", "unmount", "--all", "--force"]);
  box.clear();
  const rest = box.ok(["images", "-aq", "--no-trunc", "--filter", `since=${IMAGE}`]);
  if (rest !== "") box.ok(["rmi", "-f", "-i", ...rest.split("\n")]);
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const lines = (...args: string[]): string[] => box.ok(args).split("\n").filter(Boolean);
const asDocker = (...args: string[]): Outcome =>
  runArgv([docker, "--root", box.root, "--run", box.run, ...args]);

/** An image made of `base` and one more step. Returns its id. */
function step(base: string, name: string | undefined, script: string): string {
  box.ok(["run", "--name", "step", ...NONE, base, "sh", "-c", script]);
  const id = box.ok(["commit", "-q", "step", ...(name === undefined ? [] : [name])]);
  box.ok(["rm", "step"]);
  return id;
}

describe("image mount", () => {
  test("prints the path, lists, survives the command, counts, is read-only", () => {
    const path = box.ok(["image", "mount", IMAGE]);
    expect(readFileSync(`${path}/var/www/index.html`, "utf8")).toBe("hello from berth\n");
    expect(() => writeFileSync(`${path}/x`, "")).toThrow("EROFS");
    expect(box.ok(["image", "mount", IMAGE])).toBe(path);
    expect(lines("image", "mount").map((line) => line.split(/ +/))).toEqual([
      ["localhost/busybox:latest", path],
    ]);
    const [object] = JSON.parse(box.ok(["image", "mount", "--format", "json"])) as object[];
    expect(object).toEqual({
      id: box.ok(["images", "-q", "--no-trunc", IMAGE]).replace("sha256:", ""),
      Names: expect.anything(),
      Repositories: ["localhost/busybox:latest"],
      mountpoint: path,
    });
    const id = box.ok(["image", "unmount", IMAGE]);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(existsSync(`${path}/bin`)).toBe(true);
    expect(box.ok(["image", "umount", id])).toBe(id);
    expect(existsSync(path)).toBe(false);
    expect(box.ok(["image", "unmount", IMAGE])).toBe("");
    expect(box.ok(["image", "mount"])).toBe("");
  });

  test("several, --all, a stack of layers, and what is wrong", () => {
    step(IMAGE, "localhost/top:1", "echo top > /top; rm /var/www/index.html");
    const [first = "", second = ""] = lines("image", "mount", IMAGE, "localhost/top:1");
    expect(first).toStartWith("localhost/busybox ");
    const path = second.split(/ +/)[1] as string;
    expect(readFileSync(`${path}/top`, "utf8")).toBe("top\n");
    expect(readdirSync(`${path}/var/www`)).toEqual([]);
    expect(box.ok(["image", "unmount", "-a"]).split("\n").length).toBe(2);
    expect(lines("image", "mount", "-a").length).toBe(2);
    expect(lines("image", "unmount", "-a", "-f").length).toBe(2);
    const wrong = (...args: string[]): string => {
      const { code, stderr } = box.berth(["image", ...args]);
      expect(code).toBe(125);
      return stderr;
    };
    expect(wrong("mount", "nope")).toContain("nope: image not known");
    expect(wrong("unmount", "nope")).toContain("nope: image not known");
    expect(wrong("mount", "--all", IMAGE)).toContain("when using the --all switch");
    expect(wrong("unmount")).toContain("image name or ID must be specified");
    expect(wrong("mount", "--format", "yaml")).toContain("yaml");
  });

  test("rmi refuses a mounted image, --force unmounts it, prune leaves it", () => {
    const id = step(IMAGE, undefined, "echo x > /x");
    const path = box.ok(["image", "mount", id]);
    box.ok(["image", "prune", "-f"]);
    expect(existsSync(`${path}/x`)).toBe(true);
    const refused = box.berth(["rmi", id]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain("is mounted at");
    expect(box.ok(["rmi", "-f", id])).toBe(`Deleted: ${id}`);
    expect(existsSync(path)).toBe(false);
  });

  test("system check sees the mount of an image that is gone, and an empty place; reset takes all away", () => {
    const other = new Box("image-reset");
    other.importBusybox("localhost/a:1");
    const path = other.ok(["image", "mount", "localhost/a:1"]);
    expect(other.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
    runArgv(["umount", path]);
    expect(other.berth(["system", "check"]).stdout).toContain("image that is not mounted");
    expect(other.ok(["system", "check", "--repair"])).toContain("(repaired)");
    other.ok(["image", "mount", "localhost/a:1"]);
    other.ok(["system", "reset", "-f"]);
    expect(existsSync(other.run)).toBe(false);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(other.dir);
    other.close();
  });

  test("a kill between its steps leaves nothing that matters", () => {
    for (const point of ["dirs", "mounted", "unmounted"]) {
      const env = { BERTH_FAILPOINTS: `storage.image-mount.${point}=exit` };
      const verb = point === "unmounted" ? "unmount" : "mount";
      if (verb === "unmount") box.ok(["image", "mount", IMAGE]);
      expect(box.berth(["image", verb, IMAGE], { env }).code).not.toBe(0);
      const path = box.ok(["image", "mount", IMAGE]);
      expect(existsSync(`${path}/bin/sh`)).toBe(true);
      box.ok(["image", "unmount", "--force", IMAGE]);
    }
    expect(existsSync(`${box.run}/images`)).toBe(false);
  });
});

test("image tree: layers with sizes, and what stands on an image", () => {
  step(IMAGE, "localhost/one:1", "dd if=/dev/zero of=/one bs=1000 count=5 2>/dev/null");
  step("localhost/one:1", "localhost/two:1", "echo > /two");
  step(IMAGE, "localhost/side:1", "echo side > /side");
  const tree = lines("image", "tree", "localhost/two:1");
  expect(tree.slice(1, 2)).toEqual(["Tags:     [localhost/two:1]"]);
  expect(tree.slice(4).map((line) => line.replace(/[0-9a-f]{12}/, "ID"))).toEqual([
    expect.stringMatching(/^├── ID: ID Size: [\d.]+MB Top Layer of: \[localhost\/busybox:latest\]$/),
    "├── ID: ID Size: 5kB Top Layer of: [localhost/one:1]",
    "└── ID: ID Size: 1B Top Layer of: [localhost/two:1]",
  ]);
  const above = lines("image", "tree", "--whatrequires", IMAGE).slice(5);
  expect(above.map((line) => line.replace(/ID: [0-9a-f]{12} /, ""))).toEqual([
    "├── Size: 5kB Top Layer of: [localhost/one:1]",
    "│   └── Size: 1B Top Layer of: [localhost/two:1]",
    "└── Size: 5B Top Layer of: [localhost/side:1]",
  ]);
  expect(box.berth(["image", "tree", "nope"]).code).toBe(125);
});

describe("rmi", () => {
  test("exit codes: 1 not there, 2 in use, 125 otherwise; the gravest of several", () => {
    box.ok(["create", "--name", "c", ...NONE, IMAGE, "true"]);
    const code = (...args: string[]): number => box.berth(["rmi", ...args]).code;
    expect(code("nope")).toBe(1);
    expect(code(IMAGE)).toBe(2);
    expect(code("nope", IMAGE)).toBe(2);
    expect(code(IMAGE, "nope")).toBe(2);
    expect(code("-i", "nope")).toBe(0);
    expect(code()).toBe(125);
    expect(code("-a", "x")).toBe(125);
    box.ok(["tag", IMAGE, "localhost/more:1"]);
    const id = box.ok(["images", "-q", IMAGE]);
    expect(code(id)).toBe(125);
    expect(code("nope", id)).toBe(125);
    expect(box.ok(["rmi", "localhost/more:1"])).toBe("Untagged: localhost/more:1");
    expect(asDocker("rmi", IMAGE)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("conflict: unable to remove repository reference"),
    });
  });

  test("--force takes the containers along, docker's leaves them and the image without a name", () => {
    const id = step(IMAGE, "localhost/x:1", "echo > /x");
    box.ok(["create", "--name", "c", ...NONE, "localhost/x:1", "true"]);
    expect(asDocker("rmi", "-f", "localhost/x:1").stdout).toBe("Untagged: localhost/x:1\n");
    expect(lines("ps", "-a", "--format", "{{.Names}}")).toEqual(["c"]);
    expect(box.ok(["rmi", "-f", id.slice(0, 12)])).toBe(`Deleted: ${id}`);
    expect(lines("ps", "-aq")).toEqual([]);
  });

  test("parents without a name go along, unless something else needs them or --no-prune", () => {
    const parent = step(IMAGE, undefined, "echo 1 > /1");
    const child = step(parent, "localhost/child:1", "echo 2 > /2");
    const other = step(parent, "localhost/other:1", "echo 3 > /3");
    expect(lines("images", "-q", "--no-trunc").length).toBe(3);
    expect(lines("images", "-aq").length).toBe(4);
    expect(lines("images", "-q", "--no-trunc", "--filter", "intermediate=true")).toEqual([
      `sha256:${parent}`,
    ]);
    expect(lines("history", "--no-trunc", "--format", "{{.ID}}", "localhost/child:1").slice(0, 2)).toEqual(
      [child, parent].map((id) => `sha256:${id}`),
    );
    expect(lines("rmi", "localhost/child:1")).toEqual(["Untagged: localhost/child:1", `Deleted: ${child}`]);
    expect(lines("rmi", "--no-prune", other)).toEqual(["Untagged: localhost/other:1", `Deleted: ${other}`]);
    const again = step(parent, "localhost/again:1", "echo 4 > /4");
    expect(asDocker("rmi", "localhost/again:1").stdout.split("\n").slice(0, 3)).toEqual([
      "Untagged: localhost/again:1",
      `Deleted: sha256:${again}`,
      `Deleted: sha256:${parent}`,
    ]);
  });
});

describe("prune", () => {
  test("filters: label, label!=, until, dangling", () => {
    box.ok(["import", "--change", "LABEL a=1", join(box.dir, "busybox.tar"), "localhost/l:1"]);
    box.ok(["import", "--change", "LABEL b=1", join(box.dir, "busybox.tar"), "localhost/m:1"]);
    const prune = (...filters: string[]): number =>
      lines("image", "prune", "-af", ...filters.flatMap((filter) => ["--filter", filter])).length;
    box.ok(["create", "--name", "keep", ...NONE, IMAGE]);
    expect(prune("until=1h")).toBe(0);
    expect(prune("label=a=2")).toBe(0);
    expect(prune("label=a", "until=1s", "label=b")).toBe(0);
    expect(prune("label=a=1")).toBe(1);
    expect(prune("label!=b")).toBe(0);
    expect(lines("image", "prune", "-f", "--filter", "dangling=false").length).toBe(1);
    const bad = box.berth(["image", "prune", "-f", "--filter", "foo=bar"]);
    expect(bad.code).toBe(125);
    expect(bad.stderr).toContain('invalid filter "foo"');
  });

  test("system prune frees what it says, to the byte", () => {
    const du = (): number => Number(runArgv(["du", "-s", "--block-size=1", box.root]).stdout.split("\t")[0]);
    step(IMAGE, "localhost/big:1", "dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null");
    box.ok([
      "run",
      "--name",
      "c",
      ...NONE,
      "-v",
      "data:/data",
      IMAGE,
      "sh",
      "-c",
      "dd if=/dev/zero of=/data/x bs=1M count=1; dd if=/dev/zero of=/y bs=1M count=1",
    ]);
    box.ok(["create", "--name", "keep", "--restart", "no", ...NONE, IMAGE]);
    box.ok(["create", "--name", "last", ...NONE, IMAGE]);
    box.ok(["rm", "keep"]);
    // The sizes of layers are counted once and kept: in the database, which grows by it.
    box.ok(["system", "df"]);
    const raw = (): Record<string, number> =>
      Object.fromEntries(
        lines("system", "df", "--format", "{{.Type}}={{.RawReclaimable}}")
          .map((line) => line.split("=") as [string, string])
          .map(([type, bytes]) => [type, Number(bytes)]),
      );
    const { Images = 0, Containers = 0 } = raw();
    const before = du();
    const said = box.ok(["system", "prune", "-af", "--volumes"]).split("\n").at(-1) as string;
    const freed = before - du();
    expect(freed).toBeGreaterThan(4_000_000);
    expect(Images).toBeGreaterThan(2_000_000);
    expect(Containers).toBeGreaterThan(1_000_000);
    // Four digits are printed.
    const number = Number(/space: ([\d.]+)MB/.exec(said)?.[1]) * 1e6;
    expect(Math.abs(number - freed)).toBeLessThan(freed * 0.002);
    box.importBusybox();
  });

  test("a filter that does not hold for all is refused before anything is removed", () => {
    box.ok(["create", "--name", "c", ...NONE, IMAGE]);
    expect(box.berth(["system", "prune", "-f", "--filter", "name=c"]).code).toBe(125);
    expect(box.berth(["system", "prune", "-f", "--volumes", "--filter", "until=1h"]).code).toBe(125);
    expect(box.berth(["system", "prune", "-f", "--filter", "until=soon"]).code).toBe(125);
    expect(lines("ps", "-aq").length).toBe(1);
  });
});

test("system df -v: each image, container and volume", () => {
  box.ok([
    "run",
    "--name",
    "c",
    ...NONE,
    "-v",
    "named:/n",
    "-v",
    "/anonymous",
    IMAGE,
    "sh",
    "-c",
    "echo x > /n/x",
  ]);
  const text = box.ok(["system", "df", "-v"]);
  const headings = [
    "REPOSITORY TAG IMAGE ID CREATED SIZE SHARED SIZE UNIQUE SIZE CONTAINERS",
    "CONTAINER ID IMAGE COMMAND LOCAL VOLUMES SIZE CREATED STATUS NAMES",
    "VOLUME NAME LINKS SIZE",
  ];
  for (const heading of headings) expect(text.replaceAll(/ +/g, " ")).toContain(heading);
  expect(asDocker("system", "df", "-v").stdout).toContain("Build cache usage: 0B");
  interface Details {
    Images: { Containers: string; UniqueSize: string; RawSize: number }[];
    Containers: { LocalVolumes: string }[];
    Volumes: { Name: string; Links: string; RawSize: number }[];
    BuildCache: unknown[];
  }
  const details = JSON.parse(box.ok(["system", "df", "-v", "--format", "json"])) as Details;
  expect(details.Images.map((image) => image.Containers)).toEqual(["1"]);
  expect(details.Containers.map((one) => one.LocalVolumes)).toEqual(["2"]);
  expect(details.Volumes.map(({ Name, Links }) => `${Name} ${Links}`)).toEqual(["named 1", "c/1 1"]);
  expect(details.BuildCache).toEqual([]);
  expect(box.ok(["system", "df", "-v", "--format", "{{len .Volumes}}"])).toBe("2");
  box.ok(["rm", "c"]);
  box.ok(["system", "prune", "-f", "--volumes"]);
});
