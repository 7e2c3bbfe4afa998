/** Ctrl-C and its kin as an abort of the running verb. */
import { fail } from "../core/error.ts";

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

export interface Signals {
  /** Number of the signal that aborted, if one did. */
  received(): number | undefined;
  release(): void;
}

/**
 * The first signal aborts, so that undo runs; a second one ends the program at once. `release`
 * gives the signals back, for commands that pass them on to a container.
 */
export function abortOnSignals(abort: AbortController): Signals {
  let received: number | undefined;
  const handlers = Object.entries(SIGNALS).map(([name, number]) => {
    const handler = (): void => {
      if (abort.signal.aborted) process.exit(128 + number);
      received = number;
      abort.abort(fail("canceled", `interrupted by ${name}`));
    };
    process.on(name, handler);
    return [name, handler] as const;
  });
  return {
    received: () => received,
    release: () => {
      for (const [name, handler] of handlers) process.off(name, handler);
    },
  };
}
