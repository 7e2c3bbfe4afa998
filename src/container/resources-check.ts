/** Bounds of resource limits, checked before anything is made. */
import { fail } from "../core/error.ts";
import type { Resources } from "./container.ts";
import { checkLine, quote } from "./spec-text.ts";

const MIN_MEMORY = 6 * 1024 * 1024;

/** Zero and undefined both mean "not set", as in the Docker API. */
type Value = number | undefined;

/** Errors: invalid-argument naming the limit; the bounds are the kernel's, the memory floor is Docker's. */
export function checkResources(wanted: Resources): void {
  for (const [name, value] of Object.entries(wanted)) {
    if (typeof value === "number" && !Number.isSafeInteger(value))
      throw invalid(name, value, "use a whole number");
  }
  checkMemory(wanted);
  checkRange("cpu period", wanted.cpuPeriod, [1000, 1_000_000]);
  checkRange("cpu shares", wanted.cpuShares, [2, 262_144]);
  checkRange("block I/O weight", wanted.blkioWeight, [10, 1000]);
  if ((wanted.cpuQuota ?? 0) > 0) checkRange("cpu quota", wanted.cpuQuota, [1000, Number.MAX_SAFE_INTEGER]);
  if ((wanted.pidsLimit ?? 0) < -1) throw invalid("pids limit", wanted.pidsLimit, "use -1 for no limit");
  checkCpuset("cpuset cpus", wanted.cpusetCpus);
  checkCpuset("cpuset mems", wanted.cpusetMems);
}

function checkMemory(wanted: Resources): void {
  const memory = wanted.memory ?? 0;
  const swap = wanted.memorySwap ?? 0;
  const reservation = wanted.memoryReservation ?? 0;
  checkRange("memory limit", memory, [MIN_MEMORY, Number.MAX_SAFE_INTEGER]);
  checkRange("memory reservation", reservation, [MIN_MEMORY, Number.MAX_SAFE_INTEGER]);
  if (swap < -1) throw invalid("memory-swap", swap, "use -1 for unlimited swap");
  if (swap > 0 && memory === 0) throw invalid("memory-swap", swap, "give --memory as well");
  if (swap > 0 && swap < memory)
    throw invalid("memory-swap", swap, `it is memory plus swap: at least ${memory}`);
  if (memory > 0 && reservation > memory) {
    throw invalid("memory reservation", reservation, `it cannot exceed the limit ${memory}`);
  }
}

function checkRange(name: string, value: Value, [min, max]: readonly [number, number]): void {
  if (value === undefined || value === 0 || (value >= min && value <= max)) return;
  throw invalid(
    name,
    value,
    max === Number.MAX_SAFE_INTEGER ? `use at least ${min}` : `use ${min} to ${max}`,
  );
}

function checkCpuset(name: string, list: string | undefined): void {
  if (list === undefined || list === "" || /^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(checkLine(name, list))) return;
  throw fail("invalid-argument", `invalid ${name} ${quote(list)}`, { hint: 'use a list such as "0-2,4"' });
}

function invalid(name: string, value: Value, hint: string): Error {
  return fail("invalid-argument", `invalid ${name} ${value}`, { hint });
}
