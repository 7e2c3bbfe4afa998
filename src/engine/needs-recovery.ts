/** Is there anything to recover? Asked before every command: one small file and two queries on tables that are nearly always empty. */
import { readFileSync } from "node:fs";
import { bootId } from "../sys/host.ts";
import type { Engine } from "./engine.ts";

export function needsRecovery(engine: Engine): boolean {
  if (isNewBoot(engine) || engine.operations.abandoned().length > 0) return true;
  // The store's code is loaded only when there is a lease at all.
  return engine.db.get("SELECT 1 FROM leases LIMIT 1") !== undefined && engine.leases.dead().length > 0;
}

/** Says which boot the run directory belongs to; /run need not be emptied at a reboot. */
export function bootFile(engine: Engine): string {
  return `${engine.paths.run}/boot`;
}

export function isNewBoot(engine: Engine): boolean {
  try {
    return readFileSync(bootFile(engine), "utf8") !== bootId();
  } catch {
    return true;
  }
}
