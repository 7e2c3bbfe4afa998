import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { type Created, once, openFds, RuntimeBox, until } from "../../test/suite/runtime-box.ts";
import { createCtx } from "../core/ctx.ts";
import { kindOf } from "../core/error.ts";
import { linux } from "../sys/linux.ts";
import { which } from "../sys/spawn.ts";
import { attachStream } from "./attach-stream.ts";
import { type AttachIo, openAttach } from "./attach.ts";
import { discoverRuntime, findMonitor } from "./discover.ts";
import { createRuntime } from "./oci.ts";

const CLIENT = `${import.meta.dir}/../../test/suite/runtime-attach-client.ts`;
const plain: AttachIo = {
  stdin: true,
  stdout: true,
  stderr: true,
  terminal: false,
  detachKeys: "ctrl-p,ctrl-q",
  sigProxy: false,
};
const lacking = ["conmon", "busybox", "crun"].filter((program) => which(program) === undefined);
const able = process.getuid?.() === 0 && lacking.length === 0;
if (!able) console.warn(`skip: attach tests: need root, conmon, busybox-static, crun (lacking ${lacking})`);

describe.skipIf(!able)("attach", () => {
  let box: RuntimeBox;
  let serial = 0;

  beforeAll(() => {
    box = new RuntimeBox("attach");
    const info = discoverRuntime(createCtx(), { name: "", runDir: box.runDir });
    box.runtime = createRuntime({ runDir: box.runDir, conmon: findMonitor() }, info);
  });
  afterEach(() => box.quiet());
  afterAll(async () => {
    using _box = box;
    expect(await box.clean()).toEqual([]);
  });

  /** argv of a client that attaches to this container, and the file that says that it has. */
  function client(created: Created, io: AttachIo): { cmd: string[]; ready: string; signals: string } {
    const ready = `${box.directory}/ready-${serial++}`;
    const signals = `${ready}.signals`;
    const { bundle } = created.request;
    const request = {
      socket: `${bundle}/attach`,
      controlFifo: `${bundle}/ctl`,
      io,
      exit: box.exitFacts(created),
      ready,
      signals,
    };
    return { cmd: [process.execPath, CLIENT, JSON.stringify(request)], ready, signals };
  }

  async function startWith(created: Created, ready: string): Promise<void> {
    await until("the client", () => existsSync(ready));
    box.runtime?.start(box.ctx, created.id);
  }

  /** Attaches with pipes before the start, feeds `input`, and gives back everything. */
  async function converse(
    command: string[],
    input: Uint8Array | "inherit",
  ): Promise<{ status: number; stdout: Buffer; stderr: string }> {
    const created = await box.create(command, { stdin: true });
    const { cmd, ready } = client(created, plain);
    const child = Bun.spawn(cmd, { stdin: input, stdout: "pipe", stderr: "pipe" });
    await startWith(created, ready);
    const [stdout, stderr] = await Promise.all([child.stdout.bytes(), child.stderr.text()]);
    return { status: await child.exited, stdout: Buffer.from(stdout), stderr };
  }

  test("stdin and its end reach the command; every byte comes back on its own stream", async () => {
    const input = Buffer.alloc(3 * 1024 * 1024 + 17);
    for (let i = 0; i < input.length; i++) input[i] = (i * 7 + (i >> 8)) & 255;
    const { status, stdout, stderr } = await converse(["sh", "-c", "cat; echo over >&2"], input);
    expect(status).toBe(0);
    expect(stdout.length).toBe(input.length);
    expect(stdout.equals(input)).toBe(true);
    expect(stderr).toBe("over\n");
  });

  test("a container that does not read its input does not keep the client", async () => {
    const { status, stdout } = await converse(["sh", "-c", "echo bye"], Buffer.alloc(1024 * 1024));
    expect([status, stdout.toString()]).toEqual([0, "bye\n"]);
  });

  test("a reader of ours that is slow gets everything", async () => {
    const created = await box.create(["seq", "1", "60000"]);
    const { cmd, ready } = client(created, { ...plain, stdin: false });
    const child = Bun.spawn(["sh", "-c", '"$@" | (sleep 0.3; md5sum)', "sh", ...cmd], { stdout: "pipe" });
    await startWith(created, ready);
    const expected = Array.from({ length: 60000 }, (_, i) => `${i + 1}\n`).join("");
    expect(await child.stdout.text()).toStartWith(new Bun.CryptoHasher("md5").update(expected).digest("hex"));
    // The shared open file of whoever started us is left as it was.
    expect(await child.exited).toBe(0);
  });

  test("a regular file is written where its offset is", async () => {
    const file = `${box.directory}/out.txt`;
    writeFileSync(file, "");
    const fd = openSync(file, "a");
    try {
      linux.write(fd, Buffer.from("before\n"));
      const created = await box.create(["echo", "after"]);
      const { cmd, ready } = client(created, { ...plain, stdin: false });
      const child = Bun.spawn(cmd, { stdio: ["ignore", fd, "inherit"] });
      await startWith(created, ready);
      expect(await child.exited).toBe(0);
    } finally {
      closeSync(fd);
    }
    expect(readFileSync(file, "utf8")).toBe("before\nafter\n");
  });

  test("a reader of ours that goes away ends the client quietly, and the container lives on", async () => {
    const created = await box.create(["sh", "-c", "yes | head -c 2000000; sleep 100"]);
    const { cmd, ready } = client(created, { ...plain, stdin: false });
    const status = `${box.directory}/status`;
    const script = `("$@"; echo $? >${status}) | head -1`;
    const child = Bun.spawn(["sh", "-c", script, "sh", ...cmd], { stdout: "pipe", stderr: "pipe" });
    await startWith(created, ready);
    expect(await child.stdout.text()).toBe("y\n");
    expect(await child.stderr.text()).toBe("");
    await until("the client's status", () => existsSync(status) && readFileSync(status, "utf8") !== "");
    expect(readFileSync(status, "utf8").trim()).toBe("9");
    expect(box.runtime?.state(box.ctx, created.id)?.status).toBe("running");
  });

  test("signals are passed on, in order", async () => {
    const created = await box.create(["sleep", "100"]);
    const { cmd, ready, signals } = client(created, { ...plain, stdin: false, sigProxy: true });
    const child = Bun.spawn(cmd, { stdio: ["ignore", "ignore", "inherit"] });
    await startWith(created, ready);
    await Bun.sleep(50);
    for (const [signal, count] of [
      ["SIGUSR1", 1],
      ["SIGINT", 2],
      ["SIGTERM", 3],
    ] as const) {
      child.kill(signal);
      await until(
        signal,
        () => existsSync(signals) && readFileSync(signals, "utf8").split("\n").length === count,
      );
    }
    expect(readFileSync(signals, "utf8")).toBe("10\n2\n15");
    box.quiet();
    expect(await child.exited).toBe(0);
  });

  interface Seat {
    text(): string;
    type(keys: string): void;
    resize(columns: number, rows: number): void;
    child: Bun.Subprocess;
    terminal: Bun.Terminal;
    modes: () => number[];
  }

  async function sit(
    created: Created,
    io: Partial<AttachIo>,
  ): Promise<{ seat: Seat; ready: string; modes: number[] }> {
    let text = "";
    const decoder = new TextDecoder();
    const terminal = new Bun.Terminal({
      cols: 101,
      rows: 41,
      data: (_terminal, data) => void (text += decoder.decode(data, { stream: true })),
    });
    const modes = (): number[] => [terminal.inputFlags, terminal.outputFlags, terminal.localFlags];
    const before = modes();
    const { cmd, ready } = client(created, { ...plain, terminal: true, ...io });
    // As a login does: window changes are only told to whom the terminal controls.
    const child = Bun.spawn(["setsid", "--ctty", ...cmd], { terminal });
    const seat: Seat = {
      text: () => text,
      type: (keys) => void terminal.write(keys),
      resize: (columns, rows) => terminal.resize(columns, rows),
      child,
      terminal,
      modes,
    };
    return { seat, ready, modes: before };
  }

  test("a terminal: raw while attached, its size from the start and after a change, put back at the end", async () => {
    const created = await box.create(
      ["sh", "-c", "stty size; while read l; do stty size; test $l = end && break; done"],
      {
        terminal: true,
        stdin: true,
      },
    );
    const { seat, ready, modes } = await sit(created, {});
    await startWith(created, ready);
    await until("the first size", () => seat.text().includes("41 101"));
    expect(seat.modes()).not.toEqual(modes);
    seat.resize(90, 30);
    await until("the new size", () => {
      if (!seat.text().includes("30 90")) seat.type("x\r");
      Bun.sleepSync(10);
      return seat.text().includes("30 90");
    });
    seat.type("end\r");
    expect(await seat.child.exited).toBe(0);
    expect(seat.modes()).toEqual(modes);
    seat.terminal.close();
  });

  test("detach keys leave the container running and the terminal as it was; what only begins like them is passed on", async () => {
    const created = await box.create(["sh", "-c", "stty raw -echo; echo up; cat"], {
      terminal: true,
      stdin: true,
    });
    const { seat, ready, modes } = await sit(created, { detachKeys: "ctrl-x,ctrl-x,q" });
    await startWith(created, ready);
    await until("cat", () => seat.text().includes("up"));
    seat.type("a\x18b");
    await until("the half sequence", () => seat.text().endsWith("a\x18b"));
    seat.type("\x18\x18\x18q");
    expect(await seat.child.exited).toBe(9);
    // Too late for the screen, so it is looked for in the log.
    await until(
      "the overlap",
      () => box.log(created).replaceAll("stdout: ", "").endsWith("a\x18b\x18"),
      3000,
    );
    expect(seat.modes()).toEqual(modes);
    expect(box.runtime?.state(box.ctx, created.id)?.status).toBe("running");
    seat.terminal.close();
  });

  test.each(["SIGTERM", "SIGHUP"] as const)(
    "%s ends the client with its terminal put back",
    async (signal) => {
      const created = await box.create(["cat"], { terminal: true, stdin: true });
      const { seat, ready, modes } = await sit(created, {});
      await startWith(created, ready);
      await until("raw mode", () => seat.modes()[2] !== modes[2]);
      seat.child.kill(signal);
      await seat.child.exited;
      expect(seat.child.signalCode).toBe(signal);
      expect(seat.modes()).toEqual(modes);
      seat.terminal.close();
    },
  );

  test("with an exit delay of the monitor the client ends at the container's end", async () => {
    const created = await box.create(["sh", "-c", "echo quick"], {
      exitDelaySeconds: 30,
      exitCommand: ["/bin/true"],
    });
    const { cmd, ready } = client(created, { ...plain, stdin: false });
    const child = Bun.spawn(cmd, { stdout: "pipe", stderr: "inherit" });
    await startWith(created, ready);
    const begun = performance.now();
    expect(await child.stdout.text()).toBe("quick\n");
    expect(await child.exited).toBe(0);
    expect(performance.now() - begun).toBeLessThan(5000);
    linux.kill(-created.monitorPid, 9);
  });

  test("nobody to attach to is not-found", () => {
    const request = { socket: `${box.directory}/nosuch`, controlFifo: `${box.directory}/nosuch`, io: plain };
    let error: unknown;
    try {
      openAttach(box.ctx, request);
    } catch (thrown) {
      error = thrown;
    }
    expect(kindOf(error)).toBe("not-found");
  });

  describe("for servers", () => {
    test("slow consumers hold the output back, nothing is lost and no descriptor stays", async () => {
      const before = openFds().length;
      const created = await box.create(["seq", "1", "30000"]);
      const parts: Uint8Array[] = [];
      const attached = attachStream(box.ctx, {
        socket: `${created.request.bundle}/attach`,
        onOutput: async (_stream, bytes) => {
          if (parts.length % 4 === 0) await Bun.sleep(1);
          parts.push(bytes);
        },
        exit: box.exitFacts(created),
      });
      box.runtime?.start(box.ctx, created.id);
      expect(await attached).toBe("ended");
      expect(Buffer.concat(parts).toString()).toBe(
        Array.from({ length: 30000 }, (_, i) => `${i + 1}\n`).join(""),
      );
      await Bun.sleep(20);
      expect(openFds().length).toBeLessThanOrEqual(before);
    });

    test("large input, its end, and detach keys in it", async () => {
      const created = await box.create(["wc", "-c"], { stdin: true });
      let output = "";
      const attached = attachStream(box.ctx, {
        socket: `${created.request.bundle}/attach`,
        onOutput: (_stream, bytes) => void (output += Buffer.from(bytes).toString()),
        input: once(Buffer.alloc(1_000_000, "x")),
      });
      box.runtime?.start(box.ctx, created.id);
      expect(await attached).toBe("ended");
      expect(output.trim()).toBe("1000000");
      const other = await box.start(["cat"], { stdin: true });
      const left = attachStream(box.ctx, {
        socket: `${other.request.bundle}/attach`,
        onOutput: () => {},
        input: once(Buffer.from("abc\x10\x11")),
        detachKeys: "ctrl-p,ctrl-q",
      });
      expect(await left).toBe("detached");
    });

    test("an abort lets go at once", async () => {
      const created = await box.start(["sleep", "100"]);
      const stop = new AbortController();
      const attached = attachStream(createCtx({ signal: stop.signal }), {
        socket: `${created.request.bundle}/attach`,
        onOutput: () => {},
      });
      setTimeout(() => stop.abort(), 20);
      expect(await attached.catch(kindOf)).toBe("canceled");
    });

    test("a hundred attachments come and go without a trace", async () => {
      const created = await box.start(["sleep", "100"]);
      const before = openFds().length;
      for (let i = 0; i < 100; i++) {
        const stop = new AbortController();
        const attached = attachStream(createCtx({ signal: stop.signal }), {
          socket: `${created.request.bundle}/attach`,
          onOutput: () => {},
        });
        await Bun.sleep(0);
        stop.abort();
        await attached.catch(() => {});
      }
      await Bun.sleep(20);
      expect(openFds().length).toBeLessThanOrEqual(before);
    });
  });
});
