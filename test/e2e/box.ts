/**
 * A private store for one test file: its own root, run directory, bridge and nftables table, driven
 * through the built binary. `check` compares the census with the one taken at the last `mark`.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Census, difference, takeCensus } from "./census.ts";

const berthPath = process.env["BERTH_E2E_BINARY"] ?? resolve(import.meta.dir, "../../dist/berth");

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Uint8Array;
  env?: Record<string, string>;
  /** Milliseconds; the test fails loudly instead of hanging. Default 60 s. */
  timeout?: number;
  cwd?: string;
}

/** What others let go of meanwhile is no leak of ours: the kernel takes an earlier file's namespaces and cgroups apart in its own time. */
const DEPARTURE = /^\w+: - /;

export class Box {
  readonly dir: string;
  readonly root: string;
  readonly run: string;
  #mark: Census | undefined;

  constructor(name: string) {
    if (!existsSync(berthPath)) throw new Error(`${berthPath} is missing: run \`npm run build\``);
    this.dir = mkdtempSync(join(tmpdir(), `berth-e2e-${name}-`));
    this.root = join(this.dir, "root");
    this.run = join(this.dir, "run");
  }

  get argv(): string[] {
    return [berthPath, "--root", this.root, "--run", this.run];
  }

  /** Runs berth on this store and waits for its end. */
  berth(args: string[], options: RunOptions = {}): Outcome {
    return runArgv([...this.argv, ...args], options);
  }

  /** As `berth`, and throws with everything that was printed unless it exits 0. Returns stdout without its last newline. */
  ok(args: string[], options: RunOptions = {}): string {
    const outcome = this.berth(args, options);
    if (outcome.code !== 0) {
      throw new Error(`berth ${args.join(" ")} exited ${outcome.code}\n${outcome.stdout}${outcome.stderr}`);
    }
    return outcome.stdout.replace(/\n$/, "");
  }

  /** As `berth`, while this process goes on: for tests that serve what berth asks for. */
  async async(args: string[]): Promise<Outcome> {
    const child = Bun.spawn([...this.argv, ...args], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const texts = [child.stdout, child.stderr].map((stream) => new Response(stream).text());
    const [stdout = "", stderr = ""] = await Promise.all(texts);
    return { code: await child.exited, stdout, stderr };
  }

  /** Starts berth and returns the running process. */
  spawn(args: string[], options: RunOptions = {}): Bun.Subprocess<"pipe", "pipe", "pipe"> {
    return Bun.spawn([...this.argv, ...args], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, ...options.env },
    });
  }

  /** A small real image from Debian's busybox-static, imported under this name. */
  importBusybox(name = "localhost/busybox:latest"): string {
    const tar = join(this.dir, "busybox.tar");
    if (!existsSync(tar)) writeFileSync(tar, busyboxTar(this.dir));
    return this.ok(["import", "--change", 'CMD ["/bin/sh"]', "--change", "ENV PATH=/bin:/sbin", tar, name]);
  }

  /** Starts a container without a network in the background; `script` is for its shell. Returns its id. */
  up(name: string, script = "exec sleep 1000", flags: string[] = []): string {
    const image = "localhost/busybox";
    return this.ok(["run", "-d", "--name", name, "--network", "none", ...flags, image, "sh", "-c", script]);
  }

  /** What a script prints in a running container. */
  in(name: string, script: string, flags: string[] = []): string {
    return this.ok(["exec", ...flags, name, "sh", "-c", script]);
  }

  /** Tries until `isReached`, for what happens a moment later; throws after ten seconds. */
  async until(what: string, isReached: () => boolean): Promise<void> {
    for (const deadline = Date.now() + 10_000; !isReached(); await Bun.sleep(20)) {
      if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    }
  }

  /** Removes all containers. */
  clear(): void {
    const all = this.ok(["ps", "-aq"]).split("\n").filter(Boolean);
    if (all.length > 0) this.ok(["rm", "-f", "-v", ...all]);
  }

  /** Remembers the state of the machine. */
  mark(): void {
    this.#mark = takeCensus(this);
  }

  /**
   * What is different from the mark; waits up to two seconds for what ends asynchronously (monitors, dying namespaces).
   * With BERTH_E2E_SHARED set (other tests run on the machine) only what carries this store's name is judged.
   */
  async leaks(): Promise<string[]> {
    if (this.#mark === undefined) throw new Error("no mark was taken");
    const shared = process.env["BERTH_E2E_SHARED"] !== undefined;
    for (let tries = 0; ; tries++) {
      const all = difference(this.#mark, takeCensus(this));
      const found = all.filter((line) =>
        shared ? line.includes(this.dir) : !DEPARTURE.test(line) || line.includes(this.dir),
      );
      if (found.length === 0 || tries >= 40) return found;
      await Bun.sleep(50);
    }
  }

  /** Takes the store apart: containers, images, networks, files. */
  close(): void {
    this.berth(["system", "reset", "--force"]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function runArgv(argv: string[], options: RunOptions = {}): Outcome {
  const result = Bun.spawnSync(argv, {
    stdin: options.stdin === undefined ? "ignore" : Buffer.from(options.stdin),
    stdout: "pipe",
    stderr: "pipe",
    timeout: options.timeout ?? 60_000,
    killSignal: "SIGKILL",
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const timedOut = result.exitedDueToTimeout === true ? "\n[killed: timed out]" : "";
  return {
    code: result.exitCode,
    stdout: result.stdout.toString(),
    stderr: result.stderr.toString() + timedOut,
  };
}

/** A root file system: busybox with its applet links, passwd and group, a few directories. */
export function busyboxTar(dir: string): Uint8Array {
  const root = join(dir, "busybox-root");
  for (const sub of ["bin", "etc", "tmp", "root", "dev", "proc", "sys", "var/www", "home/user"]) {
    mkdirSync(join(root, sub), { recursive: true });
  }
  cpSync("/bin/busybox", join(root, "bin/busybox"));
  runArgv(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"]);
  writeFileSync(
    join(root, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
  );
  writeFileSync(join(root, "etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n");
  writeFileSync(join(root, "var/www/index.html"), "hello from berth\n");
  const tar = runArgv([
    "tar",
    "-C",
    root,
    "--sort=name",
    "--owner=0",
    "--group=0",
    "-cf",
    join(dir, "busybox.tar"),
    ".",
  ]);
  if (tar.code !== 0) throw new Error(tar.stderr);
  return new Uint8Array(readFileSync(join(dir, "busybox.tar")));
}
