/** Linked as docker or podman, the program speaks as that one: expectations were read off docker 28 on dockerd 20.10 and podman 4.3.1. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { Box, type Outcome, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox";
const NONE = ["--network", "none"];
let box: Box;

beforeAll(() => {
  box = new Box("personality");
  box.importBusybox();
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  for (const name of ["docker", "podman"]) symlinkSync(box.argv[0] as string, join(box.dir, name));
  box.mark();
});
afterEach(async () => {
  box.clear();
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const as =
  (name: string) =>
  (...args: string[]): Outcome =>
    runArgv([join(box.dir, name), ...box.argv.slice(1), ...args]);
const docker = as("docker");
const podman = as("podman");

describe("docker", () => {
  test("ps: three spaces, newest first, the image as it was asked for, quoted commands", () => {
    docker("create", "--name", "old", ...NONE, IMAGE, "true");
    docker("run", "-d", "--name", "new", ...NONE, `${IMAGE}:latest`, "sh", "-c", "exec sleep 1000");
    const [heading, first, second] = docker("ps", "-a").stdout.split("\n");
    expect(heading?.split(/ {3,}/)).toEqual([
      "CONTAINER ID",
      "IMAGE",
      "COMMAND",
      "CREATED",
      "STATUS",
      "PORTS",
      "NAMES",
    ]);
    expect(first?.split(/ {3,}/).slice(1, 3)).toEqual(["localhost/busybox:latest", `"sh -c 'exec sleep 1…"`]);
    expect(second?.split(/ {3,}/).slice(1, 3)).toEqual(["localhost/busybox", '"true"']);
    const rows = docker("ps", "-a", "--format", "json").stdout.trim().split("\n");
    expect(rows.map((row) => (JSON.parse(row) as { Names: string }).Names)).toEqual(["new", "old"]);
    expect(JSON.parse(rows[1] as string)).toMatchObject({
      Command: '"true"',
      State: "created",
      Size: "0B",
      Labels: "",
    });
  });

  test("inspect: a slash before the name, sha256 before images", () => {
    docker("create", "--name", "i", ...NONE, IMAGE, "true");
    const shown = docker("inspect", "--format", "{{.Name}} {{.Image}} {{.Config.Image}}", "i").stdout;
    expect(shown).toMatch(/^\/i sha256:[0-9a-f]{64} localhost\/busybox\n$/);
    expect(docker("image", "inspect", "--format", "{{.Id}}", IMAGE).stdout).toMatch(/^sha256:/);
    expect(docker("inspect", "/i").code).toBe(0);
    const nothing = docker("inspect", "nosuch");
    expect(nothing).toEqual({ code: 1, stdout: "[]\n", stderr: "Error: No such object: nosuch\n" });
  });

  test("exit codes: 1, and 125 to 127 of run", () => {
    const codes = {
      "rm nosuch": 1,
      "rmi nosuch": 1,
      "start nosuch": 1,
      "stop nosuch": 1,
      "logs nosuch": 1,
      "exec nosuch true": 1,
      "ps --filter nosuch=1": 1,
      frob: 1,
      run: 1,
      [`run --rm --network none --no-such-flag ${IMAGE}`]: 125,
      [`run --rm --network none --pull never nosuch`]: 125,
      [`run --rm --network none ${IMAGE} nosuch`]: 127,
      [`run --rm --network none ${IMAGE} /etc`]: 126,
      "rm -f nosuch": 0,
    };
    for (const [words, code] of Object.entries(codes)) {
      expect([words, docker(...words.split(" ")).code]).toEqual([words, code]);
    }
    docker("create", "--name", "down", ...NONE, IMAGE, "true");
    expect(docker("exec", "down", "true").code).toBe(1);
    docker("run", "-d", "--name", "up", ...NONE, IMAGE, "sleep", "1000");
    expect(docker("rm", "up").code).toBe(1);
    expect(docker("exec", "up", "nosuch").code).toBe(127);
  });

  test("words of errors, and hints that call it docker", () => {
    expect(docker("rm", "nosuch").stderr).toBe("Error response from daemon: No such container: nosuch\n");
    expect(docker("rmi", "nosuch").stderr).toStartWith("Error response from daemon: No such image: nosuch");
    const run = docker("run", "--rm", "--pull", "never", "nosuch").stderr;
    expect(run).toStartWith("docker: Error response from daemon: ");
    expect(run).toContain("Run 'docker run --help' for more information");
    docker("create", "--name", "down", ...NONE, IMAGE, "true");
    expect(docker("kill", "down").stderr).toContain('"docker start down"');
    expect(docker("frob").stderr).toStartWith("docker: ");
  });

  test("images, rmi, top, stats, system df, version, info", () => {
    docker("tag", IMAGE, "mine:1");
    expect(docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout).toBe(
      "mine:1\nlocalhost/busybox:latest\n",
    );
    expect(docker("rmi", "mine:1").stdout).toBe("Untagged: mine:1\n");
    docker("run", "-d", "--name", "t", ...NONE, IMAGE, "sleep", "1000");
    expect(docker("top", "t").stdout.split("\n")[0]?.split(/ +/)).toEqual([
      "UID",
      "PID",
      "PPID",
      "C",
      "STIME",
      "TTY",
      "TIME",
      "CMD",
    ]);
    const pid = docker("inspect", "--format", "{{.State.Pid}}", "t").stdout.trim();
    expect(docker("top", "t", "-o", "pid,args").stdout).toMatch(
      new RegExp(`^PID +COMMAND\\n${pid} +sleep 1000\\n$`),
    );
    expect(docker("stats", "--no-stream").stdout.split("\n")[0]?.split(/ {3,}/)[0]).toBe("CONTAINER ID");
    expect(docker("system", "df", "--format", "{{.Type}} {{.Reclaimable}}").stdout).toContain(
      "Build Cache 0B\n",
    );
    expect(docker("version", "--format", "{{.Server.Version}} {{.Client.APIVersion}}").stdout).toMatch(
      /^\d\S+ 1\.\d+\n$/,
    );
    expect(docker("version").stdout).toMatch(
      /^Client:\n Version: +\d.*\nServer: berth\n Engine:\n {2}Version: +\d/s,
    );
    expect(docker("--version").stdout).toMatch(/^Docker version \d+\.\d+\.\d+, build \S+\n$/);
    expect(
      docker(
        "info",
        "--format",
        "{{.ServerVersion}} {{.Driver}} {{.ContainersRunning}} {{.Swarm.LocalNodeState}}",
      ).stdout,
    ).toMatch(/^\d\S+ overlay 1 inactive\n$/);
    expect(docker("info").stdout).toContain("Server:\n Containers: 1\n  Running: 1\n");
  });

  test("events have docker's actions and attributes, as lines, JSON and templates", () => {
    docker("run", "--name", "ev", ...NONE, IMAGE, "sh", "-c", "exit 5");
    docker("rm", "ev");
    const events = ["events", "--since", "1m", "--until", "0s", "--filter", "container=ev"];
    expect(docker(...events, "--format", "{{.Action}}").stdout).toBe("create\nstart\ndie\ndestroy\n");
    expect(docker(...events, "--filter", "event=die").stdout).toMatch(
      /^\d{4}-\d\d-\d\dT\S+Z container die [0-9a-f]{64} \(.*exitCode=5.*name=ev|.*name=ev.*exitCode=5.*\)\n$/,
    );
    const died = JSON.parse(docker(...events, "--filter", "event=die", "--format", "json").stdout) as object;
    expect(died).toMatchObject({
      status: "die",
      Action: "die",
      Actor: { Attributes: { exitCode: "5", name: "ev" } },
    });
  });

  test("rmi -f leaves containers alone, as docker does", () => {
    docker("import", join(box.dir, "busybox.tar"), "gone:1");
    docker("create", "--name", "left", ...NONE, "gone:1", "/bin/true");
    expect(docker("rmi", "gone:1").code).toBe(1);
    expect(docker("rmi", "-f", "gone:1").code).toBe(0);
    expect(docker("ps", "-a", "--format", "{{.Names}}").stdout).toBe("left\n");
    box.clear();
    box.ok(["image", "prune", "-f"]);
  });

  test("run, exec, cp, logs and wait as scripts use them", () => {
    expect(docker("run", "--rm", ...NONE, IMAGE, "echo", "hi")).toEqual({
      code: 0,
      stdout: "hi\n",
      stderr: "",
    });
    expect(docker("run", "-d", "--name", "s", ...NONE, IMAGE, "sh", "-c", "echo log; exit 3").stdout).toMatch(
      /^[0-9a-f]{64}\n$/,
    );
    expect(docker("wait", "s").stdout).toBe("3\n");
    expect(docker("logs", "s").stdout).toBe("log\n");
    expect(docker("cp", "/etc/hostname", "s:/copied").code).toBe(0);
    expect(docker("diff", "s").stdout).toBe("A /copied\n");
    expect(docker("container", "ls", "-aq").stdout).toMatch(/^[0-9a-f]{12}\n$/);
    expect(docker("rm", "s").stdout).toBe("s\n");
  });
});

describe("podman", () => {
  test("its exit codes and words", () => {
    for (const [words, code] of Object.entries({
      "rm nosuch": 1,
      "rmi nosuch": 1,
      "start nosuch": 125,
      "exec nosuch true": 125,
      "container exists nosuch": 1,
      "image exists nosuch": 1,
      frob: 125,
      "rm -f nosuch": 0,
    })) {
      expect([words, podman(...words.split(" ")).code]).toEqual([words, code]);
    }
    podman("run", "-d", "--name", "up", ...NONE, IMAGE, "sleep", "1000");
    expect(podman("rm", "up").code).toBe(2);
    expect(podman("rmi", IMAGE).code).toBe(2);
    expect(podman("exec", "up", "nosuch").code).toBe(127);
    expect(podman("frob").stderr).toStartWith("Error: unrecognized command `podman frob`\n");
    expect(podman("start", "nosuch").stderr).toBe(
      'Error: no container with name or ID "nosuch" found: no such container\n',
    );
  });

  test("tables with two spaces, oldest first, sizes with a gap, one JSON array", () => {
    podman("create", "--name", "a", ...NONE, IMAGE, "true");
    podman("create", "--name", "b", ...NONE, IMAGE, "true");
    expect(podman("ps", "-a", "--format", "{{.Names}}").stdout).toBe("a\nb\n");
    expect(podman("ps", "-a").stdout).toStartWith("CONTAINER ID  IMAGE ");
    expect(podman("images").stdout).toMatch(/ 1\.\d+ MB\n$/);
    expect((JSON.parse(podman("ps", "-a", "--format", "json").stdout) as unknown[]).length).toBe(2);
    expect(podman("inspect", "--format", "{{.Name}} {{.ImageName}}", "a").stdout).toBe(
      "a localhost/busybox:latest\n",
    );
    expect(podman("--version").stdout).toMatch(/^podman version \d/);
  });
});
