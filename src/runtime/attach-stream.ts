/**
 * The attach socket for a process that serves others (Docker API, CRI): nothing blocks, output goes to a callback,
 * input comes from an async iterable. The command line's own pump is in `attach.ts`.
 */
import { type Ctx, checkCanceled } from "../core/ctx.ts";
import { linux } from "../sys/linux.ts";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";
import { connectAttach, type AttachEnd } from "./attach.ts";
import { type ExitRequest, waitExit } from "./exit.ts";

export interface AttachStreamRequest {
  /** Path of the monitor's attach socket. */
  socket: string;
  /** Bytes from the container; nothing more is read until the result has resolved. The bytes are the callee's. */
  onOutput: (stream: "stdout" | "stderr", bytes: Uint8Array) => void | Promise<void>;
  /** Bytes for its stdin; their end closes it. Absent: stdin is left alone. */
  input?: AsyncIterable<Uint8Array>;
  /** Sequence in the input that detaches; none if absent or empty. */
  detachKeys?: string;
  /** As in attach.ts. */
  exit?: ExitRequest;
}

const STDERR = 3;
const LARGEST_INPUT = 8192;
/** After the exit file is there, all output is in the socket: as long as it takes to read it. */
const QUIET_MS = 20;

interface Flow {
  socket: Bun.Socket;
  drained: PromiseWithResolvers<void>;
  /** Set when the output is over or somebody has given up. */
  done: PromiseWithResolvers<AttachEnd>;
  closed: boolean;
  lastOutput: number;
  /** Handing on of output, one after the other. */
  tail: Promise<void>;
}

/** Resolves when the output is over, or after the detach keys. Errors: not-found when the monitor has gone; canceled; what `onOutput` or `input` throws. */
export async function attachStream(ctx: Ctx, request: AttachStreamRequest): Promise<AttachEnd> {
  checkCanceled(ctx);
  const flow = await openFlow(request);
  const abort = (): void => flow.done.resolve("detached");
  ctx.signal.addEventListener("abort", abort, { once: true });
  const over = new AbortController();
  try {
    void passInput(request, flow).catch((error: unknown) => flow.done.reject(error));
    if (request.exit !== undefined) {
      void watchExit({ ...ctx, signal: over.signal }, request.exit, flow);
    }
    const end = await flow.done.promise;
    checkCanceled(ctx);
    await flow.tail;
    return end;
  } finally {
    over.abort();
    ctx.signal.removeEventListener("abort", abort);
    flow.socket.terminate();
  }
}

async function openFlow(request: AttachStreamRequest): Promise<Flow> {
  const fd = connectAttach(request.socket);
  const done = Promise.withResolvers<AttachEnd>();
  done.promise.catch(() => {});
  const flow: Omit<Flow, "socket"> = {
    drained: Promise.withResolvers<void>(),
    done,
    closed: false,
    lastOutput: 0,
    tail: Promise.resolve(),
  };
  const ended = (): void => {
    flow.closed = true;
    flow.drained.resolve();
    void flow.tail.then(() => done.resolve("ended"));
  };
  try {
    const socket = await Bun.connect({
      fd,
      allowHalfOpen: true,
      socket: {
        data: (from: Bun.Socket, packet: Uint8Array) => receive(request, flow, from, packet),
        drain: () => flow.drained.resolve(),
        end: ended,
        close: ended,
        error: ended,
      },
    } as never);
    return Object.assign(flow, { socket: socket as Bun.Socket });
  } catch (error) {
    linux.close(fd);
    throw error;
  }
}

function receive(
  request: AttachStreamRequest,
  flow: Omit<Flow, "socket">,
  socket: Bun.Socket,
  packet: Uint8Array,
): void {
  flow.lastOutput = performance.now();
  const stream = packet[0] === STDERR ? "stderr" : "stdout";
  // Copied: the packet lies in a buffer that the next one is received into.
  const bytes = packet.slice(1);
  socket.pause();
  flow.tail = flow.tail
    .then(() => request.onOutput(stream, bytes))
    .then(() => socket.resume())
    .catch((error: unknown) => flow.done.reject(error));
}

async function passInput(request: AttachStreamRequest, flow: Flow): Promise<void> {
  if (request.input === undefined) return;
  const scanner = new DetachScanner(parseDetachKeys(request.detachKeys ?? ""));
  for await (const chunk of request.input) {
    const { pass, detached } = scanner.push(chunk);
    await sendAll(flow, pass);
    if (detached) return flow.done.resolve("detached");
  }
  await sendAll(flow, scanner.rest());
  flow.socket.shutdown();
}

/** In packets that the monitor can take; one packet is sent whole or not at all. */
async function sendAll(flow: Flow, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const packet = bytes.subarray(at, at + LARGEST_INPUT);
    const sent = flow.socket.write(packet);
    if (sent < 0) return;
    at += sent;
    if (sent > 0) continue;
    flow.drained = Promise.withResolvers<void>();
    flow.socket.flush();
    await flow.drained.promise;
    if (flow.closed) return;
  }
}

/** Ends the flow when the container has ended and its last output has been handed on. */
async function watchExit(ctx: Ctx, exit: ExitRequest, flow: Flow): Promise<void> {
  try {
    await waitExit(ctx, exit);
    flow.lastOutput = Math.max(flow.lastOutput, performance.now());
    while (performance.now() - flow.lastOutput < QUIET_MS) await Bun.sleep(QUIET_MS / 4);
    await flow.tail;
    flow.done.resolve("ended");
  } catch (error) {
    if (!ctx.signal.aborted) flow.done.reject(error);
  }
}
