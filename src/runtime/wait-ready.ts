/**
 * Waiting for descriptors without streams. A command that serves only its own terminal may *block* its thread
 * in ppoll(2): the wake-up then costs microseconds. A process that serves others must not; it looks at growing
 * intervals instead.
 */
import type { PollEntry } from "../sys/sys.ts";
import { linux } from "../sys/linux.ts";

/** A signal may arrive between the JS loop's turn and the poll; this bounds how long its handler can wait. */
const LONGEST_BLOCK_MS = 100;
const LONGEST_PAUSE_MS = 16;

export interface ReadyOptions {
  /** True only where nobody else is served by this process. */
  blocking: boolean;
  signal: AbortSignal;
  /** Resolves with all zeros after this time. */
  timeoutMs?: number;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Resolves with the `revents` of each entry as soon as one is ready; all zeros after `timeoutMs`, after an abort
 * and, when blocking, after a signal (whose handler has run by then).
 */
export async function waitReady(entries: PollEntry[], options: ReadyOptions): Promise<number[]> {
  const deadline = performance.now() + (options.timeoutMs ?? Infinity);
  for (let pause = 1; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    const left = Math.max(0, Math.min(LONGEST_BLOCK_MS, deadline - performance.now()));
    const ready = linux.poll(entries, options.blocking ? left : 0);
    if (ready.some((events) => events !== 0)) return ready;
    if (options.blocking) await nextTurn();
    else await Bun.sleep(Math.min(pause, left));
    if (options.blocking || options.signal.aborted || performance.now() >= deadline) return ready;
  }
}
