/** run -it, exec -it, attach, start -a: terminals, pipes, detach keys, signals; on crun and runc. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Box } from "./box.ts";
import { Terminal } from "./terminal.ts";

const IMAGE = "localhost/busybox";
const CTRL_P_Q = "\x10\x11";

for (const runtime of ["crun", "runc"]) {
  describe(`on ${runtime}`, () => {
    let box: Box;
    const base = ["--runtime", runtime, "--network", "none"];
    beforeAll(() => {
      box = new Box(`terminal-${runtime}`);
      box.importBusybox();
      box.ok(["run", "--rm", ...base, IMAGE, "true"]);
      box.mark();
    });
    afterEach(async () => {
      box.clear();
      expect(await box.leaks()).toEqual([]);
    });
    afterAll(() => box.close());
    const on = (...args: string[]): Terminal => new Terminal([...box.argv, ...args]);
    const state = (name: string): string => box.ok(["inspect", "--format", "{{.State.Status}}", name]);

    test("run -it is a session: prompt, echo, size and its changes, exit code", async () => {
      const terminal = on("run", "--rm", "-it", ...base, IMAGE);
      await terminal.sees("/ # ");
      terminal.type("test -t 0 && test -t 2 && echo is-$((1+1))-tty; stty size; echo $TERM\r");
      await terminal.sees("is-2-tty\r\n24 80\r\nxterm\r\n");
      terminal.resize(123, 45);
      await Bun.sleep(200);
      terminal.type("stty size\r");
      await terminal.sees("45 123\r\n");
      terminal.type("exit 7\r");
      expect(await terminal.ends()).toBe(7);
    });

    test("Ctrl-C reaches the command inside and does not end the session", async () => {
      const terminal = on("run", "--rm", "-it", ...base, IMAGE);
      await terminal.sees("/ # ");
      terminal.type("sleep 1000\r");
      await Bun.sleep(200);
      terminal.type("\x03");
      await terminal.sees("/ # ");
      terminal.type("echo code $?\r");
      await terminal.sees("code 130");
      terminal.type("\x04");
      expect(await terminal.ends()).toBe(0);
    });

    test("Ctrl-P Ctrl-Q leaves it running, attach comes back, and its own keys can be chosen", async () => {
      const first = on("run", "-it", "--name", "stays", ...base, IMAGE);
      await first.sees("/ # ");
      first.type("X=kept\r");
      await first.sees("/ # ");
      first.type(CTRL_P_Q);
      expect(await first.ends()).toBe(0);
      expect(state("stays")).toBe("running");
      const second = on("attach", "--detach-keys", "ctrl-x,d", "stays");
      await Bun.sleep(200);
      second.type("echo $X\r");
      await second.sees("kept\r\n");
      second.type(`${CTRL_P_Q}\x18d`);
      expect(await second.ends()).toBe(0);
      expect(state("stays")).toBe("running");
      const third = on("attach", "stays");
      await Bun.sleep(200);
      third.type("\rexit 4\r");
      expect(await third.ends()).toBe(4);
      expect(state("stays")).toBe("exited");
    });

    test("with --rm, too, one can leave and come back", async () => {
      const first = on("run", "-it", "--rm", "--name", "goes", ...base, IMAGE);
      await first.sees("/ # ");
      first.type(CTRL_P_Q);
      expect(await first.ends()).toBe(0);
      const second = on("attach", "goes");
      await Bun.sleep(200);
      second.type("\rexit 5\r");
      expect(await second.ends()).toBe(5);
      await box.until("it is gone", () => box.ok(["ps", "-aq"]) === "");
    });

    test("start -ai and exec -it have terminals too; an exec leaves the container alone", async () => {
      box.ok(["create", "-it", "--name", "tty", ...base, IMAGE]);
      const main = on("start", "-ai", "tty");
      await main.sees("/ # ");
      const side = on("exec", "-it", "tty", "sh");
      await side.sees("/ # ");
      side.type("tty; stty size\r");
      await side.sees(/\/dev\/pts\/1\r\n24 80\r\n/);
      side.type("exit 9\r");
      expect(await side.ends()).toBe(9);
      const left = on("exec", "-it", "--detach-keys", "ctrl-a", "tty", "sh");
      await left.sees("/ # ");
      left.type("\x01");
      expect(await left.ends()).toBe(0);
      main.type("echo still here\r");
      await main.sees("still here");
      main.type("exit\r");
      expect(await main.ends()).toBe(0);
    });

    test("the terminal is as it was afterwards", async () => {
      const inner = `${box.argv.join(" ")} run --rm -it ${base.join(" ")} ${IMAGE} true`;
      const terminal = new Terminal(["sh", "-c", `stty -g; ${inner}; stty -g`]);
      expect(await terminal.ends()).toBe(0);
      const [before, after] = terminal.text.split("\r\n");
      expect(after).toBe(before as string);
    });

    test("-t without -i shows output in raw lines; -i without -t is a plain pipe", () => {
      const shown = box.berth(["run", "--rm", "-t", ...base, IMAGE, "sh", "-c", "echo a; echo b >&2"]);
      expect(shown).toEqual({ code: 0, stdout: "a\r\nb\r\n", stderr: "" });
      const piped = box.berth(
        ["run", "--rm", "-i", ...base, IMAGE, "sh", "-c", "wc -c; test -t 0 || echo no tty"],
        {
          stdin: "x".repeat(300_000),
        },
      );
      expect(piped.stdout).toBe("300000\nno tty\n");
    });

    test("the end of a pipe is the end of input for run, start -ai and exec, with and without --rm", () => {
      const run = ["run", "-i", "--name", "keeps", ...base, IMAGE, "cat"];
      expect(box.berth(run, { stdin: "one\n" })).toEqual({ code: 0, stdout: "one\n", stderr: "" });
      expect(box.berth(["start", "-ai", "keeps"], { stdin: "two\n" }).stdout).toBe("two\n");
      box.ok(["create", "-i", "--name", "made", ...base, IMAGE, "sh", "-c", "cat; echo end"]);
      expect(box.berth(["start", "-a", "-i", "made"], { stdin: "three\n" }).stdout).toBe("three\nend\n");
      box.up("host", "exec sleep 1000", ["--runtime", runtime]);
      expect(box.berth(["exec", "-i", "host", "wc", "-c"], { stdin: "four" }).stdout).toBe("4\n");
      // In the background stdin stays open until somebody has written to it.
      box.ok(["run", "-d", "-i", "--name", "waits", ...base, IMAGE, "sh", "-c", "read a; echo got $a"]);
      expect(state("waits")).toBe("running");
      expect(box.berth(["attach", "waits"], { stdin: "five\n" }).stdout).toBe("got five\n");
    });

    test("attach to one without a terminal: output from now on, its exit code; --no-stdin; not to one that is down", async () => {
      box.ok([
        "create",
        "-i",
        "--name",
        "pipe",
        ...base,
        IMAGE,
        "sh",
        "-c",
        "read a; echo got $a; echo e >&2; exit 6",
      ]);
      box.ok(["start", "pipe"]);
      const outcome = box.berth(["attach", "pipe"], { stdin: "word\n" });
      expect(outcome).toEqual({ code: 6, stdout: "got word\n", stderr: "e\n" });
      const refused = box.berth(["attach", "pipe"]);
      expect(refused.code).toBe(125);
      expect(refused.stderr).toContain("not running");
      box.up("quiet", "while :; do sleep 0.1; echo tick; done", ["--runtime", runtime]);
      const watching = box.spawn(["attach", "--no-stdin", "--sig-proxy=false", "quiet"]);
      const { value } = await watching.stdout.getReader().read();
      expect(Buffer.from(value ?? []).toString()).toContain("tick");
      watching.kill("SIGTERM");
      await watching.exited;
      expect(state("quiet")).toBe("running");
    });

    test("signals to a foreground run go to the container, with --sig-proxy=false they do not", async () => {
      const script =
        "trap 'echo caught; exit 3' TERM; trap 'echo usr' USR1; echo up; while :; do sleep 0.05; done";
      const child = box.spawn(["run", "--rm", "--name", "sig", ...base, IMAGE, "sh", "-c", script]);
      const output = new Response(child.stdout).text();
      await box.until("it is up", () => box.berth(["logs", "sig"]).stdout.includes("up"));
      child.kill("SIGUSR1");
      await box.until("it was told", () => box.ok(["logs", "sig"]).includes("usr"));
      child.kill("SIGTERM");
      expect(await child.exited).toBe(3);
      expect(await output).toBe("up\nusr\ncaught\n");
      const other = box.spawn([
        "run",
        "--sig-proxy=false",
        "--name",
        "alone",
        ...base,
        IMAGE,
        "sleep",
        "1000",
      ]);
      await box.until("it runs", () => box.ok(["ps", "-q", "--filter", "name=alone"]) !== "");
      other.kill("SIGTERM");
      await other.exited;
      expect(state("alone")).toBe("running");
    });

    test("-a chooses streams", () => {
      const words = ["run", "--rm", "-a", "stdout", ...base, IMAGE, "sh", "-c", "echo out; echo err >&2"];
      expect(box.berth(words)).toEqual({ code: 0, stdout: "out\n", stderr: "" });
    });

    test("a reader that goes away ends a run like any filter", async () => {
      const line = `${box.argv.join(" ")} run --rm ${base.join(" ")} ${IMAGE} sh -c 'yes | head -c 10000000' | head -c 5`;
      const child = Bun.spawn(["sh", "-c", line], { stdout: "pipe", stderr: "pipe" });
      expect(await new Response(child.stdout).text()).toBe("y\ny\ny");
      expect(await child.exited).toBe(0);
      await box.until("it is gone", () => box.ok(["ps", "-aq"]) === "");
    });
  });
}
