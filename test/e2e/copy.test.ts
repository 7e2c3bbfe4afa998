/** cp in every direction, by the rules of docker cp and podman cp (each case was tried on podman 4.3.1 and docker 20.10 first). */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { chownSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox";
let box: Box;
let host: string;

const inside = (name: string, script: string): string =>
  box.ok(["exec", "-u", "0", name, "sh", "-c", script]);
const tree = (dir: string): string[] =>
  runArgv(["sh", "-c", "find . -mindepth 1 | sort"], { cwd: dir }).stdout.split("\n").filter(Boolean);

beforeAll(() => {
  box = new Box("copy");
  box.importBusybox();
  box.ok(["run", "--rm", "--network", "none", "-v", "data:/data", IMAGE, "true"]);
  box.mark();
});
afterAll(() => box.close());

beforeEach(() => {
  host = join(box.dir, "host");
  rmSync(host, { recursive: true, force: true });
  mkdirSync(join(host, "dir"), { recursive: true });
  writeFileSync(join(host, "f"), "one\n");
  writeFileSync(join(host, "dir/g"), "two\n");
  symlinkSync("g", join(host, "dir/link"));
  // A volume, a tmpfs and a bind, to see that a running container's mounts are part of its tree.
  box.ok([
    "run",
    "-d",
    "--name",
    "up",
    "--network",
    "none",
    "-v",
    "data:/data",
    "--tmpfs",
    "/fast",
    "-v",
    `${host}:/bound:ro`,
    IMAGE,
    "sh",
    "-c",
    "mkdir -p /d/existing; echo ready; exec sleep 1000",
  ]);
  while (!box.ok(["logs", "up"]).includes("ready")) Bun.sleepSync(10);
});
afterEach(async () => {
  for (const id of box.ok(["ps", "-aq"]).split("\n").filter(Boolean)) box.ok(["rm", "-f", "-v", id]);
  expect(await box.leaks()).toEqual([]);
});

describe("into a container", () => {
  test("a file becomes the name that is not there, goes into a directory, replaces a file", () => {
    box.ok(["cp", join(host, "f"), "up:/d/new"]);
    box.ok(["cp", join(host, "f"), "up:/d/existing"]);
    box.ok(["cp", join(host, "dir/g"), "up:/d/new"]);
    expect(inside("up", "cat /d/new /d/existing/f")).toBe("two\none");
  });

  test("a directory becomes the new name, goes into one that is there, or pours its contents with /.", () => {
    box.ok(["cp", join(host, "dir"), "up:/d/copied"]);
    box.ok(["cp", join(host, "dir"), "up:/d/existing"]);
    box.ok(["cp", `${join(host, "dir")}/.`, "up:/d/existing"]);
    expect(inside("up", "cd /d; find . -type f -o -type l | sort").split("\n")).toEqual([
      "./copied/g",
      "./copied/link",
      "./existing/dir/g",
      "./existing/dir/link",
      "./existing/g",
      "./existing/link",
    ]);
    expect(inside("up", "readlink /d/copied/link")).toBe("g");
  });

  test("a path without a slash in front starts at the root", () => {
    box.ok(["cp", join(host, "f"), "up:relative"]);
    expect(inside("up", "cat /relative")).toBe("one");
  });

  test("a target directory that is missing, a directory over a file, a missing source: said, nothing changed", () => {
    for (const [from, to, says] of [
      [join(host, "f"), "up:/d/nodir/", `"/d/nodir/" could not be found in container up`],
      [join(host, "f"), "up:/d/no/such", `"/d/no" could not be found in container up`],
      [join(host, "nosuch"), "up:/", "could not be found on the host"],
      [join(host, "dir"), "up:/etc/passwd", "over the file"],
      [join(host, "f"), "nosuch:/", "no such container"],
      [join(host, "f"), join(host, "g"), "one side of cp must be a container"],
    ] as const) {
      const outcome = box.berth(["cp", from, to]);
      expect(outcome.stderr).toContain(says);
      expect(outcome.code).toBe(125);
    }
    expect(box.ok(["diff", "up"])).not.toContain("nodir");
  });

  test("a link as the target is followed, also one that leads to nothing yet", () => {
    inside(
      "up",
      "ln -s /d/existing /todir; ln -s /d/file /tofile; echo old >/d/file; ln -s /d/later /dangling",
    );
    box.ok(["cp", join(host, "f"), "up:/todir"]);
    box.ok(["cp", join(host, "f"), "up:/tofile"]);
    box.ok(["cp", join(host, "f"), "up:/dangling"]);
    expect(inside("up", "cat /d/existing/f /d/file /d/later; readlink /tofile; readlink /dangling")).toBe(
      "one\none\none\n/d/file\n/d/later",
    );
  });

  test("a link out of the container's root stays in it", () => {
    inside("up", "ln -s ../../../../../../tmp /outside");
    box.ok(["cp", join(host, "f"), "up:/outside/berth-canary"]);
    expect(inside("up", "cat /tmp/berth-canary")).toBe("one");
    expect(existsSync("/tmp/berth-canary")).toBe(false);
  });

  test("files belong to the container's user, with -a=false to whom they belonged", () => {
    chownSync(join(host, "f"), 1234, 5678);
    box.ok(["run", "-d", "--name", "own", "-u", "user", "--network", "none", IMAGE, "sleep", "1000"]);
    box.ok(["cp", join(host, "f"), "own:/tmp/given"]);
    box.ok(["cp", "-a=false", join(host, "f"), "own:/tmp/kept"]);
    expect(inside("own", "stat -c '%u:%g' /tmp/given /tmp/kept")).toBe("1000:1000\n1234:5678");
  });

  test("tar on stdin is unpacked into a directory", () => {
    const tar = runArgv(["tar", "-C", host, "-cf", join(box.dir, "in.tar"), "dir"]);
    expect(tar.code).toBe(0);
    const bytes = new Uint8Array(readFileSync(join(box.dir, "in.tar")));
    box.ok(["cp", "-", "up:/d"], { stdin: bytes });
    expect(inside("up", "cat /d/dir/g")).toBe("two");
    const refused = box.berth(["cp", "-", "up:/d/notthere"], { stdin: bytes });
    expect(refused.stderr).toContain("/d/notthere");
    expect(refused.code).toBe(125);
  });

  test("volumes and tmpfs of a running container are reached, a read-only bind refuses", () => {
    box.ok(["cp", join(host, "f"), "up:/data/f"]);
    box.ok(["cp", join(host, "f"), "up:/fast/f"]);
    expect(inside("up", "cat /data/f /fast/f")).toBe("one\none");
    expect(box.ok(["diff", "up"])).not.toContain("/data/f");
    const refused = box.berth(["cp", join(host, "f"), "up:/bound/x"]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(/read-only|EROFS/i);
    expect(existsSync(join(host, "x"))).toBe(false);
  });

  test("one that was never started, and one that has ended", () => {
    box.ok(["create", "--name", "fresh", "--network", "none", IMAGE, "cat", "/put"]);
    box.ok(["cp", join(host, "f"), "fresh:/put"]);
    expect(box.ok(["start", "-a", "fresh"])).toBe("one");
    box.ok(["cp", join(host, "dir/g"), "fresh:/put"]);
    expect(box.ok(["start", "-a", "fresh"])).toBe("two");
  });
});

describe("out of a container", () => {
  test("a file to a name, into a directory, to where nothing is", () => {
    inside("up", "echo x >/d/new; chown 77:88 /d/new; chmod 640 /d/new");
    box.ok(["cp", "up:/d/new", join(host, "out")]);
    box.ok(["cp", "up:/d/new", join(host, "dir")]);
    expect(readFileSync(join(host, "out"), "utf8")).toBe("x\n");
    expect(readFileSync(join(host, "dir/new"), "utf8")).toBe("x\n");
    const { uid, gid, mode } = statSync(join(host, "out"));
    expect([uid, gid, mode & 0o777]).toEqual([0, 0, 0o640]);
    const refused = box.berth(["cp", "up:/d/new", join(host, "no/such")]);
    expect(refused.stderr).toContain("could not be found on the host");
    expect(refused.code).toBe(125);
  });

  test("a path relative to the working directory, and the working directory itself", () => {
    inside("up", "echo x >/d/new");
    box.ok(["cp", "up:/d/new", "there"], { cwd: host });
    box.ok(["cp", "up:/d/new", "."], { cwd: host });
    expect(tree(host)).toContain("./there");
    expect(tree(host)).toContain("./new");
  });

  test("directories: new name, into one, contents only", () => {
    inside("up", "mkdir /d/existing/sub; echo 1 >/d/existing/sub/a; ln -s a /d/existing/sub/l");
    box.ok(["cp", "up:/d/existing", join(host, "fresh")]);
    box.ok(["cp", "up:/d/existing", join(host, "dir")]);
    box.ok(["cp", "up:/d/existing/.", join(host, "contents")]);
    expect(tree(host)).toEqual([
      "./contents",
      "./contents/sub",
      "./contents/sub/a",
      "./contents/sub/l",
      "./dir",
      "./dir/existing",
      "./dir/existing/sub",
      "./dir/existing/sub/a",
      "./dir/existing/sub/l",
      "./dir/g",
      "./dir/link",
      "./f",
      "./fresh",
      "./fresh/sub",
      "./fresh/sub/a",
      "./fresh/sub/l",
    ]);
  });

  test("a link as the source is followed inside the container only", () => {
    inside(
      "up",
      "ln -s /etc/passwd /flnk; ln -s /d/existing /dlnk; echo q >/d/existing/q; ln -s ../../../../etc/hostname /hlnk",
    );
    box.ok(["cp", "up:/flnk", join(host, "flnk")]);
    box.ok(["cp", "up:/dlnk", join(host, "dlnk")]);
    box.ok(["cp", "up:/hlnk", join(host, "hlnk")]);
    expect(lstatSync(join(host, "flnk")).isFile()).toBe(true);
    expect(readFileSync(join(host, "flnk"), "utf8")).toStartWith("root:x:0:0");
    expect(readFileSync(join(host, "dlnk/q"), "utf8")).toBe("q\n");
    expect(readFileSync(join(host, "hlnk"), "utf8").trim()).toBe(inside("up", "hostname"));
  });

  test("what is copied out cannot write through a link that waits on the host", () => {
    const canary = join(box.dir, "canary");
    mkdirSync(canary, { recursive: true });
    symlinkSync(canary, join(host, "dir/existing"));
    inside("up", "echo evil >/d/existing/evil");
    box.berth(["cp", "up:/d/existing", join(host, "dir")]);
    expect(existsSync(join(canary, "evil"))).toBe(false);
  });

  test("tar on stdout: a directory under its name, a file under its own", () => {
    inside("up", "echo q >/d/existing/q");
    const list = (path: string): string[] => {
      const script = `${box.argv.join(" ")} cp up:${path} - | tar tf - | sort`;
      return runArgv(["sh", "-c", script]).stdout.split("\n").filter(Boolean);
    };
    expect(list("/d/existing")).toEqual(["existing/", "existing/q"]);
    expect(list("/d/existing/q")).toEqual(["q"]);
    expect(list("/etc/passwd")).toEqual(["passwd"]);
  });

  test("from one that is stopped, and straight from one container to another", () => {
    box.ok(["run", "--name", "done", "--network", "none", IMAGE, "sh", "-c", "mkdir /o; echo res >/o/r"]);
    box.ok(["create", "--name", "next", "--network", "none", IMAGE, "cat", "/in/r"]);
    box.ok(["cp", "done:/o/r", join(host, "res")]);
    expect(readFileSync(join(host, "res"), "utf8")).toBe("res\n");
    box.ok(["cp", "done:/o", "next:/in"]);
    expect(box.ok(["start", "-a", "next"])).toBe("res");
  });
});
