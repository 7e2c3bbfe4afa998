/** rename, diff, export, commit, restart, kill, start, prune, system: what is done to containers and the store. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Box, runArgv } from "./box.ts";

const IMAGE = "localhost/busybox";
const NONE = ["--network", "none"];
let box: Box;

beforeAll(() => {
  box = new Box("change");
  box.importBusybox();
  box.ok(["run", "--rm", ...NONE, IMAGE, "true"]);
  box.mark();
});
afterEach(async () => {
  box.clear();
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const lines = (args: string[]): string[] => box.ok(args).split("\n").filter(Boolean);

test("rename: the new name works, the old is free, a taken or bad one is refused", () => {
  const id = box.up("old");
  box.ok(["create", "--name", "other", ...NONE, IMAGE]);
  expect(box.ok(["rename", "old", "new"])).toBe("");
  expect(box.ok(["inspect", "--format", "{{.Id}}", "new"])).toBe(id);
  expect(box.berth(["rename", "new", "other"]).stderr).toContain('"other" is already in use');
  expect(box.berth(["rename", "new", "a b"]).code).toBe(125);
  expect(box.berth(["rename", "old", "x"]).code).toBe(125);
  expect(box.in("new", "echo runs")).toBe("runs");
  box.ok(["create", "--name", "old", ...NONE, IMAGE]);
});

describe("diff", () => {
  test("of a container that changed nothing is empty, whatever the engine mounts there", () => {
    box.up("d");
    expect(box.ok(["diff", "d"])).toBe("");
  });

  test("added, changed, deleted; sorted; also of a stopped one; json", () => {
    box.up(
      "d",
      "echo x >/etc/new; rm /etc/group; rm -r /var/www; chmod 700 /home/user; mkdir -p /a/b; exec sleep 1000",
    );
    const wanted = [
      "A /a",
      "A /a/b",
      "C /etc",
      "D /etc/group",
      "A /etc/new",
      "C /home",
      "C /home/user",
      "C /var",
      "D /var/www",
    ];
    for (let tries = 0; tries < 100 && !box.ok(["diff", "d"]).includes("/a/b"); tries++);
    expect(lines(["diff", "d"])).toEqual(wanted);
    box.ok(["stop", "-t", "0", "d"]);
    expect(lines(["diff", "d"])).toEqual(wanted);
    expect(JSON.parse(box.ok(["diff", "--format", "json", "d"]))).toMatchObject({
      deleted: ["/etc/group", "/var/www"],
    });
  });

  test("of an image: its top layer", () => {
    box.ok(["run", "--name", "d", ...NONE, IMAGE, "touch", "/added"]);
    box.ok(["commit", "d", "localhost/top:1"]);
    expect(box.ok(["diff", "localhost/top:1"])).toBe("A /added");
    box.ok(["rmi", "localhost/top:1"]);
  });
});

describe("export", () => {
  const entries = (tar: string): string[] =>
    runArgv(["tar", "--numeric-owner", "-tvf", tar]).stdout.split("\n").filter(Boolean).sort();

  test("the whole tree, as it was imported, with what changed", () => {
    box.ok([
      "run",
      "--name",
      "e",
      ...NONE,
      "-v",
      "vol:/vol",
      IMAGE,
      "sh",
      "-c",
      "echo hi >/new; rm /etc/group; echo v >/vol/x",
    ]);
    const out = join(box.dir, "out.tar");
    expect(box.ok(["export", "-o", out, "e"])).toBe("");
    const source = entries(join(box.dir, "busybox.tar")).map((line) => line.replace(" ./", " "));
    const exported = entries(out);
    const isOwn = (line: string): boolean => / (new|vol\/|etc\/(hosts|hostname|resolv\.conf))$/.test(line);
    const names = (list: string[]): string[] => list.map((line) => line.split(/ +/).slice(5).join(" "));
    expect(names(exported.filter((line) => !isOwn(line))).filter((name) => !/^(\.\/)?$/.test(name))).toEqual(
      names(source.filter((line) => !line.endsWith("etc/group"))).filter((name) => name !== ""),
    );
    expect(exported.find((line) => line.endsWith(" new"))).toMatch(/^-rw-r--r-- 0\/0 +3 /);
    expect(exported.some((line) => line.includes("vol/x"))).toBe(false);
    const busybox = (list: string[]): string | undefined =>
      list.find((line) => line.endsWith(" bin/busybox"));
    expect(busybox(exported)).toBe(busybox(source) as string);
  });

  test("to stdout, and what comes out imports and runs again", () => {
    box.ok(["run", "--name", "e", ...NONE, IMAGE, "sh", "-c", "echo kept >/kept"]);
    const tar = Bun.spawnSync([...box.argv, "export", "e"]).stdout;
    box.ok(["import", "-", "localhost/again:1"], { stdin: new Uint8Array(tar) });
    expect(box.ok(["run", "--rm", ...NONE, "localhost/again:1", "/bin/cat", "/kept"])).toBe("kept");
    box.ok(["rmi", "localhost/again:1"]);
    expect(box.berth(["export", "nosuch"]).code).toBe(125);
  });

  test("a file that cannot be written leaves nothing half", () => {
    box.ok(["create", "--name", "e", ...NONE, IMAGE]);
    const outcome = box.berth(["export", "-o", join(box.dir, "no/such/dir.tar"), "e"]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toContain("no/such/dir.tar");
    expect(existsSync(join(box.dir, "no"))).toBe(false);
  });
});

describe("commit", () => {
  test("the new image has the changes, the settings and the parent's layers", () => {
    box.up("c", "echo data >/data; rm /etc/group; exec sleep 1000", ["-e", "FROM=container", "-l", "own=1"]);
    for (let tries = 0; tries < 100 && !box.ok(["diff", "c"]).includes("group"); tries++);
    const id = box.ok([
      "commit",
      "--change",
      'CMD ["cat", "/data"]',
      "-c",
      "ENV A=b",
      "-c",
      "WORKDIR /home",
      "-c",
      "LABEL l=2",
      "-a",
      "somebody",
      "c",
      "localhost/made:1",
    ]);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(box.ok(["ps", "--format", "{{.State}}"])).toBe("running");
    expect(box.ok(["run", "--rm", ...NONE, "localhost/made:1"])).toBe("data");
    expect(
      box.ok(["run", "--rm", ...NONE, "localhost/made:1", "sh", "-c", "echo $FROM $A $PWD; ls /etc"]),
    ).toBe("container b /home\nhostname\nhosts\npasswd\nresolv.conf");
    const layers = (image: string): string[] =>
      JSON.parse(
        box.ok(["inspect", "--type", "image", "--format", "{{json .RootFS.Layers}}", image]),
      ) as string[];
    expect(layers("localhost/made:1").slice(0, -1)).toEqual(layers(IMAGE));
    expect(
      box.ok([
        "image",
        "inspect",
        "--format",
        '{{.Author}} {{index .Config.Labels "l"}} {{index .Config.Labels "own"}}',
        id,
      ]),
    ).toBe("somebody 2 1");
    expect(lines(["history", "--format", "{{.ID}} {{.CreatedBy}}", "localhost/made:1"])[0]).toStartWith(
      `${id.slice(0, 12)} sh -c echo data`,
    );
    // Only what changed is in the new layer: not even the files that the engine mounts.
    const top = runArgv(["sh", "-c", `${box.argv.join(" ")} save localhost/made:1 | tar -xO manifest.json`]);
    const layer = (JSON.parse(top.stdout) as [{ Layers: string[] }])[0].Layers.at(-1) as string;
    const list = `${box.argv.join(" ")} save localhost/made:1 | tar -xO ${layer} | tar t | sort`;
    expect(runArgv(["sh", "-c", list]).stdout).toBe("data\netc/\netc/.wh.group\n");
    box.ok(["rmi", "localhost/made:1"]);
  });

  test("without a name it dangles; a name taken over leaves the old image without; prune takes both", () => {
    box.up("c");
    const first = box.ok(["commit", "c", "localhost/n:1"]);
    box.in("c", "touch /more");
    const second = box.ok(["commit", "c", "localhost/n:1"]);
    const third = box.ok(["commit", "c"]);
    const dangling = lines(["images", "-q", "--no-trunc", "--filter", "dangling=true"]).sort();
    expect(dangling).toContain(`sha256:${first}`);
    expect(box.ok(["images", "-q", "--no-trunc", "localhost/n:1"])).toBe(`sha256:${second}`);
    const pruned = lines(["image", "prune", "-f"]);
    expect(pruned).toContain(first);
    expect(pruned.includes(third) || third === second).toBe(true);
    box.ok(["rmi", "localhost/n:1"]);
  });

  test("bad input changes nothing", () => {
    box.up("c");
    const before = box.ok(["images", "-aq"]);
    expect(box.berth(["commit", "--change", "FROM x", "c", "localhost/x:1"]).stderr).toContain("FROM");
    expect(box.berth(["commit", "c", "BAD"]).stderr).toContain("BAD");
    expect(box.berth(["commit", "nosuch", "x"]).code).toBe(125);
    expect(box.ok(["images", "-aq"])).toBe(before);
  });
});

describe("stop, kill, restart, start", () => {
  test("restart keeps the container and its files, also of one that was down", () => {
    const id = box.up("r", "echo life >>/lives; exec sleep 1000");
    expect(box.ok(["restart", "-t", "0", "r"])).toBe("r");
    box.ok(["stop", "-t", "0", "r"]);
    box.ok(["restart", "r"]);
    expect(box.in("r", "cat /lives")).toBe("life\nlife\nlife");
    expect(box.ok(["inspect", "--format", "{{.Id}}", "r"])).toBe(id);
    expect(box.berth(["restart", "nosuch"]).code).toBe(125);
  });

  test("many restarts at once, each after its grace time: every one is up again", async () => {
    const names = Array.from({ length: 5 }, (_, i) => `r${i}`);
    for (const name of names) box.up(name);
    const children = names.map((name) => box.spawn(["restart", "-t", "1", name]));
    const errors = await Promise.all(children.map((child) => new Response(child.stderr).text()));
    expect(errors).toEqual(names.map(() => ""));
    expect(lines(["ps", "--format", "{{.Names}}"])).toEqual(names);
    for (const name of names) expect(box.in(name, "echo up")).toBe("up");
  });

  test("stop sends the stop signal that was chosen; of one that is down it is no error", () => {
    box.up("s", "trap 'exit 5' TERM; while :; do sleep 0.05; done");
    expect(box.ok(["stop", "s"])).toBe("s");
    expect(box.ok(["wait", "s"])).toBe("5");
    box.up("u", "trap 'exit 6' USR1; while :; do sleep 0.05; done", ["--stop-signal", "SIGUSR1"]);
    box.ok(["stop", "u"]);
    expect(box.ok(["wait", "u"])).toBe("6");
    expect(box.ok(["stop", "u"])).toBe("u");
    expect(box.berth(["stop", "nosuch"]).code).toBe(125);
  });

  test("kill: by name, number, to several; not what is down", async () => {
    box.up("k1", "trap 'exit 8' HUP; while :; do sleep 0.05; done");
    box.up("k2");
    expect(box.ok(["kill", "-s", "HUP", "k1"])).toBe("k1");
    expect(box.ok(["wait", "k1"])).toBe("8");
    expect(box.ok(["kill", "--signal", "9", "k2"])).toBe("k2");
    expect(box.ok(["wait", "k2"])).toBe("137");
    await box.until("it has ended", () => box.ok(["ps", "-q"]) === "");
    expect(box.berth(["kill", "k2"]).stderr).toContain("not running");
    expect(box.berth(["kill", "-s", "NOPE", "k2"]).stderr).toContain('"NOPE"');
  });

  test("start -a follows; several start; a running one is no error", () => {
    box.ok(["create", "--name", "a", ...NONE, IMAGE, "sh", "-c", "echo out; exit 3"]);
    expect(box.berth(["start", "-a", "a"])).toEqual({ code: 3, stdout: "out\n", stderr: "" });
    box.ok(["create", "--name", "b", ...NONE, IMAGE, "sleep", "1000"]);
    expect(lines(["start", "a", "b"])).toEqual(["a", "b"]);
    expect(box.ok(["start", "b"])).toBe("b");
  });

  test("pause and unpause, --all", () => {
    box.up("p1");
    box.up("p2");
    expect(lines(["pause", "p1"])).toEqual(["p1"]);
    expect(lines(["ps", "--format", "{{.Names}} {{.State}}"])).toEqual(["p1 paused", "p2 running"]);
    expect(box.berth(["pause", "p1"]).code).toBe(125);
    expect(lines(["unpause", "--all"]).length).toBe(1);
    expect(lines(["ps", "--format", "{{.State}}"])).toEqual(["running", "running"]);
    box.ok(["pause", "p2"]);
    box.ok(["stop", "-t", "0", "p2"]);
    expect(lines(["ps", "--format", "{{.Names}}"])).toEqual(["p1"]);
  });

  test("a restart policy brings it up again until it is stopped", async () => {
    box.up("loop", "echo life; sleep 0.1; exit 1", ["--restart", "on-failure:2"]);
    const state = (): string =>
      box.ok(["inspect", "--format", "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "loop"]);
    await box.until("it gave up", () => state() === "exited 2 1" && lines(["logs", "loop"]).length === 3);
    box.up("ever", "sleep 0.1", ["--restart", "always"]);
    const restarts = (): number => Number(box.ok(["inspect", "--format", "{{.RestartCount}}", "ever"]));
    await box.until("it came back", () => restarts() >= 1);
    box.ok(["stop", "-t", "0", "ever"]);
    const count = restarts();
    await Bun.sleep(1500);
    expect([box.ok(["ps", "-q"]), restarts()]).toEqual(["", count]);
  });

  test("stop while it waits for its next life: it stays down", async () => {
    box.up("rests", "exit 1", ["--restart", "always"]);
    const restarts = (): number => Number(box.ok(["inspect", "--format", "{{.RestartCount}}", "rests"]));
    // The third pause is 800 ms long.
    await box.until("it has a pause", () => restarts() === 3 && box.ok(["ps", "-q"]) === "");
    expect(box.ok(["stop", "rests"])).toBe("rests");
    await Bun.sleep(2500);
    expect([box.ok(["ps", "-q"]), restarts()]).toEqual(["", 3]);
    expect(box.ok(["start", "rests"])).toBe("rests");
    await box.until("the policy counts again", () => restarts() >= 1);
  });
});

describe("stop while a policy brings it up", () => {
  test("its mark outlives a start that is under way, also of a life that is over at once", async () => {
    const names = ["s1", "s2", "s3", "s4"];
    const restarts = (name: string): number =>
      Number(box.ok(["inspect", "--format", "{{.RestartCount}}", name]));
    for (const name of names) {
      box.up(name, "exit 1", ["--restart", "always"]);
      // The count goes up just before the start.
      await box.until("it is being brought up", () => restarts(name) === 2);
      box.ok(["stop", name]);
    }
    const counts = names.map(restarts);
    await Bun.sleep(2000);
    expect(names.map(restarts)).toEqual(counts);
    expect(box.ok(["ps", "-q"])).toBe("");
  });
});

describe("rm and prune", () => {
  test("rm: several, all, by filter, with what is wrong named and the rest removed", () => {
    for (const name of ["x1", "x2", "x3", "x4"])
      box.ok(["create", "--name", name, "-l", `n=${name}`, ...NONE, IMAGE]);
    const some = box.berth(["rm", "x1", "nosuch", "x2"]);
    expect(some.stdout).toBe("x1\nx2\n");
    expect(some.stderr).toContain('"nosuch"');
    expect(some.code).toBe(1);
    box.ok(["rm", "--filter", "label=n=x3"]);
    expect(lines(["ps", "-a", "--format", "{{.Names}}"])).toEqual(["x4"]);
    expect(lines(["rm", "-a"]).length).toBe(1);
    expect(box.ok(["ps", "-aq"])).toBe("");
  });

  test("container prune keeps what runs, and follows filters", () => {
    box.up("runs");
    for (const name of ["p1", "p2"])
      box.ok(["run", "--name", name, "-l", `n=${name}`, ...NONE, IMAGE, "true"]);
    const id = box.ok(["inspect", "--format", "{{.Id}}", "p1"]);
    expect(lines(["container", "prune", "-f", "--filter", "label=n=p1"])).toEqual([id]);
    expect(box.ok(["container", "prune", "-f", "--filter", "until=1h"])).toBe("");
    box.ok(["container", "prune", "-f"]);
    expect(lines(["ps", "-a", "--format", "{{.Names}}"])).toEqual(["runs"]);
  });

  test("prune asks on a terminal, and without an answer does nothing", () => {
    box.ok(["run", "--name", "keep", ...NONE, IMAGE, "true"]);
    const asked = box.berth(["container", "prune"], { stdin: "n\n" });
    expect(asked.stdout + asked.stderr).toContain("[y/N]");
    expect(lines(["ps", "-a", "--format", "{{.Names}}"])).toEqual(["keep"]);
    box.ok(["container", "prune"], { stdin: "y\n" });
    expect(box.ok(["ps", "-aq"])).toBe("");
  });
});

describe("system", () => {
  test("df counts, prune gives back, check finds nothing", () => {
    box.ok(["run", "--name", "big", ...NONE, IMAGE, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=5"]);
    const row = (type: string): string[] =>
      lines(["system", "df", "--format", "{{.Type}}|{{.Total}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}"])
        .find((line) => line.startsWith(type))
        ?.split("|") ?? [];
    expect(row("Images").slice(1, 3)).toEqual(["1", "1"]);
    expect(row("Containers")).toEqual([
      "Containers",
      "1",
      "0",
      expect.stringMatching(/^5\.\d+MB$/),
      expect.stringContaining("(100%)"),
    ]);
    expect(lines(["system", "df"])[0]?.split(/ {2,}/)).toEqual([
      "TYPE",
      "TOTAL",
      "ACTIVE",
      "SIZE",
      "RECLAIMABLE",
    ]);
    expect(lines(["system", "prune", "-f"]).at(-1)).toMatch(/^Total reclaimed space: 5\.\d+MB$/);
    expect(box.ok(["ps", "-aq"])).toBe("");
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  });

  test("info and version: outlines, json, templates with podman's names", () => {
    expect(box.ok(["info"])).toContain(`graphRoot: ${box.root}`);
    expect(
      box.ok(["info", "--format", "{{.Store.GraphRoot}} {{.Host.OS}} {{.Store.ImageStore.Number}}"]),
    ).toBe(`${box.root} linux 1`);
    const facts = JSON.parse(box.ok(["info", "--format", "json"])) as {
      host: { ociRuntime: { name: string } };
    };
    expect(facts.host.ociRuntime.name).toBe(box.ok(["info", "--format", "{{.Host.OCIRuntime.Name}}"]));
    const version = box.ok(["version", "--format", "{{.Client.Version}}"]);
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(box.ok(["--version"])).toBe(`berth version ${version}`);
    expect(box.ok(["version"])).toMatch(new RegExp(`^Version: +${version}$`, "m"));
    expect(
      (JSON.parse(box.ok(["version", "--format", "json"])) as { Client: { Version: string } }).Client.Version,
    ).toBe(version);
  });

  test("reset asks first, then leaves an empty store", () => {
    const own = new Box("reset");
    try {
      mkdirSync(own.dir, { recursive: true });
      own.importBusybox();
      own.up("x");
      own.berth(["system", "reset"], { stdin: "n\n" });
      expect(own.ok(["ps", "-q"])).not.toBe("");
      own.ok(["system", "reset", "--force"]);
      expect(own.ok(["ps", "-aq"]) + own.ok(["images", "-aq"])).toBe("");
      expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(own.dir);
    } finally {
      own.close();
    }
  });
});
