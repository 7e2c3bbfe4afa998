/** The part of `system check` that looks at containers and at what the host has of them. */
import { readdirSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import type { ContainerRecord, ContainerSpec } from "../container/container.ts";
import { teardown } from "../container/teardown.ts";
import type { Finding } from "../storage/check.ts";
import { cgroupDirectories, cgroupMode } from "../sys/cgroup.ts";
import { hasCode } from "../sys/errno.ts";
import type { Engine } from "./engine.ts";
import { lockContainer } from "./lock.ts";

/** Kinds: "container-damaged" (record), "run-orphan" (run files, namespace, cgroup), "orphan-network-lease". */
export async function checkContainers(ctx: Ctx, engine: Engine, repair: boolean): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { id, name } of engine.records.damaged()) {
    if (repair) await forgetDamaged(ctx, engine, id);
    const detail = `the record of "${name}" cannot be read`;
    findings.push({ kind: "container-damaged", object: id, detail, repaired: repair });
  }
  for (const [id, places] of orphans(engine)) {
    if (repair) await takeDown(ctx, engine, id);
    const detail = `${places.join(", ")} of a container that has no record`;
    findings.push({ kind: "run-orphan", object: id, detail, repaired: repair });
  }
  for (const id of engine.network.leaseHolders()) {
    if (isKnown(engine, id)) continue;
    if (repair) engine.network.detach(ctx, id);
    const detail = "addresses of a container that has no record";
    findings.push({ kind: "orphan-network-lease", object: id, detail, repaired: repair });
  }
  return findings;
}

/** By id, where something of it was found. Records come before all of this, so they are asked after it was listed. */
function orphans(engine: Engine): Map<string, string[]> {
  const { paths, cgroup } = engine;
  const places: Record<string, string[]> = {
    "run files": names(`${paths.run}/containers`),
    "an exit file": names(paths.exits),
    "a network namespace": names(paths.netns),
    "a cgroup": cgroupDirectories(cgroupMode(), cgroup).flatMap(names),
  };
  const found = new Map<string, string[]>();
  for (const [place, ids] of Object.entries(places)) {
    for (const id of new Set(ids)) {
      if (!/^[0-9a-f]{64}$/.test(id) || isKnown(engine, id)) continue;
      found.set(id, [...(found.get(id) ?? []), place]);
    }
  }
  return found;
}

function isKnown(engine: Engine, id: string): boolean {
  return engine.db.get("SELECT 1 AS one FROM containers WHERE id = ?", id) !== undefined;
}

function names(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return [];
    throw error;
  }
}

async function forgetDamaged(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  await takeDown(ctx, engine, id);
  engine.rootfs.remove(id);
  engine.db.tx(() => {
    engine.records.delete(id);
    engine.operations.end(id);
  });
}

/** Everything of a container of which only the id is known. */
async function takeDown(ctx: Ctx, engine: Engine, id: string): Promise<void> {
  using _lock = await lockContainer(ctx, engine, id);
  const unknown = { runtime: "", pid: "" } as ContainerSpec;
  const record: ContainerRecord = {
    id,
    name: "",
    created: "",
    spec: unknown,
    state: { status: "created", restarts: 0 },
  };
  await teardown(ctx, engine, record);
}
