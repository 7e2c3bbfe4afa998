/** A container's life on every runtime: what docker's and podman's users do all day. The census is clean after each test. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { Box } from "./box.ts";

const RUNTIMES = ["crun", "runc", "runsc"] as const;
const IMAGE = "localhost/busybox";

for (const runtime of RUNTIMES) {
  // gVisor of this age works with no network or the host's alone.
  const net = ["--network", "none"];
  const base = ["--runtime", runtime, ...net];

  describe(`on ${runtime}`, () => {
    let box: Box;
    beforeAll(() => {
      box = new Box(`life-${runtime}`);
      box.importBusybox();
      box.ok(["run", "--rm", ...base, IMAGE, "true"]); // probes and caches are there before the first census
    });
    afterAll(() => box.close());
    beforeEach(() => box.mark());
    afterEach(async () => {
      for (const id of box.ok(["ps", "-aq"]).split("\n").filter(Boolean)) box.ok(["rm", "-f", id]);
      expect(await box.leaks()).toEqual([]);
    });

    test("run --rm passes output, keeps the streams apart and the exit code", () => {
      const outcome = box.berth([
        "run",
        "--rm",
        ...base,
        IMAGE,
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
      ]);
      expect(outcome).toEqual({ code: 7, stdout: "out\n", stderr: "err\n" });
      expect(box.ok(["ps", "-aq"])).toBe("");
    });

    test("a piped stdin reaches the container, and so does its end", () => {
      const outcome = box.berth(["run", "--rm", "-i", ...base, IMAGE, "sh", "-c", "cat; echo after"], {
        stdin: "one\ntwo\n",
      });
      expect(outcome).toEqual({ code: 0, stdout: "one\ntwo\nafter\n", stderr: "" });
    });

    test("without -i the container's stdin is empty", () => {
      expect(box.ok(["run", "--rm", ...base, IMAGE, "cat"], { stdin: "unseen" })).toBe("");
    });

    test("a command that does not exist is 127, one that cannot be executed 126", () => {
      const missing = box.berth(["run", "--rm", ...base, IMAGE, "nosuchcommand"]);
      expect(missing.code).toBe(127);
      expect(missing.stderr).toContain("nosuchcommand");
      const directory = box.berth(["run", "--rm", ...base, IMAGE, "/etc"]);
      expect(directory.code).toBe(126);
      expect(box.ok(["ps", "-aq"])).toBe("");
    });

    test("a foreground run ends with 128 and the signal's number", async () => {
      const child = box.spawn(["run", "--rm", "--name", "victim", ...base, IMAGE, "sleep", "100"]);
      for (let i = 0; i < 100 && box.ok(["ps", "-q"]) === ""; i++) await Bun.sleep(50);
      box.ok(["kill", "victim"]);
      expect(await child.exited).toBe(137);
    });

    test("create, start, exec, logs, stop, start again, rm", () => {
      const id = box.ok([
        "create",
        "--name",
        "one",
        ...base,
        IMAGE,
        "sh",
        "-c",
        "echo started; trap 'exit 3' TERM; while :; do sleep 0.1; done",
      ]);
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(box.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"])).toBe("one created");
      expect(box.ok(["start", "one"])).toBe("one");
      expect(box.ok(["exec", "one", "sh", "-c", "echo $((40+2))"])).toBe("42");
      expect(box.berth(["exec", "one", "sh", "-c", "exit 9"]).code).toBe(9);
      expect(box.berth(["exec", "-i", "one", "cat"], { stdin: "through" }).stdout).toBe("through");
      expect(box.berth(["exec", "one", "nosuchcommand"]).code).toBe(127);
      expect(box.ok(["stop", "-t", "5", "one"])).toBe("one");
      expect(box.ok(["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one"])).toBe(
        "exited 3",
      );
      expect(box.ok(["wait", "one"])).toBe("3");
      box.ok(["start", "one"]);
      box.ok(["kill", "one"]);
      expect(box.ok(["inspect", "--format", "{{.State.ExitCode}}", "one"])).toBe("137");
      expect(box.ok(["logs", "one"]).split("\n")).toEqual(["started", "started"]);
      expect(box.ok(["rm", "one"])).toBe("one");
    });

    test("run -d prints the id; the container cleans up after itself", async () => {
      const id = box.ok(["run", "-d", "--rm", ...base, IMAGE, "sleep", "0.3"]);
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(box.ok(["ps", "-q", "--no-trunc"])).toBe(id);
      for (let i = 0; i < 60 && box.ok(["ps", "-aq"]) !== ""; i++) await Bun.sleep(100);
      expect(box.ok(["ps", "-aq"])).toBe("");
    });

    test("logs keep streams, times and tails, and follow to the end", () => {
      box.ok([
        "run",
        "-d",
        "--name",
        "talk",
        ...base,
        IMAGE,
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; sleep 0.1; done; echo oops >&2",
      ]);
      const followed = box.berth(["logs", "-f", "talk"]);
      expect(followed.stdout).toBe("line 1\nline 2\nline 3\n");
      expect(followed.stderr).toBe("oops\n");
      expect(box.ok(["logs", "--tail", "2", "talk"])).toBe("line 3");
      expect(box.ok(["logs", "-t", "--tail", "2", "talk"])).toMatch(
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S* line 3$/,
      );
      expect(box.ok(["logs", "--since", "1h", "talk"]).split("\n").length).toBe(3);
      expect(box.ok(["logs", "--until", "1h", "talk"])).toBe("");
    });

    test("pause holds a container, unpause lets it go", () => {
      box.ok(["run", "-d", "--name", "hold", ...base, IMAGE, "sleep", "100"]);
      box.ok(["pause", "hold"]);
      expect(box.ok(["ps", "--format", "{{.State}}"])).toBe("paused");
      expect(box.berth(["exec", "hold", "true"]).code).toBe(125);
      box.ok(["unpause", "hold"]);
      expect(box.ok(["exec", "hold", "echo", "again"])).toBe("again");
    });

    test("rm refuses a running container, rm -f does not", () => {
      box.ok(["run", "-d", "--name", "busy", ...base, IMAGE, "sleep", "100"]);
      const refused = box.berth(["rm", "busy"]);
      expect(refused.code).toBe(2);
      expect(refused.stderr).toContain("running");
      expect(box.ok(["rm", "-f", "busy"])).toBe("busy");
      expect(box.berth(["rm", "busy"]).code).toBe(1);
      expect(box.berth(["rm", "-f", "busy"]).code).toBe(0);
    });

    test("-it gives a terminal of the caller's size", async () => {
      const inside = "test -t 0 && test -t 1 && echo a terminal; stty size";
      const words = [...box.argv, "run", "--rm", "-it", ...base, IMAGE, "sh", "-c", `'${inside}'`];
      const script = words.join(" ");
      const outcome = Bun.spawnSync(["script", "-qec", `stty rows 33 cols 101; ${script}`, "/dev/null"], {
        stdin: "ignore",
      });
      const text = outcome.stdout.toString();
      expect(text).toContain("a terminal");
      expect(text).toContain("33 101");
      expect(outcome.exitCode).toBe(0);
    });
  });
}
