/** top, stats, events, logs, wait, port: what one sees of containers (compared with podman 4.3.1 and docker by hand). */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Box } from "./box.ts";

const IMAGE = "localhost/busybox";
const NONE = ["--network", "none"];
let box: Box;

beforeAll(() => {
  box = new Box("observe");
  box.importBusybox();
  // With a network: the bridge stays up.
  box.ok(["run", "--rm", "-p", "28080:80", IMAGE, "true"]);
  box.mark();
});
afterEach(async () => {
  box.clear();
  expect(await box.leaks()).toEqual([]);
});
afterAll(() => box.close());

const lines = (args: string[]): string[] => box.ok(args).split("\n").filter(Boolean);

describe("top", () => {
  test("podman's columns, users by name, pids as inside", async () => {
    box.up("t", "sleep 500 & exec sleep 1000", ["-u", "user"]);
    await box.until("both run", () => lines(["top", "t"]).length === 3);
    const [heading, first, second] = lines(["top", "t"]).map((line) => line.split(/ {2,}/));
    expect(heading).toEqual(["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]);
    expect([first?.[0], first?.[1], first?.[2], first?.[7]]).toEqual(["user", "1", "0", "sleep 1000"]);
    expect([second?.[0], second?.[2], second?.[7]]).toEqual(["user", "1", "sleep 500"]);
  });

  test("chosen columns, as words or in one; an unknown one is named", () => {
    box.up("t");
    expect(box.ok(["top", "t", "pid", "user"])).toMatch(/^PID +USER\n1 +root$/);
    expect(box.ok(["top", "t", "args,pid"])).toMatch(/^COMMAND +PID\nsleep 1000 +1$/);
    expect(box.ok(["top", "-l", "hpid"]).split("\n")[1]).toBe(
      box.ok(["inspect", "--format", "{{.State.Pid}}", "t"]),
    );
    const wrong = box.berth(["top", "t", "colour"]);
    expect(wrong.stderr).toContain('"colour"');
    expect(wrong.code).toBe(125);
  });

  test("-ef is the host's view", () => {
    box.up("t");
    const [heading, row] = lines(["top", "t", "-ef"]).map((line) => line.split(/ {2,}/));
    expect(heading).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    expect(row?.[1]).toBe(box.ok(["inspect", "--format", "{{.State.Pid}}", "t"]));
    expect(row?.[6]).toBe("00:00:00");
  });

  test("what does not run has no processes", () => {
    box.ok(["create", "--name", "t", ...NONE, IMAGE, "true"]);
    const outcome = box.berth(["top", "t"]);
    expect(outcome.stderr).toContain("not running");
    expect(outcome.code).toBe(125);
  });
});

describe("stats", () => {
  test("--no-stream: a row each, with numbers that are true", async () => {
    box.up("s", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20; exec sleep 1000", ["-m", "100m"]);
    const used = (): number =>
      Number.parseFloat(box.ok(["stats", "--no-stream", "--format", "{{.MemUsage}}", "s"]));
    await box.until("the memory is used", () => used() > 20);
    const [heading, row] = lines(["stats", "--no-stream", "s"]).map((line) => line.split(/ {2,}/));
    expect(heading?.join("|")).toBe(
      "ID|NAME|CPU %|MEM USAGE / LIMIT|MEM %|NET IO|BLOCK IO|PIDS|CPU TIME|AVG CPU %",
    );
    expect(row?.[1]).toBe("s");
    expect(row?.[3]).toMatch(/^2\d(\.\d+)?MB \/ 104\.9MB$/);
    expect(row?.[7]).toBe("1");
    expect(row?.[8]).toMatch(/^[\d.]+(ms|s)$/);
  });

  test("json, templates, -a, several, an unknown one", () => {
    box.up("s");
    box.ok(["create", "--name", "still", ...NONE, IMAGE, "true"]);
    const [object] = JSON.parse(box.ok(["stats", "--no-stream", "--format", "json", "s"])) as [
      Record<string, string>,
    ];
    expect([object["name"], object["pids"]]).toEqual(["s", "1"]);
    expect(lines(["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}"])).toEqual(["s 1"]);
    expect(lines(["stats", "--no-stream", "-a", "--format", "{{.Name}} {{.PIDs}}"]).sort()).toEqual([
      "s 1",
      "still 0",
    ]);
    expect(box.berth(["stats", "--no-stream", "nosuch"]).code).toBe(125);
  });

  test("it goes on until it is interrupted", async () => {
    box.up("s");
    const child = box.spawn(["stats", "--format", "{{.Name}}", "--interval", "1", "s"]);
    const reader = child.stdout.getReader();
    let text = "";
    while (text.split("\n").length < 3) text += new TextDecoder().decode((await reader.read()).value);
    child.kill("SIGINT");
    await child.exited;
    expect(text).toStartWith("s\ns\n");
  });
});

describe("events", () => {
  const events = (...args: string[]): string[] =>
    lines([
      "events",
      "--since",
      "1m",
      "--stream=false",
      "--format",
      "{{.Type}} {{.Status}} {{.Name}}",
      ...args,
    ]);

  test("a life in order, each step once", () => {
    box.ok(["run", "--name", "life", ...NONE, IMAGE, "true"]);
    box.ok(["rename", "life", "after"]);
    box.ok(["rm", "after"]);
    const id = (line: string): boolean => /life|after/.test(line);
    expect(events().filter(id)).toEqual([
      "container create life",
      "container start life",
      "container died life",
      "container rename after",
      "container remove after",
    ]);
  });

  test("restart and stop say died once", () => {
    box.up("again");
    box.ok(["restart", "-t", "1", "again"]);
    box.ok(["kill", "again"]);
    box.ok(["wait", "again"]);
    expect(events("--filter", "container=again").map((line) => line.split(" ")[1])).toEqual([
      "create",
      "start",
      "died",
      "stop",
      "start",
      "restart",
      "kill",
      "died",
    ]);
  });

  test("filters: by event, container, image, label, type; --until; an unknown one is refused", () => {
    box.ok(["run", "--name", "f1", "-l", "k=v", ...NONE, IMAGE, "true"]);
    box.ok(["run", "--name", "f2", ...NONE, IMAGE, "true"]);
    box.ok(["tag", IMAGE, "localhost/other:1"]);
    box.ok(["untag", IMAGE, "localhost/other:1"]);
    const mine = (...args: string[]): string[] => events(...args).filter((line) => /f1|f2|other/.test(line));
    expect(mine("--filter", "event=start")).toEqual(["container start f1", "container start f2"]);
    expect(mine("--filter", "container=f2", "--filter", "event=died")).toEqual(["container died f2"]);
    expect(mine("--filter", "label=k=v", "--filter", "event=create")).toEqual(["container create f1"]);
    expect(mine("--filter", "type=image").length).toBe(2);
    expect(box.ok(["events", "--since", "1h", "--until", "30m"])).toBe("");
    expect(box.berth(["events", "--stream=false", "--filter", "colour=red"]).code).toBe(125);
  });

  test("the line of podman, and one JSON object a line", () => {
    box.berth(["run", "--name", "one", ...NONE, "-l", "a=b", IMAGE, "sh", "-c", "exit 4"]);
    const id = box.ok(["inspect", "--format", "{{.Id}}", "one"]);
    const died = [
      "events",
      "--since",
      "1m",
      "--stream=false",
      "--filter",
      "container=one",
      "--filter",
      "event=died",
    ];
    expect(box.ok(died)).toMatch(
      new RegExp(
        String.raw`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} \+0000 UTC container died ${id} \(image=localhost/busybox:latest, name=one, containerExitCode=4, a=b\)$`,
      ),
    );
    const object = JSON.parse(box.ok([...died, "--format", "json"])) as Record<string, unknown>;
    expect(object).toMatchObject({ ID: id, Name: "one", Status: "died", Type: "container" });
  });

  test("a stream shows what happens while it is read", async () => {
    const child = box.spawn(["events", "--format", "{{.Status}} {{.Name}}"]);
    const reader = child.stdout.getReader();
    await Bun.sleep(200);
    box.ok(["run", "--rm", "--name", "streamed", ...NONE, IMAGE, "true"]);
    let text = "";
    while (!text.includes("remove streamed")) text += new TextDecoder().decode((await reader.read()).value);
    child.kill("SIGTERM");
    await child.exited;
    expect(text.trim().split("\n")).toEqual([
      "create streamed",
      "start streamed",
      "died streamed",
      "remove streamed",
    ]);
  });
});

describe("logs", () => {
  test("streams apart, times in UTC, tails, names of several", () => {
    const id = box
      .up("l", "echo one; echo two; echo bad >&2; printf 'no newline'; exec sleep 1000")
      .slice(0, 12);
    const other = box.up("m", "echo other; exec sleep 1000").slice(0, 12);
    const whole = { code: 0, stdout: "one\ntwo\nno newline", stderr: "bad\n" };
    for (let tries = 0; tries < 100 && !box.berth(["logs", "l"]).stdout.includes("newline"); tries++);
    expect(box.berth(["logs", "l"])).toEqual(whole);
    expect(box.ok(["logs", "-t", "--tail", "4", "l"]).split("\n")[0]).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one$/,
    );
    expect(box.ok(["logs", "--tail", "0", "l"])).toBe("");
    expect(box.ok(["logs", "--tail", "1", "l"])).toBe("no newline");
    const both = box.berth(["logs", "l", "m"]);
    expect(both.stdout.split("\n").filter(Boolean).sort()).toEqual(
      [`${id} one`, `${id} two`, `${id} no newline`, `${other} other`].sort(),
    );
    expect(both.stderr).toBe(`${id} bad\n`);
    expect(box.ok(["logs", "-n", "m"])).toBe("m other");
    expect(box.berth(["logs", "nosuch"]).code).toBe(125);
    expect(box.berth(["logs", "--tail", "x", "l"]).stderr).toContain('"x"');
  });

  test("-f ends with the container; --since and --until cut by time", async () => {
    box.up("l", "for i in 1 2 3; do echo $i; sleep 0.4; done");
    const followed = box.berth(["logs", "-f", "l"]);
    expect(followed.stdout).toBe("1\n2\n3\n");
    const times = lines(["logs", "-t", "l"]).map((line) => line.split(" ")[0] as string);
    expect(box.ok(["logs", "--since", times[1] as string, "l"])).toBe("2\n3");
    expect(box.ok(["logs", "--until", times[1] as string, "l"])).toMatch(/^1(\n2)?$/);
    expect(box.ok(["logs", "--since", "1h", "--tail", "1", "l"])).toBe("3");
  });

  test("a long line arrives whole; binary output as it is", () => {
    box.ok([
      "run",
      "--name",
      "long",
      ...NONE,
      IMAGE,
      "sh",
      "-c",
      "head -c 100000 /dev/zero | tr '\\0' x; echo",
    ]);
    expect(box.ok(["logs", "long"])).toBe("x".repeat(100_000));
    box.ok(["run", "--name", "bin", ...NONE, IMAGE, "printf", "\\000\\377\\n\\r\\033[0m"]);
    const raw = Bun.spawnSync([...box.argv, "logs", "bin"]).stdout;
    expect([...raw]).toEqual([0, 255, 10, 13, 27, 91, 48, 109]);
  });

  test("--log-opt path writes there, also what logs reads; other options are refused", () => {
    const path = join(box.dir, "own.log");
    box.ok(["run", "--name", "own", "--log-opt", `path=${path}`, ...NONE, IMAGE, "echo", "kept"]);
    expect(readFileSync(path, "utf8")).toContain(" stdout F kept\n");
    expect(box.ok(["logs", "own"])).toBe("kept");
    const refused = box.berth(["run", "--rm", "--log-opt", "colour=red", ...NONE, IMAGE, "true"]);
    expect(refused.stderr).toContain('"colour"');
    expect(refused.code).toBe(125);
  });

  test("--log-driver none keeps nothing and says so; a size limit rotates", () => {
    box.ok(["run", "--name", "mute", "--log-driver", "none", ...NONE, IMAGE, "echo", "x"]);
    const outcome = box.berth(["logs", "mute"]);
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toContain("none");
    const script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
    box.ok(["run", "--name", "cut", "--log-opt", "max-size=10k", ...NONE, IMAGE, "sh", "-c", script]);
    const kept = lines(["logs", "cut"]);
    expect(kept.length).toBeLessThan(1000);
    expect(kept.at(-1)).toBe("line 1999");
  });
});

describe("wait", () => {
  test("prints exit codes in order, of what has ended at once", () => {
    for (const code of [0, 7]) {
      box.berth(["run", "--name", `w${code}`, ...NONE, IMAGE, "sh", "-c", `exit ${code}`]);
    }
    box.up("slow", "sleep 0.5; exit 5");
    expect(box.ok(["wait", "w7", "slow", "w0"])).toBe("7\n5\n0");
    expect(box.berth(["wait", "nosuch"]).code).toBe(125);
  });

  test("--condition waits for a state", async () => {
    box.ok(["create", "--name", "later", ...NONE, IMAGE, "sleep", "1000"]);
    const child = box.spawn(["wait", "--condition", "running", "later"]);
    await Bun.sleep(200);
    expect(child.exitCode).toBeNull();
    box.ok(["start", "later"]);
    expect(await child.exited).toBe(0);
    const removed = box.spawn(["wait", "--condition", "removed", "later"]);
    await Bun.sleep(100);
    box.ok(["rm", "-f", "later"]);
    expect(await removed.exited).toBe(0);
    expect(box.berth(["wait", "--condition", "blue", "later"]).stderr).toContain("blue");
  });
});

test("port lists what is published, one port, nothing", () => {
  const publish = ["-p", "127.0.0.1:28080:80", "-p", "28443:443/udp"];
  box.ok(["run", "-d", "--name", "p", ...publish, IMAGE, "sleep", "1000"]);
  expect(lines(["port", "p"]).sort()).toEqual(["443/udp -> 0.0.0.0:28443", "80/tcp -> 127.0.0.1:28080"]);
  expect(box.ok(["port", "p", "80"])).toBe("127.0.0.1:28080");
  expect(box.ok(["port", "p", "443/udp"])).toBe("0.0.0.0:28443");
  const none = box.berth(["port", "p", "99"]);
  expect(none.code).toBe(125);
  expect(none.stderr).toContain("99");
});
