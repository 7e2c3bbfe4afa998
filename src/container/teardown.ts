/**
 * Takes back what a container has on the host while it is up: runtime state and cgroups, network,
 * namespace, mount, run directory. Every step is idempotent and is tried even if one before it
 * failed, so that it can be run again by anybody who finds the rest. The container's lock is held by the caller.
 */
import { readdirSync, rmSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { EngineError, messageOf } from "../core/error.ts";
import type { OciRuntime } from "../runtime/runtime.ts";
import { deleteTree } from "../storage/files.ts";
import { MNT_DETACH } from "../sys/const.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainerDeps } from "./deps.ts";
import { unmountImages } from "./image-mounts.ts";

export interface TeardownOptions {
  /** Leaves the exit file for a caller that has still to record what it says, and removes it then. */
  keepExit?: boolean;
}

/** Errors: the first one, with the later ones as its undo errors. */
export async function teardown(
  ctx: Ctx,
  deps: ContainerDeps,
  record: ContainerRecord,
  options: TeardownOptions = {},
): Promise<void> {
  const errors: unknown[] = [];
  const step = async (name: string, body: () => void | Promise<void>): Promise<void> => {
    try {
      ctx.log.trace(() => `teardown ${name}`);
      await body();
    } catch (error) {
      ctx.log.area("container").debug(`teardown of ${record.id.slice(0, 12)}: ${name}: ${messageOf(error)}`);
      errors.push(error);
    }
  };
  await step("runtime", () => deleteFromRuntime(ctx, deps, record));
  await step("network", () => deps.network.detach(ctx, record.id));
  await step("netns", () => deps.network.removeNetns(record.id));
  await step("mount", () => deps.rootfs.unmount(record.id));
  await step("shm", () => unmountShm(deps, record.id));
  await step("images", () => unmountImages(deps, record.id));
  await step("files", () => deleteTree(deps.sys, deps.paths.runContainer(record.id)));
  if (options.keepExit !== true) await step("exit file", () => removeExitFile(deps, record.id));
  const first = errors.shift();
  if (first === undefined) return;
  const error = first instanceof Error ? first : new Error(String(first));
  if (error instanceof EngineError) error.undoErrors.push(...errors);
  throw error;
}

async function deleteFromRuntime(ctx: Ctx, deps: ContainerDeps, record: ContainerRecord): Promise<void> {
  const runtime = await deps.runtime(ctx, record.state.runtimePath ?? record.spec.runtime);
  // The plain form saves the question for the state, and a process.
  if (hasEnded(deps, record) && deletesPlainly(ctx, runtime, record.id)) return;
  // Rarely needed: ends what nobody has watched to its end.
  const { killMonitors, killProcesses } = await import("./strays.ts");
  killMonitors(deps, record.id);
  runtime.delete(ctx, record.id, { force: true });
  killProcesses(deps, record);
}

/** False when it does not know it, or not as ended: something of it may be left then. */
function deletesPlainly(ctx: Ctx, runtime: OciRuntime, id: string): boolean {
  try {
    return runtime.delete(ctx, id);
  } catch (error) {
    ctx.log.area("container").debug(`delete ${id.slice(0, 12)}: ${messageOf(error)}; trying by force`);
    return false;
  }
}

/** Its first process is gone, and with its pid namespace every other one. */
function hasEnded(deps: ContainerDeps, { spec, state }: ContainerRecord): boolean {
  const isAlone = spec.pid === "" || spec.pid === "private";
  return isAlone && state.pid !== undefined && deps.sys.startTime(state.pid) !== state.pidStart;
}

function unmountShm(deps: ContainerDeps, id: string): void {
  const path = shmPath(deps, id);
  try {
    deps.sys.umount(path, MNT_DETACH);
  } catch {
    // Never mounted: most containers have a private one made by the runtime.
  }
}

/** The shared-memory directory of a container whose IPC namespace others may join. */
export function shmPath(deps: ContainerDeps, id: string): string {
  return `${deps.paths.runContainer(id)}/shm`;
}

/** What the monitor has written of the container's end, or was writing (`ID.XXXXXX`) when it was killed. Idempotent. */
export function removeExitFile({ paths: { exits } }: ContainerDeps, id: string): void {
  rmSync(`${exits}/${id}`, { force: true });
  for (const name of readdirSync(exits)) {
    if (name.startsWith(`${id}.`)) rmSync(`${exits}/${name}`, { force: true });
  }
}
