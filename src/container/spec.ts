/**
 * From a request to the OCI runtime specification: image config + ContainerSpec + host facts → config.json. Pure: no I/O, no
 * clock, no environment; the same input gives the same bytes (golden files in test/golden/spec).
 *
 * Worked example: `buildSpec(input)` → `encodeSpec(built.spec)` is the bundle's config.json; the caller has made
 * `built.workdir` inside the root and prints `built.notes` at debug level.
 */
import { fail } from "../core/error.ts";
import { capabilitySets } from "./capabilities.ts";
import { deviceNodes, deviceRules } from "./devices.ts";
import { rootPropagation } from "./mounts-options.ts";
import { containerMounts, initTarget } from "./mounts.ts";
import { oomScoreAdjust, processArgs, processEnv, processLimits, workingDirectory } from "./process.ts";
import { checkResources } from "./resources-check.ts";
import { cgroupResources } from "./resources.ts";
import { specAnnotations } from "./spec-annotations.ts";
import type { BuiltSpec, SpecInput } from "./spec-input.ts";
import { hostnameOf, type Namespaces, namespacesOf, sysctlsOf } from "./spec-namespaces.ts";
import { OCI_VERSION, type OciLinux, type OciProcess, type OciResources, type OciSpec } from "./spec-oci.ts";
import {
  apparmorProfile,
  parseSecurityOptions,
  restrictedPaths,
  type SecurityOptions,
} from "./spec-security.ts";
import { absolutePath } from "./spec-text.ts";

const DEFAULT_UMASK = 0o022;

/** Errors: invalid-argument (the request, or text of the image), unimplemented or unavailable (the host lacks what was asked for). */
export function buildSpec(input: SpecInput): BuiltSpec {
  const { spec } = input;
  const notes: string[] = [];
  checkResources(spec.resources);
  const namespaces = namespacesOf(input);
  const security = parseSecurityOptions(spec.securityOpt, spec.privileged);
  const hostname = hostnameOf(spec, input.id, input.host.hostname);
  const workdir = workingDirectory(spec, input.image);
  const mounts = containerMounts({ input, namespaces, security });
  const built: OciSpec = {
    ociVersion: OCI_VERSION,
    process: processOf({ input, security, hostname, notes }, workdir),
    root: { path: absolutePath("root", input.rootfs), readonly: spec.readOnly },
    ...(namespaces.uts.kind === "private" ? { hostname } : {}),
    mounts,
    annotations: specAnnotations(input, notes),
    linux: linuxOf(input, { namespaces, security, notes }),
  };
  const propagation = rootPropagation(mounts);
  if (propagation !== undefined) built.linux.rootfsPropagation = propagation;
  return { spec: built, notes, workdir };
}

interface ProcessContext {
  input: SpecInput;
  security: SecurityOptions;
  hostname: string;
  notes: string[];
}

function processOf({ input, security, hostname, notes }: ProcessContext, cwd: string): OciProcess {
  const { spec, user, host, image } = input;
  const oomScoreAdj = oomScoreAdjust(spec.oomScoreAdj ?? spec.resources.oomScoreAdj, host, notes);
  const apparmor = apparmorProfile(security, host);
  const init = spec.init ? [initTarget(input), "--"] : [];
  const capabilities = {
    add: spec.capAdd,
    drop: spec.capDrop,
    privileged: spec.privileged,
    uid: user.uid,
    available: host.capabilities,
  };
  return {
    terminal: spec.terminal,
    user: { uid: user.uid, gid: user.gid, umask: umaskOf(spec.umask), additionalGids: user.additionalGids },
    args: [...init, ...processArgs(spec, image)],
    env: processEnv({ spec, image, hostEnv: input.hostEnv, home: user.home, hostname }),
    cwd,
    capabilities: capabilitySets(capabilities, notes),
    rlimits: processLimits(spec.ulimits, host, notes),
    noNewPrivileges: security.noNewPrivileges,
    ...(oomScoreAdj === undefined ? {} : { oomScoreAdj }),
    ...(apparmor === undefined ? {} : { apparmorProfile: apparmor }),
  };
}

function umaskOf(umask: number | undefined): number {
  if (umask === undefined) return DEFAULT_UMASK;
  if (!Number.isInteger(umask) || umask < 0 || umask > 0o777) {
    throw fail("invalid-argument", `invalid umask ${umask}`, { hint: "use octal 0 to 777" });
  }
  return umask;
}

interface LinuxContext {
  namespaces: Namespaces;
  security: SecurityOptions;
  notes: string[];
}

function linuxOf(input: SpecInput, { namespaces, security, notes }: LinuxContext): OciLinux {
  const { host } = input;
  const linux: OciLinux = {
    namespaces: namespaces.list,
    devices: deviceNodes(input.devices),
    resources: resourcesOf(input, notes),
    cgroupsPath: input.cgroupsPath,
    sysctl: sysctlsOf(input.spec, namespaces, host.rootless),
    ...restrictedPaths(security, host.extraMaskedPaths),
  };
  if (input.seccomp?.kind === "profile") linux.seccomp = input.seccomp.profile;
  return linux;
}

/** Device rules need real root; without it the host's own permissions decide. */
function resourcesOf(input: SpecInput, notes: string[]): OciResources {
  const { spec, host } = input;
  const limits = cgroupResources(spec.resources, host.cgroup, notes);
  return host.rootless ? limits : { devices: deviceRules(input.devices, spec.privileged), ...limits };
}
