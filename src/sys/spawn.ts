/**
 * Starting programs. No shell is ever involved; argv[0] is looked up in PATH and the system directories.
 *
 * `run` is for short programs (a runtime's `state`, `nft`): it blocks this thread, collects output in anonymous memory files
 * instead of pipes (no reader, and no waiting for a grandchild that keeps a pipe open), and costs 0.7 ms for /bin/true (the same as with pipes). `spawn` is for
 * what runs beside us. Under `--trace` each argv is printed.
 */
import { existsSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { type EngineError, fail } from "../core/error.ts";
import { signalName, signalNumber } from "./const.ts";
import { hasCode } from "./errno.ts";
import { linux } from "./linux.ts";
import type { Fd } from "./sys.ts";

export interface RunOptions {
  /** Bytes or a descriptor; nothing (/dev/null) by default. */
  stdin?: Uint8Array | string | Fd;
  /** The whole environment; this process' own by default. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** SIGKILL after this long, and deadline-exceeded. */
  timeoutMs?: number;
  /** Bytes of stdout, and of stderr, above which the run fails with resource-exhausted. Default 16 MiB. */
  maxOutput?: number;
  /** Descriptors that become 3, 4, … of the program; they stay open here. */
  fds?: Fd[];
}

export interface RunResult {
  /** 128 + n for a program killed by signal n. */
  exitCode: number;
  /** "SIGKILL" */
  signal?: string;
  stdout: string;
  stdoutBytes: Uint8Array;
  stderr: string;
}

export interface SpawnOptions {
  /** stdin, stdout, stderr and any further descriptors, by place; the rest of the three is "ignore". */
  stdio?: (Fd | "pipe" | "ignore" | "inherit")[];
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** In a session of its own, so that a terminal's Ctrl-C does not reach it. */
  detached?: boolean;
  /** Killed with SIGKILL when this aborts. */
  signal?: AbortSignal;
}

export interface Exit {
  exitCode: number;
  signal?: string;
}

export interface Child {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  /** For the places given as "pipe". */
  readonly stdin: Bun.FileSink | undefined;
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  kill(signal: number): void;
  /** Lets this process end before the child does. */
  unref(): void;
}

const DEFAULT_OUTPUT = 16 * 1024 * 1024;
const SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Debian package of a program whose name differs from it. */
const PACKAGE: Record<string, string> = {
  nft: "nftables",
  pasta: "passt",
  newuidmap: "uidmap",
  newgidmap: "uidmap",
  ip: "iproute2",
  modprobe: "kmod",
  xz: "xz-utils",
  busybox: "busybox-static",
  nsenter: "util-linux",
  unshare: "util-linux",
  mount: "mount",
  umount: "mount",
  systemctl: "systemd",
  gpg: "gnupg",
  "qemu-system-x86_64": "qemu-system-x86",
  "mkfs.erofs": "erofs-utils",
};

/**
 * Path of a program in PATH or the system directories; a name with a slash is itself. Undefined if there is
 * none. Empty and relative entries of PATH do not count: they would run what lies in the current directory.
 */
export function which(name: string): string | undefined {
  const own = (process.env["PATH"] ?? "").split(":").filter((entry) => entry.startsWith("/"));
  const path = [...own, SYSTEM_DIRECTORIES].join(":");
  return Bun.which(name, { PATH: path }) ?? undefined;
}

function missing(program: string, cause?: unknown): EngineError {
  const name = program.slice(program.lastIndexOf("/") + 1);
  return fail("not-found", `program "${program}" not found`, {
    reason: "program-not-found",
    hint: `install it: apt-get install ${PACKAGE[name] ?? name}`,
    data: { program },
    cause,
  });
}

function quoted(argv: string[]): string {
  return argv
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

/** The command line with argv[0] resolved, after the trace line. */
function prepare(ctx: Ctx, argv: string[]): string[] {
  const [program = "", ...rest] = argv;
  const path = which(program);
  if (path === undefined && !program.includes("/")) throw missing(program);
  ctx.log.trace(() => `spawn: ${quoted(argv)}`);
  return [path ?? program, ...rest];
}

function startError(error: unknown, argv: string[], cwd: string | undefined): unknown {
  const [program = ""] = argv;
  if (hasCode(error, "ENOENT", "ENOTDIR")) {
    if (cwd === undefined || existsSync(cwd)) return missing(program, error);
    return fail("not-found", `directory "${cwd}" not found`, { reason: "ENOENT", cause: error });
  }
  if (!hasCode(error, "EACCES", "ENOEXEC")) return error;
  return fail("permission-denied", `cannot execute "${program}"`, { reason: "not-executable", cause: error });
}

function exitOf(exitCode: number | null, signal: string | number | null | undefined): Exit {
  if (signal === null || signal === undefined) return { exitCode: exitCode ?? 0 };
  return typeof signal === "number"
    ? { exitCode: 128 + signal, signal: signalName(signal) }
    : { exitCode: 128 + signalNumber(signal), signal };
}

/** Everything in the memory file. Errors: resource-exhausted over the limit. */
function collected(fd: Fd, program: string, limit: number): Buffer {
  const { size } = linux.stat(fd, "", 0);
  if (size > limit) {
    throw fail("resource-exhausted", `"${program}" wrote more than ${limit} bytes`, {
      reason: "output-limit",
    });
  }
  const into = Buffer.allocUnsafe(size);
  let length = 0;
  while (length < size) {
    const more = linux.read(fd, into.subarray(length), length);
    if (more === 0) break;
    length += more;
  }
  return into.subarray(0, length);
}

/**
 * Runs a program to its end. A non-zero status is a result, not an error. Errors: not-found (the program; the
 * hint names its Debian package), permission-denied, deadline-exceeded, resource-exhausted.
 */
export function run(ctx: Ctx, argv: string[], options: RunOptions = {}): RunResult {
  const cmd = prepare(ctx, argv);
  using files = new DisposableStack();
  const [stdout, stderr] = [0, 0].map(() => files.adopt(linux.memfd("berth-output"), linux.close)) as [
    Fd,
    Fd,
  ];
  const { stdin = "ignore" } = options;
  const input = typeof stdin === "number" || stdin === "ignore" ? stdin : Buffer.from(stdin);
  let result: Bun.SyncSubprocess;
  try {
    result = Bun.spawnSync({
      cmd,
      env: options.env ?? process.env,
      stdio: [input, stdout, stderr, ...(options.fds ?? [])] as never,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs, killSignal: "SIGKILL" }),
    });
  } catch (error) {
    throw startError(error, cmd, options.cwd);
  }
  const program = argv[0] as string;
  if (result.exitedDueToTimeout === true) {
    throw fail("deadline-exceeded", `"${program}" did not end within ${options.timeoutMs} ms`, {
      reason: "program-timeout",
    });
  }
  const limit = options.maxOutput ?? DEFAULT_OUTPUT;
  const bytes = collected(stdout, program, limit);
  return {
    ...exitOf(result.exitCode, result.signalCode),
    stdoutBytes: bytes,
    stdout: bytes.toString(),
    stderr: collected(stderr, program, limit).toString(),
  };
}

/** As {@link run}, but a status other than 0 is an `internal` error with the program's last words. */
export function runChecked(ctx: Ctx, argv: string[], options: RunOptions = {}): RunResult {
  const result = run(ctx, argv, options);
  if (result.exitCode === 0) return result;
  const words = result.stderr.trim() || result.stdout.trim() || "it said nothing";
  throw fail("internal", `"${quoted(argv.slice(0, 3))}" failed with status ${result.exitCode}: ${words}`, {
    reason: "program-failed",
    data: { argv, exitCode: result.exitCode, stderr: result.stderr },
  });
}

/** Starts a program and returns at once. Descriptors given by number stay open here. Errors: not-found, permission-denied. */
export function spawn(ctx: Ctx, argv: string[], options: SpawnOptions = {}): Child {
  const cmd = prepare(ctx, argv);
  const [stdin = "ignore", stdout = "ignore", stderr = "ignore", ...more] = options.stdio ?? [];
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn({
      cmd,
      env: options.env ?? process.env,
      stdio: [stdin, stdout, stderr, ...more] as never,
      detached: options.detached === true,
      killSignal: "SIGKILL",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
  } catch (error) {
    throw startError(error, cmd, options.cwd);
  }
  return {
    pid: child.pid,
    exited: child.exited.then(() => exitOf(child.exitCode, child.signalCode)),
    stdin: stdin === "pipe" ? (child.stdin as Bun.FileSink) : undefined,
    stdout: stdout === "pipe" ? (child.stdout as ReadableStream<Uint8Array<ArrayBuffer>>) : undefined,
    stderr: stderr === "pipe" ? (child.stderr as ReadableStream<Uint8Array<ArrayBuffer>>) : undefined,
    kill: (signal) => child.kill(signal),
    unref: () => child.unref(),
  };
}
