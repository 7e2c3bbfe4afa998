/**
 * Records as they are now: joined with exit files, boot id and live pids. Reads only; a container whose monitor is gone, so that
 * nobody cleans up after it, is noted in `engine.orphans`.
 */
import { readFileSync, statSync } from "node:fs";
import type { ContainerRecord } from "../container/container.ts";
import { isLive, isMonitored, observe, type Probes } from "../container/state.ts";
import { bootId, processStart } from "../sys/host.ts";
import type { Engine } from "./engine.ts";

export function refresh(engine: Engine, record: ContainerRecord): ContainerRecord {
  if (!isLive(record.state.status)) return record;
  const probes = probesOf(engine);
  const state = observe(record, probes);
  if (!isLive(state.status) && !isMonitored(record.state, probes)) engine.orphans.add(record.id);
  return { ...record, state };
}

/** All containers, oldest first. */
export function refreshAll(engine: Engine): ContainerRecord[] {
  return engine.records.list().map((record) => refresh(engine, record));
}

function probesOf(engine: Engine): Probes {
  return {
    bootId,
    startTime: processStart,
    exitOf: (id) => {
      const path = `${engine.paths.exits}/${id}`;
      const atMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
      if (atMs === undefined) return undefined;
      const code = Number.parseInt(readFileSync(path, "utf8"), 10);
      // The monitor makes the file before it writes it.
      return Number.isNaN(code) ? undefined : { code, atMs };
    },
  };
}
