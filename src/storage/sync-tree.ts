/**
 * Making many new files durable: one syncfs(2) of the store's file system instead of an fsync a file, and one for all layers that
 * become ready while another runs. It may take seconds, during which others download and unpack, so `sync -f` of coreutils makes the call.
 */
import { statfsSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { fail, isKind } from "../core/error.ts";
import { AT_FDCWD, O_DIRECTORY, O_RDONLY } from "../sys/const.ts";
import type { Sys } from "../sys/sys.ts";

const TMPFS = 0x01021994;

export class TreeSync {
  readonly #sys: Sys;
  readonly #path: string;
  #running: Promise<void> | undefined;
  /** Those who came after the running one had begun. */
  #next: Promise<void> | undefined;

  /** `path` is a directory on the file system. */
  constructor(sys: Sys, path: string) {
    this.#sys = sys;
    this.#path = path;
  }

  /** All that was written before the call is on the disk when it resolves. Errors: data-loss, those of syncfs. */
  async sync(ctx: Ctx): Promise<void> {
    if (this.#running === undefined) return await this.#begin(ctx);
    this.#next ??= this.#running.then(
      () => this.#begin(ctx),
      () => this.#begin(ctx),
    );
    return await this.#next;
  }

  #begin(ctx: Ctx): Promise<void> {
    this.#next = undefined;
    const running = this.#sync(ctx).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #sync(ctx: Ctx): Promise<void> {
    // Nothing there outlives the machine.
    if (statfsSync(this.#path).type === TMPFS) return this.#syncHere();
    const { spawn } = await import("../sys/spawn.ts");
    try {
      const child = spawn(ctx, ["sync", "-f", this.#path], { stdio: ["ignore", "ignore", "pipe"] });
      const [said, { exitCode }] = await Promise.all([
        new Response(child.stderr as never).text(),
        child.exited,
      ]);
      if (exitCode === 0) return;
      throw fail("data-loss", `cannot make "${this.#path}" durable: ${said.trim()}`, { reason: "sync" });
    } catch (error) {
      if (!isKind(error, "not-found")) throw error;
      this.#syncHere();
    }
  }

  #syncHere(): void {
    const fd = this.#sys.openat(AT_FDCWD, this.#path, O_RDONLY | O_DIRECTORY);
    try {
      this.#sys.syncfs(fd);
    } finally {
      this.#sys.close(fd);
    }
  }
}
