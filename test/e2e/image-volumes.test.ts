/** Volumes of images, as podman 4.3.1 makes them; and progress in every form. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Box, type Outcome, runArgv } from "./box.ts";
import { Terminal } from "./terminal.ts";

const NONE = ["--network", "none"];
const IMAGE = "localhost/busybox";
let box: Box;

beforeAll(() => {
  box = new Box("image-volumes");
  box.importBusybox();
  // What is kept of the first container: probes of the runtime, the cgroup of the store.
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  box.mark();
});
afterEach(async () => {
  box.clear();
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

describe("volumes of an image", () => {
  beforeAll(() => {
    const root = join(box.dir, "busybox-root");
    mkdirSync(join(root, "data/sub"), { recursive: true });
    writeFileSync(join(root, "data/file"), "from the image\n");
    symlinkSync("file", join(root, "data/link"));
    symlinkSync("/data", join(root, "way"));
    chownSync(join(root, "data"), 5, 6);
    chmodSync(join(root, "data"), 0o1750);
    const tar = join(box.dir, "volumes.tar");
    runArgv(["tar", "-C", root, "-cf", tar, "."]);
  });
  const load = (): void => {
    const change = (text: string): string[] => ["--change", text];
    box.ok([
      "import",
      ...change("VOLUME /data /way/sub /proc/x"),
      ...change("ENV PATH=/bin"),
      join(box.dir, "volumes.tar"),
      "localhost/v:1",
    ]);
  };
  const run = (flags: string[], script: string): string =>
    box.ok(["run", "--rm", ...NONE, ...flags, "localhost/v:1", "sh", "-c", script]);
  const LOOK = "stat -c '%a %u:%g' /data; cat /data/link; grep -c ' /data ' /proc/mounts";

  test("are anonymous volumes with what the image has there; links stay inside; gone with the container", () => {
    load();
    expect(run([], LOOK)).toBe("1750 5:6\nfrom the image\n1");
    expect(run(["--image-volume", "bind"], LOOK)).toBe("1750 5:6\nfrom the image\n1");
    expect(run([], "grep -c ' /data/sub ' /proc/mounts")).toBe("1");
    box.ok(["run", "--name", "c", ...NONE, "localhost/v:1", "sh", "-c", "rm /data/*; echo own > /data/own"]);
    box.ok(["commit", "-q", "c", "localhost/committed:1"]);
    const dir = `${box.root}/containers`;
    expect(readdirSync(join(dir, readdirSync(dir)[0] as string, "volumes")).length).toBe(2);
    box.ok(["rm", "-v", "c"]);
    expect(readdirSync(dir)).toEqual([]);
    // What was written to the volume is no part of the image.
    expect(box.ok(["run", "--rm", ...NONE, "localhost/committed:1", "cat", "/data/file"])).toBe(
      "from the image",
    );
  });

  test("what a container has emptied stays empty when it is started again", () => {
    load();
    const script = "ls /data; rm -f /data/file /data/link";
    expect(box.ok(["run", "--name", "c", ...NONE, "localhost/v:1", "sh", "-c", script])).toContain("file");
    expect(box.ok(["start", "-a", "c"])).toBe("sub");
    box.ok(["rm", "c"]);
  });

  test("--image-volume tmpfs and ignore; -v over it; a wrong one", () => {
    load();
    expect(
      run(["--image-volume", "tmpfs"], "grep ' /data ' /proc/mounts | cut -d' ' -f3; cat /data/file"),
    ).toBe("tmpfs\nfrom the image");
    expect(run(["--image-volume", "ignore"], "grep -c ' /data ' /proc/mounts; cat /data/file; true")).toBe(
      "0\nfrom the image",
    );
    expect(run(["-v", "mine:/data"], LOOK)).toBe("1750 5:6\nfrom the image\n1");
    box.ok(["system", "prune", "-f", "--volumes"]);
    const wrong = box.berth(["run", "--image-volume", "other", IMAGE]);
    expect(wrong.code).toBe(125);
    expect(wrong.stderr).toContain("anonymous, bind, tmpfs, ignore");
  });
});

describe("--mount type=image", () => {
  const mount = (more = ""): string[] => ["--mount", `type=image,source=${IMAGE},target=/other${more}`];
  const run = (flags: string[], script: string): string =>
    box.ok(["run", "--rm", ...NONE, ...flags, IMAGE, "sh", "-c", script]);

  test("shows the files of an image, read-only unless rw, and the image is in use meanwhile", () => {
    box.ok(["import", join(box.dir, "busybox.tar"), "localhost/second:1"]);
    const second = ["--mount", "type=image,source=localhost/second:1,target=/second"];
    expect(run(mount(), "cat /other/var/www/index.html; touch /other/x 2>&1; true")).toBe(
      "hello from berth\ntouch: /other/x: Read-only file system",
    );
    box.ok([
      "run",
      "-d",
      "--name",
      "c",
      ...NONE,
      ...second,
      ...mount(",rw=true"),
      IMAGE,
      "sh",
      "-c",
      "echo y >> /other/y; sleep 1000",
    ]);
    expect(box.berth(["rmi", "localhost/second:1"]).code).toBe(2);
    box.ok(["stop", "-t", "0", "c"]);
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
    box.ok(["start", "c"]);
    expect(box.in("c", "until [ $(wc -l < /other/y) = 2 ]; do sleep 0.1; done; ls /second/bin/sh")).toBe(
      "/second/bin/sh",
    );
    box.ok(["rm", "-f", "-t", "0", "c"]);
    expect(run(mount(), "ls /other/y 2>/dev/null; true")).toBe("");
    box.ok(["rmi", "localhost/second:1"]);
    const unknown = box.berth(["run", "--rm", ...NONE, "--mount", "type=image,source=nope,target=/x", IMAGE]);
    expect(unknown.code).toBe(125);
    expect(unknown.stderr).toContain("nope: image not known");
  });
});

describe("--progress", () => {
  const archive = (): string => {
    const path = join(box.dir, "progress.tar");
    if (!existsSync(path)) box.ok(["save", "-q", "-o", path, IMAGE]);
    return path;
  };

  test("plain and json on stderr, nothing by default, and the result alone on stdout", () => {
    const load = (...flags: string[]): Outcome => {
      const other = new Box("progress");
      const outcome = other.berth(["load", "-i", archive(), ...flags]);
      other.close();
      expect(outcome).toMatchObject({ code: 0, stdout: "Loaded image: localhost/busybox:latest\n" });
      return outcome;
    };
    expect(load().stderr).toBe("");
    const plain = load("--progress", "plain").stderr.trimEnd().split("\n");
    expect(plain.at(-1)).toMatch(/^[0-9a-f]{12}: done [\d.]+MB$/);
    const json = load("--progress=json")
      .stderr.trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { status: string });
    expect(json.at(-1)).toMatchObject({
      status: "done",
      current: expect.any(Number),
      total: expect.any(Number),
    });
    expect(load("--progress", "json", "-q").stderr).toBe("");
    const wrong = box.berth(["load", "--progress", "loud", "-i", archive()]);
    expect(wrong.code).toBe(125);
    expect(wrong.stderr).toContain("auto, plain, json, tty");
  });

  test("on a terminal bars, also where only the name is asked for by tty", async () => {
    const other = new Box("progress-tty");
    const terminal = new Terminal([...other.argv, "load", "-i", archive()], { columns: 60, rows: 10 });
    expect(await terminal.ends()).toBe(0);
    expect(terminal.text).toMatch(/[0-9a-f]{12} {2}done/);
    expect(terminal.text).toContain("total ");
    const forced = other.berth(["save", "-o", join(other.dir, "x.tar"), "--progress", "tty", IMAGE]);
    expect(forced.stderr).toContain("\x1b[2K");
    other.close();
  });
});
