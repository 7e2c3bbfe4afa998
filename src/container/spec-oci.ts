/**
 * The part of the OCI runtime specification's `config.json` that berth writes (runtime-spec 1.0.2, which both
 * runc 1.1 and crun 1.8 read). Names and casing are the specification's.
 */

/** The version written: the newest one that the oldest supported runtimes accept. */
export const OCI_VERSION = "1.0.2";

/** RLIM_INFINITY: a number of JSON that a JavaScript number cannot hold. */
export const UNLIMITED = 18446744073709551615n;

export interface OciMount {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
}

export interface OciRlimit {
  type: string;
  soft: number | bigint;
  hard: number | bigint;
}

export interface OciCapabilities {
  bounding: string[];
  effective: string[];
  permitted: string[];
  inheritable: string[];
  ambient: string[];
}

export interface OciUser {
  uid: number;
  gid: number;
  umask?: number;
  additionalGids?: number[];
}

export interface OciProcess {
  terminal: boolean;
  /** Characters. */
  consoleSize?: { height: number; width: number };
  user: OciUser;
  args: string[];
  env: string[];
  cwd: string;
  capabilities: OciCapabilities;
  rlimits: OciRlimit[];
  noNewPrivileges: boolean;
  oomScoreAdj?: number;
  apparmorProfile?: string;
}

export interface OciNamespace {
  type: "pid" | "network" | "ipc" | "uts" | "mount" | "cgroup" | "user" | "time";
  path?: string;
}

export interface OciDevice {
  path: string;
  type: "c" | "b" | "p";
  major: number;
  minor: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface OciDeviceRule {
  allow: boolean;
  type?: "a" | "c" | "b";
  major?: number;
  minor?: number;
  access: string;
}

export interface OciResources {
  devices?: OciDeviceRule[];
  memory?: { limit?: number; reservation?: number; swap?: number; disableOOMKiller?: boolean };
  cpu?: { shares?: number; quota?: number; period?: number; cpus?: string; mems?: string };
  pids?: { limit: number };
  blockIO?: { weight: number };
}

export interface OciSeccompArg {
  index: number;
  value: number | bigint;
  valueTwo?: number | bigint;
  op:
    | "SCMP_CMP_EQ"
    | "SCMP_CMP_NE"
    | "SCMP_CMP_GE"
    | "SCMP_CMP_GT"
    | "SCMP_CMP_LE"
    | "SCMP_CMP_LT"
    | "SCMP_CMP_MASKED_EQ";
}

export interface OciSeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: OciSeccompArg[];
}

export interface OciSeccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures: string[];
  syscalls: OciSeccompRule[];
}

export interface OciLinux {
  namespaces: OciNamespace[];
  devices: OciDevice[];
  resources: OciResources;
  cgroupsPath: string;
  sysctl: Record<string, string>;
  maskedPaths: string[];
  readonlyPaths: string[];
  rootfsPropagation?: string;
  seccomp?: OciSeccomp;
}

export interface OciSpec {
  ociVersion: string;
  process: OciProcess;
  root: { path: string; readonly: boolean };
  hostname?: string;
  mounts: OciMount[];
  annotations: Record<string, string>;
  linux: OciLinux;
}

interface RawJson {
  rawJSON(text: string): unknown;
}

/** `config.json`, or a part of it, as text. Needed in place of JSON.stringify because an unlimited rlimit does not fit a number. */
export function encodeSpec(spec: object, indent?: number): string {
  const raw = JSON as unknown as RawJson;
  return JSON.stringify(
    spec,
    (_, value: unknown) => (typeof value === "bigint" ? raw.rawJSON(String(value)) : value),
    indent,
  );
}
