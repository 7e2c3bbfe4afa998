/**
 * A runtime that is killed while it creates a container (the host was out of memory) may leave the container's first process, which
 * waits for ever to be started and holds the pipe on which conmon waits for the runtime's last words. Nobody would move again.
 */
import { SIGKILL } from "../sys/const.ts";
import { hasCode } from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import { childrenOf } from "../sys/process-table.ts";
import { readPid } from "./conmon.ts";

const LOOK_EVERY_MS = 250;

/**
 * Watches a monitor that creates a container until it is disposed of. When twice in a row no runtime is at work below it, only what
 * lives in another pid namespace, that is killed; the monitor then reports a failure.
 */
export class CreateWatch implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #looks = 0;
  #fired = false;

  constructor(monitorPidFile: string) {
    this.#timer = setInterval(() => this.#look(monitorPidFile), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** True if the runtime was found to be gone. */
  get fired(): boolean {
    return this.#fired;
  }

  #look(monitorPidFile: string): void {
    const monitor = readPid(monitorPidFile);
    if (monitor === undefined) return;
    const { own, inside } = childrenOf(monitor);
    this.#looks = own.length === 0 && inside.length > 0 ? this.#looks + 1 : 0;
    if (this.#looks < 2) return;
    this.#fired = true;
    for (const pid of inside) {
      try {
        linux.kill(pid, SIGKILL);
      } catch (error) {
        if (!hasCode(error, "ESRCH")) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
