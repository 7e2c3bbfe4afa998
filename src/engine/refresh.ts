/**
 * Records as they are now: joined with exit files, boot id and live pids. Reads only; a container whose monitor is gone, so that
 * nobody cleans up after it, is noted in `engine.orphans`.
 */
import { readFileSync, statSync } from "node:fs";
import type { ContainerRecord, ContainerState } from "../container/container.ts";
import { isLive, isMonitored, observe, type Probes } from "../container/state.ts";
import { hasCode } from "../sys/errno.ts";
import { bootId, processStart } from "../sys/host.ts";
import type { Engine } from "./engine.ts";

export function refresh(engine: Engine, record: ContainerRecord): ContainerRecord {
  if (!isLive(record.state.status)) return record;
  const probes = probesOf(engine);
  const state = observe(record, probes);
  if (isLost(record, state)) {
    // Somebody may have cleaned up, exit file and all, since the record was read: then it tells more.
    const now = engine.records.get(record.id);
    if (now !== undefined && !isLive(now.state.status)) return now;
  }
  if (!isLive(state.status) && !isMonitored(record.state, probes)) engine.orphans.add(record.id);
  return { ...record, state };
}

function isLost({ state: before }: ContainerRecord, now: ContainerState): boolean {
  return !isLive(now.status) && now.error !== undefined && now.error !== before.error;
}

/** All containers, oldest first. */
export function refreshAll(engine: Engine): ContainerRecord[] {
  return engine.records.list().map((record) => refresh(engine, record));
}

function probesOf(engine: Engine): Probes {
  return {
    bootId,
    startTime: processStart,
    exitOf: (id) => exitIn(`${engine.paths.exits}/${id}`),
  };
}

/** Undefined while there is none; it may go at any time, when somebody has cleaned up. */
function exitIn(path: string): { code: number; atMs: number } | undefined {
  try {
    const atMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    if (atMs === undefined) return undefined;
    const code = Number.parseInt(readFileSync(path, "utf8"), 10);
    // The monitor makes the file before it writes it.
    return Number.isNaN(code) ? undefined : { code, atMs };
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
