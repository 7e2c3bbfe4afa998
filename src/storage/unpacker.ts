/** One unpacking child: our own program in its sandbox, and the jobs it is given. */
import type { Ctx } from "../core/ctx.ts";
import { checkCanceled } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { EAGAIN, EINTR, O_DIRECTORY, O_PATH, SIGKILL } from "../sys/const.ts";
import { hasCode, SysError } from "../sys/errno.ts";
import { tryCall } from "../sys/libc.ts";
import { linux } from "../sys/linux.ts";
import { type Child, spawn } from "../sys/spawn.ts";
import type { Fd } from "../sys/sys.ts";
import type { UnpackJob, UnpackReply } from "./unpack-protocol.ts";

const PIPE_SIZE = 1 << 20;
const EPIPE = 32;
const MAX_STDERR = 4096;

export class Unpacker implements Disposable {
  readonly #child: Child;
  readonly #socket: Fd;
  readonly #replies: Lines;
  readonly #complaint: Promise<string>;
  #isUsable = true;

  /** `command` is the argv that starts this program as the unpacker. */
  constructor(ctx: Ctx, command: string[]) {
    const [mine, theirs] = linux.socketpair("seqpacket");
    try {
      this.#child = spawn(ctx, command, { stdio: [theirs, "pipe", "pipe"], env: childEnvironment() });
    } catch (error) {
      linux.close(mine);
      throw error;
    } finally {
      linux.close(theirs);
    }
    this.#socket = mine;
    this.#replies = new Lines(this.#child.stdout as ReadableStream<Uint8Array>);
    this.#complaint = new Response(this.#child.stderr as never).text();
    // It ends when its socket is closed, and nobody waits for that.
    this.#child.unref();
  }

  /** False once a job has failed: it is of no more use. */
  get isUsable(): boolean {
    return this.#isUsable;
  }

  /**
   * Feeds the source to the child and waits for what it says. Errors: canceled, what the source throws, internal (the child died).
   * Any of them ends the child.
   */
  async run(
    ctx: Ctx,
    { target, job, source }: { target: string; job: UnpackJob; source: AsyncIterable<Uint8Array> },
  ): Promise<UnpackReply> {
    const kill = (): void => this.#child.kill(SIGKILL);
    ctx.signal.addEventListener("abort", kill, { once: true });
    try {
      checkCanceled(ctx);
      const pipe = this.#send(target, job);
      const reply = this.#replies.next();
      await feed(pipe, source, reply);
      const text = await reply;
      checkCanceled(ctx);
      return parseReply(text) ?? (await this.#died(target));
    } catch (error) {
      kill();
      await this.#child.exited;
      throw error;
    } finally {
      ctx.signal.removeEventListener("abort", kill);
    }
  }

  /** Returns the end of the pipe that the archive is written to. */
  #send(target: string, job: UnpackJob): Fd {
    this.#isUsable = false;
    const pipe = linux.pipe(PIPE_SIZE);
    let directory: Fd | undefined;
    try {
      linux.setNonBlocking(pipe.write);
      directory = openTarget(target);
      linux.sendFds(this.#socket, Buffer.from(JSON.stringify(job)), [directory, pipe.read]);
      return pipe.write;
    } catch (error) {
      linux.close(pipe.write);
      // A child that could not even begin has said why.
      if (!hasCode(error, "EPIPE", "ECONNRESET")) throw error;
      return linux.open("/dev/null", 1);
    } finally {
      linux.close(pipe.read);
      if (directory !== undefined) linux.close(directory);
    }
  }

  async #died(target: string): Promise<never> {
    this.#child.kill(SIGKILL);
    const { exitCode, signal } = await this.#child.exited;
    const how = signal ?? `status ${exitCode}`;
    throw fail("internal", `the process that unpacks into "${target}" ended with ${how}`, {
      reason: "unpack-died",
      data: { stderr: (await this.#complaint).slice(-MAX_STDERR) },
    });
  }

  /** After a job that went well: it can have the next one. */
  release(): void {
    this.#isUsable = true;
  }

  [Symbol.dispose](): void {
    linux.close(this.#socket);
  }
}

/** Nothing of the caller's environment may steer the child, but for what tests it. */
function childEnvironment(): Record<string, string | undefined> {
  const { BERTH_FAILPOINTS, PATH } = process.env;
  return { BERTH_FAILPOINTS, PATH };
}

/** Without privileges for a mount of its own the directory as it is: names are resolved beneath it all the same. */
function openTarget(path: string): Fd {
  try {
    return linux.cloneMounts(path);
  } catch (error) {
    if (!hasCode(error, "EPERM", "ENOSYS", "EINVAL")) throw error;
    return linux.open(path, O_PATH | O_DIRECTORY);
  }
}

function parseReply(text: string | undefined): UnpackReply | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as UnpackReply);
  } catch {
    return undefined;
  }
}

/** Lines of a stream, as they are asked for. */
class Lines {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  }

  /** Without its end; undefined after the last. */
  async next(): Promise<string | undefined> {
    const parts = [this.#rest];
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      const text = this.#decoder.decode(value, { stream: true });
      const end = text.indexOf("\n");
      parts.push(end < 0 ? text : text.slice(0, end));
      if (end < 0) continue;
      this.#rest = text.slice(end + 1);
      return parts.join("");
    }
  }
}

/** Writes the source to the pipe until either ends or the child has spoken, and closes it. */
async function feed(pipe: Fd, source: AsyncIterable<Uint8Array>, reply: Promise<unknown>): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  const next = untilSettled(reply, () => iterator.next());
  try {
    for (;;) {
      // A child that has ended must not wait for a network that stalls.
      const result = await next();
      if (result?.done === true) return;
      if (result === undefined || !(await writeAll(pipe, result.value))) {
        return void iterator.return?.().catch(() => {});
      }
    }
  } finally {
    linux.close(pipe);
  }
}

/** Calls `body`, or stops waiting for it when `end` is settled. (Promise.race with that would keep every result until then.) */
function untilSettled<T>(end: Promise<unknown>, body: () => Promise<T>): () => Promise<T | undefined> {
  let isOver = false;
  let stopWaiting = (): void => {};
  const onEnd = (): void => {
    isOver = true;
    stopWaiting();
  };
  end.then(onEnd, onEnd);
  return () =>
    new Promise((resolve, reject) => {
      stopWaiting = () => resolve(undefined);
      if (isOver) resolve(undefined);
      else body().then(resolve, reject);
    });
}

/** False if nobody reads any more. A full pipe holds several milliseconds of work, so waiting one does not starve the child. */
async function writeAll(pipe: Fd, bytes: Uint8Array): Promise<boolean> {
  let done = 0;
  while (done < bytes.length) {
    const result = tryCall("write", pipe, bytes.subarray(done), bytes.length - done);
    if (result >= 0) done += result;
    else if (result === -EPIPE) return false;
    else if (result === -EAGAIN) await Bun.sleep(1);
    else if (result !== -EINTR) throw new SysError("write", "unpack process", -result);
  }
  return true;
}
