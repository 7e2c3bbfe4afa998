/** Facts of this host for the specification builder, read once a process. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cgroupDirectory, type CgroupHost, cgroupMode } from "../sys/cgroup.ts";
import { capabilities, hostname, limits, securityFeatures } from "../sys/host.ts";
import type { Sys } from "../sys/sys.ts";
import type { HostFacts } from "./spec-input.ts";

let facts: HostFacts | undefined;

export function hostFacts(sys: Sys): HostFacts {
  facts ??= read(sys);
  return facts;
}

function read(sys: Sys): HostFacts {
  const own = capabilities();
  return {
    cgroup: cgroupFacts(cgroupMode()),
    limits: limits(sys),
    canRaise: own.effective.includes("CAP_SYS_RESOURCE"),
    oomScoreAdj: Number(readFileSync("/proc/self/oom_score_adj", "utf8")),
    capabilities: own.bounding,
    ...securityFeatures(),
    rootless: process.geteuid?.() !== 0,
    ttyGid: true,
    hostname: hostname(),
    extraMaskedPaths: thermalThrottlePaths(),
  };
}

function cgroupFacts(host: CgroupHost): HostFacts["cgroup"] {
  const has = (controller: string, file: string): boolean => {
    const directory = cgroupDirectory(host, controller, "/");
    return directory !== undefined && existsSync(`${directory}/${file}`);
  };
  if (host.mode === "unified") {
    // The root cgroup has neither file; a kernel that can limit swap says so here.
    return {
      mode: "v2",
      controllers: host.controllers,
      swapLimit: existsSync("/proc/swaps"),
      blkioWeight: false,
    };
  }
  return {
    mode: host.mode === "hybrid" ? "hybrid" : "v1",
    controllers: host.controllers,
    swapLimit: has("memory", "memory.memsw.limit_in_bytes"),
    blkioWeight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
  };
}

/** Each CPU's thermal throttling counters tell of other tenants' load. */
function thermalThrottlePaths(): string[] {
  const cpus = "/sys/devices/system/cpu";
  return readdirSync(cpus)
    .filter((name) => /^cpu\d+$/.test(name))
    .map((name) => `${cpus}/${name}/thermal_throttle`)
    .filter((path) => existsSync(path));
}
