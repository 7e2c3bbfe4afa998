/**
 * conmon's side channels (`_OCI_SYNCPIPE`, `_OCI_ATTACHPIPE`): JSON objects, one a line, `{"data": N, "message": "…"}`.
 * A negative number is a failure and the message the runtime's stderr.
 */
import { linux } from "../sys/linux.ts";
import type { Fd } from "../sys/sys.ts";

export interface SyncMessage {
  data: number;
  message?: string;
}

/** conmon escapes by hand and passes bytes that are not UTF-8 through, so the text may not be JSON. */
export function parseSyncMessage(line: string): SyncMessage | undefined {
  const data = /"data"\s*:\s*(-?\d+)/.exec(line)?.[1];
  if (data === undefined) return undefined;
  const quoted = /"message"\s*:\s*("(?:[^"\\]|\\.)*")/s.exec(line)?.[1];
  if (quoted === undefined) return { data: Number(data) };
  return { data: Number(data), message: unquoted(quoted) };
}

function unquoted(quoted: string): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return quoted.slice(1, -1).replaceAll("\\n", "\n").replaceAll(/\\(.)/g, "$1");
  }
}

/** More than this without a newline is not a message. */
const LONGEST_LINE = 1024 * 1024;

/** Our end of a channel; the other end ({@link peer}) is given to the monitor and must be closed here after the spawn. */
export class SyncChannel implements Disposable {
  readonly peer: Fd;
  #socket: Bun.Socket | undefined;
  #buffered = "";
  #ended = false;
  #wake: (() => void) | undefined;

  private constructor(peer: Fd) {
    this.peer = peer;
  }

  static async open(): Promise<SyncChannel> {
    const [ours, peer] = linux.socketpair("stream");
    const channel = new SyncChannel(peer);
    try {
      channel.#socket = await Bun.connect({ fd: ours, socket: channel.#handlers() } as never);
    } catch (error) {
      linux.close(ours);
      linux.close(peer);
      throw error;
    }
    return channel;
  }

  #handlers(): object {
    const decoder = new TextDecoder();
    const end = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    return {
      data: (_socket: unknown, bytes: Uint8Array) => {
        if (this.#buffered.length < LONGEST_LINE) this.#buffered += decoder.decode(bytes, { stream: true });
        this.#wake?.();
      },
      end,
      close: end,
      error: end,
    };
  }

  /** The next message, or undefined when the other side has closed or `signal` aborts. One caller at a time. */
  async next(signal?: AbortSignal): Promise<SyncMessage | undefined> {
    for (;;) {
      const newline = this.#buffered.indexOf("\n");
      // conmon ends each message with a newline, but a last one without it is still worth reading.
      if (newline >= 0 || (this.#ended && this.#buffered !== "")) {
        const line = newline >= 0 ? this.#buffered.slice(0, newline) : this.#buffered;
        this.#buffered = this.#buffered.slice(line.length + 1);
        const message = parseSyncMessage(line);
        if (message !== undefined) return message;
        continue;
      }
      if (this.#ended || signal?.aborted === true) return undefined;
      await this.#woken(signal);
    }
  }

  async #woken(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    signal?.addEventListener("abort", this.#wake, { once: true });
    await promise;
    signal?.removeEventListener("abort", this.#wake);
    this.#wake = undefined;
  }

  [Symbol.dispose](): void {
    this.#socket?.end();
    this.#socket = undefined;
    this.#ended = true;
    this.#wake?.();
  }
}
