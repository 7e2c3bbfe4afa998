/** The contract of {@link OciRuntime}, to be kept by every low-level runtime. Needs root, conmon and busybox-static. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { createCtx } from "../../src/core/ctx.ts";
import { kindOf } from "../../src/core/error.ts";
import { attachStream } from "../../src/runtime/attach-stream.ts";
import { LOST_STATUS } from "../../src/runtime/exit.ts";
import type { OciRuntime } from "../../src/runtime/runtime.ts";
import { SIGKILL, SIGTERM } from "../../src/sys/const.ts";
import { linux } from "../../src/sys/linux.ts";
import { type Created, once, openFds, RuntimeBox, until } from "./runtime-box.ts";

export interface SuiteTraits {
  /** Finds a command that cannot be executed at `create`; otherwise at `start`. */
  failsAt: "create" | "start";
  /** Host processes are the container's: `ps`, `update` and death by a signal to its pid work. */
  hostProcesses: boolean;
}

async function kindOfFailure(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === "function" ? work() : work);
    return "no error";
  } catch (error) {
    return kindOf(error);
  }
}

export function runtimeSuite(
  name: string,
  makeRuntime: (runDir: string) => OciRuntime,
  traits: SuiteTraits,
): void {
  describe(`runtime ${name}`, () => {
    let box: RuntimeBox;
    let runtime: OciRuntime;

    beforeAll(() => {
      box = new RuntimeBox(name);
      runtime = makeRuntime(box.runDir);
      box.runtime = runtime;
    });
    // Deletion is left to the end: where pid 1 is slow to reap orphans, runsc waits seconds for each.
    afterEach(() => box.quiet());
    afterAll(async () => {
      using _box = box;
      expect(await box.clean()).toEqual([]);
    });

    async function collect(
      created: Created,
      input?: AsyncIterable<Uint8Array>,
    ): Promise<() => Promise<string>> {
      const parts: string[] = [];
      const attached = attachStream(box.ctx, {
        socket: `${created.request.bundle}/attach`,
        onOutput: (stream, bytes) => void parts.push(`${stream}: ${Buffer.from(bytes).toString()}`),
        exit: box.exitFacts(created),
        ...(input !== undefined && { input }),
      });
      return async () => {
        await attached;
        return parts.join("");
      };
    }

    test("a container goes through created, running and stopped, and its status is kept", async () => {
      const created = await box.create(["sh", "-c", "echo out; echo err >&2; exit 5"]);
      expect(created.pid).toBeGreaterThan(1);
      expect(linux.startTime(created.monitorPid)).toBeDefined();
      expect(runtime.state(box.ctx, created.id)?.status).toBe("created");
      runtime.start(box.ctx, created.id);
      const exit = await box.wait(created);
      expect(exit.exitCode).toBe(5);
      expect(exit.reason).toBeUndefined();
      expect(Math.abs(Date.parse(exit.finishedAt) - Date.now())).toBeLessThan(60_000);
      await until("stopped", () => runtime.state(box.ctx, created.id)?.status === "stopped");
      const log = box.log(created).split("\n").toSorted();
      expect(log).toEqual(["", "stderr: err", "stdout: out"]);
      expect(readFileSync(`${created.request.persistDir}/exit`, "utf8")).toBe("5");
      runtime.delete(box.ctx, created.id);
      expect(runtime.state(box.ctx, created.id)).toBeUndefined();
      runtime.delete(box.ctx, created.id);
    });

    test("a signal ends it with 128 and the signal's number", async () => {
      const created = await box.start([
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done",
      ]);
      await until("its trap", () => box.log(created).includes("ready"));
      runtime.kill(box.ctx, created.id, SIGTERM);
      expect((await box.wait(created)).exitCode).toBe(3);
      const other = await box.start(["sleep", "100"]);
      runtime.kill(box.ctx, other.id, SIGKILL);
      expect((await box.wait(other)).exitCode).toBe(137);
      expect(await kindOfFailure(() => runtime.kill(box.ctx, other.id, SIGTERM))).toBe("conflict");
    });

    test("starting twice and deleting a running one are conflicts", async () => {
      const created = await box.start(["sleep", "100"]);
      expect(await kindOfFailure(() => runtime.start(box.ctx, created.id))).toBe("conflict");
      expect(await kindOfFailure(() => runtime.delete(box.ctx, created.id))).toBe("conflict");
      expect(runtime.state(box.ctx, created.id)?.status).toBe("running");
      runtime.delete(box.ctx, created.id, { force: true });
      expect(runtime.state(box.ctx, created.id)).toBeUndefined();
      runtime.delete(box.ctx, created.id, { force: true });
    });

    test("an id that is taken is refused and its owner left alone", async () => {
      const created = await box.start(["sleep", "100"]);
      const again = box.request(["true"]);
      expect(await kindOfFailure(runtime.create(box.ctx, { ...again, id: created.id }))).toBe(
        "already-exists",
      );
      expect(runtime.state(box.ctx, created.id)?.status).toBe("running");
      expect((await box.exec(created, ["true"])).status).toBe(0);
    });

    test.each([
      ["a command that is not there", ["/bin/nosuch"], "command-not-found"],
      ["a command not in PATH", ["nosuch"], "command-not-found"],
      ["a file that is not executable", ["/etc/plain"], "command-not-executable"],
      ["a directory", ["/etc"], "command-not-executable"],
    ])("%s is named and leaves nothing", async (_what, command, kind) => {
      const request = box.request(command);
      const up = async (): Promise<void> => {
        await runtime.create(box.ctx, request);
        if (traits.failsAt === "start") runtime.start(box.ctx, request.id);
      };
      expect(await kindOfFailure(up())).toBe(kind);
      // Nothing is left of a failed create; a created container that cannot start is its owner's to delete.
      if (traits.failsAt === "create") expect(runtime.state(box.ctx, request.id)).toBeUndefined();
      box.adopt(request);
    });

    test("a create that is given up leaves nothing", async () => {
      const request = box.request(["sleep", "100"]);
      const ctx = createCtx({ signal: AbortSignal.timeout(8) });
      expect(await kindOfFailure(runtime.create(ctx, request))).toBe("canceled");
      expect(runtime.state(box.ctx, request.id)).toBeUndefined();
      box.adopt(request);
    });

    test("output without newlines is kept to the byte", async () => {
      const { log } = await box.run(["sh", "-c", "printf '%020000d' 7; printf x >&2"]);
      const stdout = [...log.matchAll(/stdout: (\d+)/g)].map((match) => match[1]).join("");
      expect(stdout).toBe("7".padStart(20_000, "0"));
      expect(log).toContain("stderr: x");
    });

    test("a bundle without a config, an unknown container", async () => {
      const request = box.request(["true"]);
      const bundle = `${request.bundle}/persist`;
      expect(await kindOfFailure(runtime.create(box.ctx, { ...request, bundle }))).not.toBe("no error");
      expect(await kindOfFailure(() => runtime.start(box.ctx, "nosuch"))).toBe("not-found");
      expect(await kindOfFailure(() => runtime.kill(box.ctx, "nosuch", SIGTERM))).toBe("not-found");
      expect(await kindOfFailure(() => runtime.pause(box.ctx, "nosuch"))).toBe("not-found");
      expect(runtime.state(box.ctx, "nosuch")).toBeUndefined();
      runtime.delete(box.ctx, "nosuch");
    });

    test("whoever attaches before the start sees everything, from stdin to its end", async () => {
      const created = await box.create(["sh", "-c", "cat; echo done >&2"], { stdin: true });
      const input = Buffer.from(`${"x".repeat(20_000)}\n`);
      const output = await collect(created, once(input));
      runtime.start(box.ctx, created.id);
      expect((await box.wait(created)).exitCode).toBe(0);
      const text = await output();
      expect(text).toContain("stderr: done\n");
      // The order between the two streams is the monitor's choice.
      expect(text.replace("stderr: done\n", "").replaceAll("stdout: ", "")).toBe(input.toString());
    });

    test("a terminal: one stream, the size it is given, and output as the terminal makes it", async () => {
      const created = await box.create(["sh", "-c", "read line; stty size; echo $line"], {
        terminal: true,
        stdin: true,
      });
      const { writeWindowSize } = await import("../../src/runtime/attach.ts");
      writeWindowSize(`${created.request.bundle}/ctl`, { rows: 33, columns: 111 });
      const output = await collect(created, once(Buffer.from("typed\n")));
      runtime.start(box.ctx, created.id);
      expect((await box.wait(created)).exitCode).toBe(0);
      expect((await output()).replaceAll("stdout: ", "")).toBe("typed\r\n33 111\r\ntyped\r\n");
    });

    test("exec: status, both streams, input and its end", async () => {
      const created = await box.start(["sleep", "100"]);
      const failed = await box.exec(created, ["sh", "-c", "echo out; exit 7"]);
      expect(failed).toEqual({ status: 7, output: "stdout: out\n" });
      const copied = await box.exec(created, ["cat"], { input: "through\n" });
      expect(copied).toEqual({ status: 0, output: "stdout: through\n" });
      const loud = await box.exec(created, ["sh", "-c", "echo err >&2"]);
      expect(loud.output).toBe("stderr: err\n");
    });

    test("exec with a terminal", async () => {
      const created = await box.start(["sleep", "100"]);
      const { status, output } = await box.exec(created, ["sh", "-c", "test -t 0 && test -t 1 && echo tty"], {
        terminal: true,
      });
      expect(output.replaceAll("stdout: ", "")).toBe("tty\r\n");
      expect(status).toBe(0);
    });

    test.each([
      ["not there", ["nosuch"], "command-not-found"],
      ["not there either", ["/bin/nosuch"], "command-not-found"],
      ["not executable", ["/etc/plain"], "command-not-executable"],
      ["a directory", ["/etc"], "command-not-executable"],
    ])("exec of a command that is %s", async (_what, command, kind) => {
      const created = await box.start(["sleep", "100"]);
      expect(await kindOfFailure(box.exec(created, command))).toBe(kind);
      expect(runtime.state(box.ctx, created.id)?.status).toBe("running");
    });

    test("exec in a container that has ended is a conflict", async () => {
      const created = await box.start(["true"]);
      await box.wait(created);
      await until("stopped", () => runtime.state(box.ctx, created.id)?.status === "stopped");
      expect(await kindOfFailure(box.exec(created, ["true"]))).toBe("conflict");
    });

    test("pause and resume, and each only when it makes sense", async () => {
      const created = await box.create(["sleep", "100"]);
      expect(await kindOfFailure(() => runtime.pause(box.ctx, created.id))).toBe("conflict");
      runtime.start(box.ctx, created.id);
      expect(await kindOfFailure(() => runtime.resume(box.ctx, created.id))).toBe("conflict");
      runtime.pause(box.ctx, created.id);
      expect(runtime.state(box.ctx, created.id)?.status).toBe("paused");
      expect(await kindOfFailure(() => runtime.pause(box.ctx, created.id))).toBe("conflict");
      runtime.resume(box.ctx, created.id);
      expect(runtime.state(box.ctx, created.id)?.status).toBe("running");
      expect((await box.exec(created, ["true"])).status).toBe(0);
    });

    test("a paused container can be deleted by force", async () => {
      const created = await box.start(["sleep", "100"]);
      runtime.pause(box.ctx, created.id);
      runtime.delete(box.ctx, created.id, { force: true });
      expect(runtime.state(box.ctx, created.id)).toBeUndefined();
    });

    test("with its monitor killed a container can still be asked, killed and deleted", async () => {
      const created = await box.start(["sleep", "100"]);
      linux.kill(created.monitorPid, SIGKILL);
      await until("the monitor's end", () => linux.startTime(created.monitorPid) === undefined);
      expect(runtime.state(box.ctx, created.id)?.status).toBe("running");
      const waiting = box.wait(created);
      runtime.delete(box.ctx, created.id, { force: true });
      expect(await waiting).toMatchObject({ exitCode: LOST_STATUS, reason: "monitor-lost" });
      expect(runtime.state(box.ctx, created.id)).toBeUndefined();
    });

    test("the monitor's exit command runs after the exit file is there", async () => {
      const proof = `${box.directory}/proof-${name}`;
      const created = await box.start(["sh", "-c", "exit 4"], {
        exitCommand: ["/bin/sh", "-c", `cat ${box.exits}/* > ${proof}.tmp; mv ${proof}.tmp ${proof}`],
      });
      await box.wait(created);
      await until("the exit command", () => existsSync(proof));
      expect(readFileSync(proof, "latin1")).toContain("4");
    });

    test("a command sees no descriptors but its own three, and none stays open here", async () => {
      const before = openFds().length;
      const script = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done";
      const { log } = await box.run(["sh", "-c", script]);
      const numbers = [...log.matchAll(/stdout: (\d+)/g)].map((match) => Number(match[1]));
      // The shell's own glob holds the directory open as one more.
      expect(numbers.filter((fd) => fd > 3)).toEqual([]);
      const created = await box.start(["sleep", "100"]);
      const inherited = [...(await descriptorsOf(created.monitorPid))].filter((link) =>
        /memfd:|berth-runtime-.*rootfs/.test(link),
      );
      expect(inherited).toEqual([]);
      for (let i = 0; i < 3; i++) await box.exec(created, ["true"]);
      await Bun.sleep(50);
      expect(openFds().length).toBeLessThanOrEqual(before + 1);
    });

    if (!traits.hostProcesses) return;

    test("ps lists host pids, and limits can be changed", async () => {
      const created = await box.start(["sh", "-c", "sleep 100 & sleep 100"]);
      await until("both", () => runtime.ps(box.ctx, created.id).length >= 2);
      expect(runtime.ps(box.ctx, created.id).map((p) => p.pid)).toContain(created.pid);
      runtime.update(box.ctx, created.id, { pids: { limit: 7 } });
      const limits = [
        `/sys/fs/cgroup/pids${box.cgroup(created.id)}/pids.max`,
        `/sys/fs/cgroup${box.cgroup(created.id)}/pids.max`,
      ];
      const found = limits.find((path) => existsSync(path)) as string;
      expect(readFileSync(found, "utf8").trim()).toBe("7");
    });

    async function descriptorsOf(pid: number): Promise<string[]> {
      const { readdirSync, readlinkSync } = await import("node:fs");
      return readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    }
  });
}
