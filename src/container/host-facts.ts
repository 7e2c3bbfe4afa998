/** Facts of this host for the specification builder, read once a process. */
import { cgroupFacts } from "../sys/cgroup.ts";
import {
  capabilities,
  hostname,
  limits,
  oomScoreAdj,
  securityFeatures,
  thermalThrottlePaths,
} from "../sys/host.ts";
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
    cgroup: cgroupFacts(),
    limits: limits(sys),
    canRaise: own.effective.includes("CAP_SYS_RESOURCE"),
    oomScoreAdj: oomScoreAdj(),
    capabilities: own.bounding,
    ...securityFeatures(),
    rootless: process.geteuid?.() !== 0,
    ttyGid: true,
    hostname: hostname(),
    extraMaskedPaths: thermalThrottlePaths(),
  };
}
