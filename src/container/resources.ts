/**
 * cgroup limits of a container as the runtime specification words them; runtimes translate the same object for cgroup v1 and
 * v2. A limit whose controller the host does not give is left out with a note, as Docker does.
 */
import type { Resources } from "./container.ts";
import type { HostFacts } from "./spec-input.ts";
import type { OciResources } from "./spec-oci.ts";

/** Podman's default: enough for any service, too few for a fork bomb. */
export const DEFAULT_PIDS_LIMIT = 2048;

type CgroupFacts = HostFacts["cgroup"];

/** All but `devices`, which depends on more than numbers. Call checkResources (resources-check.ts) first. */
export function cgroupResources(wanted: Resources, facts: CgroupFacts, notes: string[]): OciResources {
  const has = (controller: string) => facts.controllers.includes(controller);
  const resources: OciResources = {};
  const memory = memoryOf(wanted, facts, notes);
  if (memory !== undefined && supported("memory", has("memory"), notes)) resources.memory = memory;
  const cpu = cpuOf(wanted, has, notes);
  if (Object.keys(cpu).length > 0) resources.cpu = cpu;
  const pids = pidsOf(wanted, has("pids"), notes);
  if (pids !== undefined) resources.pids = { limit: pids };
  if (wanted.blkioWeight !== undefined && supported("block I/O weight", facts.blkioWeight, notes)) {
    resources.blockIO = { weight: wanted.blkioWeight };
  }
  return resources;
}

function supported(what: string, available: boolean, notes: string[]): boolean {
  if (!available) notes.push(`this host cannot limit ${what}: limit left out`);
  return available;
}

function memoryOf(wanted: Resources, facts: CgroupFacts, notes: string[]): OciResources["memory"] {
  const memory: NonNullable<OciResources["memory"]> = {};
  if (wanted.memory !== undefined && wanted.memory > 0) {
    memory.limit = wanted.memory;
    // A limit on memory alone would only push the container into swap; twice is what Docker and Podman set.
    const swap =
      wanted.memorySwap === undefined || wanted.memorySwap === 0 ? wanted.memory * 2 : wanted.memorySwap;
    if (facts.swapLimit) memory.swap = swap;
    else if (wanted.memorySwap !== undefined) supported("swap", false, notes);
  }
  if (wanted.memoryReservation !== undefined && wanted.memoryReservation > 0)
    memory.reservation = wanted.memoryReservation;
  if (wanted.oomKillDisable === true) {
    if (facts.mode === "v2") supported("the OOM killer on cgroup v2", false, notes);
    else memory.disableOOMKiller = true;
  }
  return Object.keys(memory).length > 0 ? memory : undefined;
}

function cpuOf(
  wanted: Resources,
  has: (controller: string) => boolean,
  notes: string[],
): NonNullable<OciResources["cpu"]> {
  const cpu: NonNullable<OciResources["cpu"]> = {};
  if (wanted.cpuShares !== undefined && wanted.cpuShares > 0) cpu.shares = wanted.cpuShares;
  if (wanted.cpuQuota !== undefined && wanted.cpuQuota !== 0) cpu.quota = wanted.cpuQuota;
  if (wanted.cpuPeriod !== undefined && wanted.cpuPeriod > 0) cpu.period = wanted.cpuPeriod;
  if (Object.keys(cpu).length > 0 && !supported("cpu", has("cpu"), notes)) {
    delete cpu.shares;
    delete cpu.quota;
    delete cpu.period;
  }
  const set = {
    ...(wanted.cpusetCpus ? { cpus: wanted.cpusetCpus } : {}),
    ...(wanted.cpusetMems ? { mems: wanted.cpusetMems } : {}),
  };
  return Object.keys(set).length > 0 && supported("cpuset", has("cpuset"), notes) ? { ...cpu, ...set } : cpu;
}

function pidsOf(wanted: Resources, available: boolean, notes: string[]): number | undefined {
  const limit = wanted.pidsLimit ?? DEFAULT_PIDS_LIMIT;
  if (limit <= 0) return undefined;
  if (available) return limit;
  if (wanted.pidsLimit !== undefined) supported("the number of processes", false, notes);
  return undefined;
}
