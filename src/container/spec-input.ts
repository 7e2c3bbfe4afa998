/**
 * What buildSpec is told: the request, the image, and facts of the host that others have read. Nothing here is looked up by
 * the builder itself, so that one input always gives one specification.
 */
import type { ImageConfig } from "../image/image.ts";
import type { ContainerSpec, MountRequest } from "./container.ts";
import type { OciSeccomp, OciSpec } from "./spec-oci.ts";
import type { ResolvedUser } from "./users.ts";

/** -1 is unlimited. */
export interface Limit {
  soft: number;
  hard: number;
}

export interface HostFacts {
  cgroup: {
    mode: "v1" | "hybrid" | "v2";
    /** Controllers that containers can be given: "memory", "cpu", "cpuset", "pids", "blkio" or "io", "devices", … */
    controllers: string[];
    /** Memory plus swap can be limited (`memory.memsw.*` or `memory.swap.max` exists). */
    swapLimit: boolean;
    /** `blkio.weight`, `blkio.bfq.weight` or `io.weight` exists. */
    blkioWeight: boolean;
  };
  /** Own limits by the names of --ulimit ("nofile", "nproc", …); what is absent is not clamped. */
  limits: Record<string, Limit>;
  /** CAP_SYS_RESOURCE in effect: hard limits may be raised and oom_score_adj lowered. */
  canRaise: boolean;
  /** Own /proc/self/oom_score_adj. */
  oomScoreAdj: number;
  /** Own bounding set, as "CAP_CHOWN" (capabilitiesFromMask). */
  capabilities: string[];
  /** The kernel filters system calls. */
  seccomp: boolean;
  apparmor: boolean;
  selinux: boolean;
  /** Inside a user namespace without the host's root. */
  rootless: boolean;
  /** False where gid 5 (tty) is not mapped, rootless only. */
  ttyGid: boolean;
  hostname: string;
  /** Paths below /sys to mask beside the fixed ones: the thermal_throttle directories that exist. */
  extraMaskedPaths: string[];
}

/** A device of the host, already looked up with stat. */
export interface HostDevice {
  /** Path in the container. */
  path: string;
  type: "c" | "b";
  major: number;
  minor: number;
  /** Permission bits and type as stat gave them; only the permission bits are used. */
  mode: number;
  uid: number;
  gid: number;
  /** Subset of "rwm". */
  access: string;
}

/** Host paths of files the engine made for this container; each is bound unless the user mounts over it. */
export interface SpecFiles {
  hosts?: string;
  resolvConf?: string;
  hostname?: string;
  /** A tmpfs of its own for /dev/shm that others can join; without it the runtime mounts a private one. */
  shmPath?: string;
}

/** Namespace files of other containers ("/proc/123/ns/ipc"), for "container:NAME" modes. */
export interface JoinedNamespaces {
  pid?: string;
  ipc?: string;
  uts?: string;
  cgroup?: string;
}

/** The filter of this container: ready BPF for crun, the profile for other runtimes. */
export type SeccompChoice = { kind: "bpf"; base64: string } | { kind: "profile"; profile: OciSeccomp };

export interface SpecInput {
  id: string;
  name: string;
  spec: ContainerSpec;
  image: ImageConfig | undefined;
  user: ResolvedUser;
  /** Absolute host path of the mounted root file system. */
  rootfs: string;
  host: HostFacts;
  /** The caller's environment, for `-e NAME` without a value. */
  hostEnv: Record<string, string | undefined>;
  files: SpecFiles;
  /**
   * The mounts to make, `source` being a host path for bind, volume and image mounts: spec.mounts with volumes
   * resolved, and the image's own volumes (imageVolumes) added.
   */
  mounts: MountRequest[];
  /** For --device, or all of the host's when privileged. */
  devices: HostDevice[];
  joined: JoinedNamespaces;
  /** Pinned network namespace; absent for the host's, and for a new empty one. */
  netnsPath?: string;
  /** Host path of catatonit or tini; needed when spec.init. */
  initPath?: string;
  /** "/berth/ID" (cgroupfs) or "slice:berth:ID" (systemd). */
  cgroupsPath: string;
  runtime: { name: string };
  /** Absent when unconfined (seccompPlan says). */
  seccomp?: SeccompChoice;
  /** Exact names of annotations from the request that may reach the runtime; default none. */
  allowedAnnotations?: readonly string[];
}

export interface BuiltSpec {
  spec: OciSpec;
  /** What was lowered or left out because the host forbids it, one debug line each. */
  notes: string[];
  /** Absolute clean path in the container that the caller creates, inside the root, if it is missing. */
  workdir: string;
}
