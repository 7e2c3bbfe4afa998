/** What the runtime suite runs containers in: one root file system of busybox, bundles, and a census of what they may leave. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createCtx } from "../../src/core/ctx.ts";
import { newId } from "../../src/core/id.ts";
import { attachStream } from "../../src/runtime/attach-stream.ts";
import { type ExitStatus, waitExit } from "../../src/runtime/exit.ts";
import { readLogFile } from "../../src/runtime/log-file.ts";
import type { ExecRequest, ExecSession, MonitorRequest, OciRuntime } from "../../src/runtime/runtime.ts";
import { SIGKILL } from "../../src/sys/const.ts";
import { cgroupDirectories, cgroupMode } from "../../src/sys/cgroup.ts";
import { linux } from "../../src/sys/linux.ts";
import { which } from "../../src/sys/spawn.ts";

const APPLETS =
  "sh echo cat sleep true false stty kill id env ls head wc seq printf dd ps hostname touch test yes readlink";

export interface Created {
  id: string;
  request: MonitorRequest;
  pid: number;
  monitorPid: number;
}

export interface Options {
  terminal?: boolean;
  stdin?: boolean;
  leaveStdinOpen?: boolean;
  logMaxSize?: number;
  exitCommand?: string[];
  exitDelaySeconds?: number;
  cwd?: string;
  args?: string[];
}

/** A text that settles a wait: polls `probe` until it is true. Fails after `ms`. */
export async function until(what: string, probe: () => boolean, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!probe()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(2);
  }
}

function processesWith(text: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map((pid) => {
      try {
        return `${pid} ${readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")}`;
      } catch {
        return "";
      }
    })
    .filter((line) => line.includes(text));
}

export class RuntimeBox implements Disposable {
  readonly ctx = createCtx();
  readonly directory: string;
  readonly runDir: string;
  readonly rootfs: string;
  readonly exits: string;
  runtime: OciRuntime | undefined;
  readonly #created: Created[] = [];
  readonly #quieted = new Set<string>();

  constructor(name: string) {
    // In memory if possible, as /run is: otherwise the exit files' fsync is what the tests wait for.
    const base = existsSync("/dev/shm") ? "/dev/shm" : "/tmp";
    this.directory = mkdtempSync(`${base}/berth-runtime-${name}-`);
    this.runDir = `${this.directory}/run`;
    this.rootfs = `${this.directory}/rootfs`;
    this.exits = `${this.directory}/exits`;
    for (const path of ["run", "exits", "bundles"]) mkdirSync(`${this.directory}/${path}`);
    for (const path of ["bin", "proc", "dev", "sys", "tmp", "etc"]) {
      mkdirSync(`${this.rootfs}/${path}`, { recursive: true });
    }
    copyFileSync(which("busybox") as string, `${this.rootfs}/bin/busybox`);
    chmodSync(`${this.rootfs}/bin/busybox`, 0o755);
    for (const applet of APPLETS.split(" ")) symlinkSync("busybox", `${this.rootfs}/bin/${applet}`);
    writeFileSync(`${this.rootfs}/etc/plain`, "not a program\n", { mode: 0o644 });
  }

  get #oci(): OciRuntime {
    return this.runtime as OciRuntime;
  }

  #config(id: string, command: string[], options: Options): object {
    const capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"];
    return {
      ociVersion: "1.0.2",
      process: {
        terminal: options.terminal ?? false,
        user: { uid: 0, gid: 0 },
        args: command,
        env: ["PATH=/bin", "TERM=xterm"],
        cwd: options.cwd ?? "/",
        capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
        noNewPrivileges: true,
      },
      root: { path: this.rootfs, readonly: false },
      hostname: "box",
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
        {
          destination: "/dev/pts",
          type: "devpts",
          source: "devpts",
          options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
      ],
      linux: {
        cgroupsPath: this.cgroup(id),
        namespaces: ["pid", "ipc", "uts", "mount", "network"].map((type) => ({ type })),
      },
    };
  }

  cgroup(id: string): string {
    return `/berth-runtime-test-${id.slice(0, 12)}`;
  }

  request(command: string[], options: Options = {}): MonitorRequest {
    const id = newId();
    const bundle = `${this.directory}/bundles/${id}`;
    mkdirSync(`${bundle}/persist`, { recursive: true });
    writeFileSync(`${bundle}/config.json`, JSON.stringify(this.#config(id, command, options)));
    return {
      id,
      name: `box-${id.slice(0, 6)}`,
      bundle,
      terminal: options.terminal ?? false,
      stdin: options.stdin ?? false,
      leaveStdinOpen: options.leaveStdinOpen ?? false,
      logDriver: "k8s-file",
      logPath: `${bundle}/ctr.log`,
      ...(options.logMaxSize !== undefined && { logMaxSize: options.logMaxSize }),
      ...(options.exitDelaySeconds !== undefined && { exitDelaySeconds: options.exitDelaySeconds }),
      exitDir: this.exits,
      persistDir: `${bundle}/persist`,
      pidFile: `${bundle}/pid`,
      monitorPidFile: `${bundle}/monitor.pid`,
      exitCommand: options.exitCommand ?? [],
      systemdCgroup: false,
    };
  }

  async create(command: string[], options: Options = {}): Promise<Created> {
    const request = this.request(command, options);
    const { pid, monitorPid } = await this.#oci.create(this.ctx, request);
    const created = { id: request.id, request, pid, monitorPid };
    this.#created.push(created);
    return created;
  }

  /** Counts it among what is to be cleaned up. */
  adopt(request: MonitorRequest): void {
    this.#created.push({ id: request.id, request, pid: 0, monitorPid: 0 });
  }

  async start(command: string[], options: Options = {}): Promise<Created> {
    const created = await this.create(command, options);
    this.#oci.start(this.ctx, created.id);
    return created;
  }

  exitFacts({ id, pid, monitorPid }: Created): { exitFile: string; pid: number; monitorPid: number } {
    return { exitFile: `${this.exits}/${id}`, pid, monitorPid };
  }

  wait(created: Created): Promise<ExitStatus> {
    return waitExit(this.ctx, this.exitFacts(created));
  }

  log({ request }: Created): string {
    return [...readLogFile({ path: request.logPath })]
      .map((line) => `${line.stream}: ${Buffer.from(line.text).toString()}${line.partial ? "" : "\n"}`)
      .join("");
  }

  /** Runs a command to its end and returns its status. */
  async run(command: string[], options: Options = {}): Promise<{ status: number; log: string }> {
    const created = await this.start(command, options);
    const { exitCode } = await this.wait(created);
    return { status: exitCode, log: this.log(created) };
  }

  sessionRequest(created: Created, command: string[], options: Options = {}): ExecRequest {
    const sessionId = newId();
    const bundle = `${created.request.bundle}/exec-${sessionId.slice(0, 12)}`;
    mkdirSync(bundle);
    const { logDriver: _d, logPath: _p, ...common } = created.request;
    return {
      ...common,
      bundle,
      sessionId,
      exitDir: bundle,
      persistDir: `${bundle}/persist`,
      pidFile: `${bundle}/pid`,
      monitorPidFile: `${bundle}/monitor.pid`,
      exitCommand: [],
      terminal: options.terminal ?? false,
      stdin: options.stdin ?? false,
      process: {
        terminal: options.terminal ?? false,
        user: { uid: 0, gid: 0 },
        args: command,
        env: ["PATH=/bin"],
        cwd: options.cwd ?? "/",
      },
    };
  }

  session(created: Created, command: string[], options: Options = {}): Promise<ExecSession> {
    return this.#oci.exec(this.ctx, created.id, this.sessionRequest(created, command, options));
  }

  /** Runs a session to its end with this input. */
  async exec(
    created: Created,
    command: string[],
    options: Options & { input?: string } = {},
  ): Promise<{ status: number; output: string }> {
    using session = await this.session(created, command, { ...options, stdin: options.input !== undefined });
    let output = "";
    const { input } = options;
    const attached = attachStream(this.ctx, {
      socket: session.attachSocket,
      onOutput: (stream, bytes) => void (output += `${stream}: ${Buffer.from(bytes).toString()}`),
      ...(input !== undefined && { input: once(Buffer.from(input)) }),
    });
    await session.start();
    await attached;
    return { status: await session.wait(), output };
  }

  /** Ends what runs, so that nothing is in the next test's way. */
  quiet(): void {
    for (const { id } of this.#created) {
      if (this.#quieted.has(id)) continue;
      this.#quieted.add(id);
      const status = this.#oci.state(this.ctx, id)?.status;
      if (status === "paused") this.#oci.resume(this.ctx, id);
      if (status === "paused" || status === "running") this.#oci.kill(this.ctx, id, SIGKILL);
    }
  }

  /** Deletes all that was created and says what is left of it all the same. */
  async clean(): Promise<string[]> {
    for (const { id, monitorPid } of this.#created) {
      this.#oci.delete(this.ctx, id, { force: true });
      const monitored = (): boolean => processesWith(id).some((line) => line.startsWith(`${monitorPid} `));
      await until(`the end of the monitor of ${id}`, () => !monitored());
    }
    return this.census();
  }

  census(): string[] {
    const cgroups = cgroupDirectories(cgroupMode(), "/").flatMap((top) =>
      this.#created.map(({ id }) => `${top}/${this.cgroup(id)}`).filter((path) => existsSync(path)),
    );
    const states = existsSync(`${this.runDir}/runtimes`)
      ? readdirSync(`${this.runDir}/runtimes`, { recursive: true, encoding: "utf8" })
      : [];
    return [
      ...cgroups,
      ...this.#created.flatMap(({ id }) => processesWith(id)),
      ...this.#created.flatMap(({ id }) => states.filter((name) => name.includes(id))),
      ...readdirSync(this.runDir).filter((name) => name.startsWith("conmon-term.")),
    ];
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Open descriptors of this process. */
export function openFds(): string[] {
  const dir = linux.open("/proc/self/fd", 0x10000);
  try {
    return linux
      .readdir(dir)
      .map((entry) => Buffer.from(entry.name).toString())
      .filter((name) => Number(name) !== dir);
  } finally {
    linux.close(dir);
  }
}
