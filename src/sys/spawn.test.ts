import { describe, expect, test } from "bun:test";
import { readdirSync, realpathSync, writeFileSync } from "node:fs";
import { createCtx } from "../core/ctx.ts";
import { EngineError } from "../core/error.ts";
import { createLog } from "../core/log.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { linux } from "./linux.ts";
import { run, runChecked, spawn, which } from "./spawn.ts";

const ctx = createCtx();

function caught(body: () => unknown): EngineError {
  try {
    body();
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("it did not throw");
}

describe("run", () => {
  test("stdin, both outputs and the status", () => {
    const result = run(ctx, ["sh", "-c", "cat; echo oops >&2; exit 3"], { stdin: "hällo" });
    expect(result).toMatchObject({ exitCode: 3, stdout: "hällo", stderr: "oops\n" });
    expect(result.signal).toBeUndefined();
    expect(Buffer.from(result.stdoutBytes).toString()).toBe("hällo");
  });

  test("no stdin unless given; bytes are bytes", () => {
    expect(run(ctx, ["cat"]).stdout).toBe("");
    const bytes = Uint8Array.of(0, 255, 128, 10);
    expect(new Uint8Array(run(ctx, ["cat"], { stdin: bytes }).stdoutBytes)).toEqual(bytes);
  });

  test("a signal is a status over 128 and a name", () => {
    expect(run(ctx, ["sh", "-c", "kill -9 $$"])).toMatchObject({ exitCode: 137, signal: "SIGKILL" });
  });

  test("environment and directory are those given", () => {
    using tmp = tempDir("sys-spawn");
    const result = run(ctx, ["sh", "-c", 'pwd; echo "$A|$HOME"'], { env: { A: "b c" }, cwd: tmp.path });
    expect(result.stdout).toBe(`${realpathSync(tmp.path)}\nb c|\n`);
  });

  test("a grandchild that keeps the output open is not waited for", () => {
    const start = performance.now();
    expect(run(ctx, ["sh", "-c", "sleep 2 & echo $!"]).stdout).toMatch(/^\d+\n$/);
    expect(performance.now() - start).toBeLessThan(1500);
  });

  test("the program gets 0, 1, 2, what it was given, and nothing else", () => {
    const extra = linux.memfd("extra");
    linux.write(extra, Buffer.from("third"), 0);
    const result = run(ctx, ["sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"], { fds: [extra] });
    // ls itself opens the directory: 0 1 2 3 and that.
    expect(result.stdout).toBe("third5\n");
    expect(linux.stat(extra, "", 0).size).toBe(5);
    linux.close(extra);
  });

  test("time-out and too much output are errors, and nothing stays open", () => {
    const before = readdirSync("/proc/self/fd").length;
    expect(caught(() => run(ctx, ["sleep", "5"], { timeoutMs: 30 })).kind).toBe("deadline-exceeded");
    const loud = caught(() => run(ctx, ["head", "-c", "5000", "/dev/zero"], { maxOutput: 4999 }));
    expect(loud.kind).toBe("resource-exhausted");
    expect(run(ctx, ["head", "-c", "5000", "/dev/zero"], { maxOutput: 5000 }).stdoutBytes.length).toBe(5000);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });

  test("a missing program is named with its package, a missing directory is not taken for it", () => {
    const error = caught(() => run(ctx, ["berth-no-such-program"]));
    expect(error).toMatchObject({ kind: "not-found", reason: "program-not-found" });
    expect(error.hint).toBe("install it: apt-get install berth-no-such-program");
    expect(caught(() => run(ctx, ["/opt/absent/nft"])).hint).toBe("install it: apt-get install nftables");
    expect(caught(() => run(ctx, ["true"], { cwd: "/absent" })).message).toBe(
      'directory "/absent" not found',
    );
    expect(caught(() => run(ctx, ["/etc/hostname"])).reason).toBe("not-executable");
  });

  test("runChecked throws with the program's words", () => {
    const error = caught(() => runChecked(ctx, ["sh", "-c", "echo no luck >&2; exit 4"]));
    expect(error.message).toContain("failed with status 4: no luck");
    expect(error.data["exitCode"]).toBe(4);
    expect(runChecked(ctx, ["true"]).exitCode).toBe(0);
  });

  test("--trace prints the words as a shell would need them", () => {
    const lines: string[] = [];
    const log = createLog({ trace: true, write: (line) => lines.push(line) });
    run(createCtx({ log }), ["true", "a b", "it's", "--x=1", ""]);
    expect(lines.join("")).toContain(`spawn: true 'a b' 'it'\\''s' --x=1 ''\n`);
  });
});

describe("spawn", () => {
  test("pipes, extra descriptors by number, and the status", async () => {
    const pipe = linux.pipe();
    const child = spawn(ctx, ["sh", "-c", "cat; echo side >&4; exit 2"], {
      stdio: ["pipe", "pipe", "ignore", "ignore", pipe.write],
    });
    void child.stdin?.write("in");
    await child.stdin?.end();
    expect(await new Response(child.stdout).text()).toBe("in");
    expect(await child.exited).toEqual({ exitCode: 2 });
    linux.close(pipe.write);
    const into = new Uint8Array(16);
    expect(Buffer.from(into.subarray(0, linux.read(pipe.read, into))).toString()).toBe("side\n");
    expect(linux.read(pipe.read, into)).toBe(0);
    linux.close(pipe.read);
    expect(child.stderr).toBeUndefined();
  });

  test("is killed when its signal aborts, or by number", async () => {
    const abort = new AbortController();
    const child = spawn(ctx, ["sleep", "60"], { signal: abort.signal });
    abort.abort();
    expect(await child.exited).toEqual({ exitCode: 137, signal: "SIGKILL" });
    const other = spawn(ctx, ["sleep", "60"]);
    other.kill(15);
    expect(await other.exited).toEqual({ exitCode: 143, signal: "SIGTERM" });
  });

  test("detached runs in a session of its own", async () => {
    const child = spawn(ctx, ["cut", "-d ", "-f1,6", "/proc/self/stat"], {
      stdio: ["ignore", "pipe"],
      detached: true,
    });
    const [pid, session] = (await new Response(child.stdout).text()).trim().split(" ");
    expect(session).toBe(pid as string);
  });

  test("a missing program is an error at once", () => {
    expect(caught(() => spawn(ctx, ["berth-no-such-program"])).kind).toBe("not-found");
  });
});

test("which looks into the system directories too, whatever PATH says", () => {
  using tmp = tempDir("sys-which");
  writeFileSync(`${tmp.path}/mine`, "#!/bin/sh\n", { mode: 0o755 });
  const path = process.env["PATH"];
  const cwd = process.cwd();
  process.env["PATH"] = tmp.path;
  try {
    expect(which("mine")).toBe(`${tmp.path}/mine`);
    expect(which("ldconfig")).toMatch(/sbin\/ldconfig$/);
    expect(which("absent-program")).toBeUndefined();
    process.chdir(tmp.path);
    for (const unsafe of ["", ".", ":/bin", "bin/..:"]) {
      process.env["PATH"] = unsafe;
      expect([unsafe, which("mine")]).toEqual([unsafe, undefined]);
    }
  } finally {
    process.env["PATH"] = path;
    process.chdir(cwd);
  }
});
