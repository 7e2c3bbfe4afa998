/** system check and reset. */
import { readdirSync, rmSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { check as checkStore, type Finding } from "../storage/check.ts";
import { sweepLocks } from "../storage/recover.ts";
import { cgroupMode, removeCgroup } from "../sys/cgroup.ts";
import type { Engine } from "./engine.ts";
import { remove } from "./remove.ts";

/** What is damaged or left over in the store. `repair` removes only that; `quick` does not read blobs. */
export async function check(
  ctx: Ctx,
  engine: Engine,
  request: { repair: boolean; quick: boolean },
): Promise<{ findings: Finding[] }> {
  const { recover } = await import("./recover.ts");
  await recover(ctx, engine);
  sweepLocks(engine);
  const known = (): Set<string> =>
    new Set(engine.db.all<{ id: string }>("SELECT id FROM containers").map(({ id }) => id));
  const inUse = (id: string): string[] => engine.records.usersOf(id);
  const findings = await checkStore(ctx, engine.store, { ...request, containers: known, inUse });
  const { checkContainers } = await import("./check-containers.ts");
  findings.push(...(await checkContainers(ctx, engine, request.repair)));
  const { checkImageMounts } = await import("./image-mount.ts");
  findings.push(...(await checkImageMounts(ctx, engine, request.repair)));
  return { findings };
}

/** Takes the whole store apart: containers (running ones too), images, networks, volumes, files. */
export async function reset(ctx: Ctx, engine: Engine): Promise<void> {
  const { recover } = await import("./recover.ts");
  await recover(ctx, engine);
  for (const record of engine.records.list()) {
    await remove(ctx, engine, { container: record.id, force: true, volumes: true });
  }
  // A damaged store above all must be possible to take apart.
  const { checkContainers } = await import("./check-containers.ts");
  await checkContainers(ctx, engine, true);
  const { unmountAll } = await import("./image-mount.ts");
  await unmountAll(ctx, engine);
  for (const network of engine.network.list()) engine.network.destroy(ctx, network.name);
  for (const name of readdirSync(engine.paths.netns)) engine.network.removeNetns(name);
  engine.close();
  removeCgroup(cgroupMode(), engine.cgroup);
  for (const path of [engine.paths.run, engine.paths.root]) rmSync(path, { recursive: true, force: true });
}
