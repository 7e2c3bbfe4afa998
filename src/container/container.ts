/**
 * A container: its record in the store and its life.
 *
 * Vocabulary: the *config* is what was asked for, fixed at creation; the *state* is what has become
 * of it. The truth about a running container is record + exit file + pidfd: `refresh` (state.ts)
 * joins them, and nobody trusts a pid without its start time.
 *
 * States: created → running ⇄ paused → exited → removing; `exited` may start again. After a
 * reboot everything that ran reads as exited. `stopping` is not a state: stop is a verb that ends in exited.
 */
import type { Digest } from "../image/image.ts";
import type { Attachment, PortMapping } from "../network/network.ts";

export type Status = "created" | "initialized" | "running" | "paused" | "exited" | "removing";

export interface MountRequest {
  type: "bind" | "volume" | "tmpfs" | "image" | "devpts";
  /** Absolute host path (bind), volume name, or "" (anonymous volume, tmpfs). */
  source: string;
  /** Absolute path in the container. */
  target: string;
  readOnly: boolean;
  /** Options as in mount(8), "size=64m", "rshared", "noexec", … */
  options: string[];
}

export interface Resources {
  memory?: number; // bytes
  memorySwap?: number; // bytes, -1 unlimited
  memoryReservation?: number;
  cpuShares?: number;
  cpuQuota?: number; // microseconds per period
  cpuPeriod?: number;
  cpusetCpus?: string;
  cpusetMems?: string;
  pidsLimit?: number; // -1 unlimited
  blkioWeight?: number;
  oomKillDisable?: boolean;
  oomScoreAdj?: number;
}

export interface Ulimit {
  name: string; // "nofile"
  soft: number;
  hard: number; // -1 unlimited
}

/** What was asked for: everything `run`/`create`, the Docker API and the CRI can say, already parsed. */
export interface ContainerSpec {
  /** As asked for; from creation on the full name of the image that was found. */
  image: string;
  /** As asked for, filled in at creation: what docker shows. */
  imageAsked?: string;
  imageId?: Digest;
  /** Full argv overrides as given: the image's entrypoint and cmd are joined in spec.ts. */
  entrypoint?: string[];
  command: string[];
  /** The whole command line, entrypoint and arguments joined; filled in at creation. */
  argv?: string[];
  env: string[]; // "K=V"; "K" alone takes the host's value
  workdir?: string;
  user?: string;
  groupAdd: string[];
  hostname?: string;
  domainname?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  terminal: boolean;
  openStdin: boolean;
  /** The end of what the first attached client sends is the container's end of input; else its stdin stays open. */
  stdinOnce?: boolean;
  privileged: boolean;
  readOnly: boolean;
  init: boolean;
  capAdd: string[];
  capDrop: string[];
  securityOpt: string[];
  devices: string[]; // "/dev/x[:/dev/y[:rwm]]"
  mounts: MountRequest[];
  tmpfs: Record<string, string>;
  /** What the image's VOLUMEs become; anonymous volumes when absent. */
  imageVolumes?: "anonymous" | "tmpfs" | "ignore";
  shmSize: number;
  sysctls: Record<string, string>;
  ulimits: Ulimit[];
  resources: Resources;
  cgroupParent?: string;
  network: string; // "bridge" | "none" | "host" | "container:NAME"
  ports: PortMapping[];
  publishAll: boolean;
  expose: string[];
  dns: string[];
  dnsSearch: string[];
  dnsOptions: string[];
  addHosts: string[]; // "name:ip"
  ip?: string;
  mac?: string;
  pid: string; // "" private | "host" | "container:NAME"
  ipc: string;
  uts: string;
  cgroupns: string;
  runtime: string;
  stopSignal?: string;
  stopTimeout?: number;
  autoRemove: boolean;
  restart: { policy: "no" | "on-failure" | "always" | "unless-stopped"; max: number };
  logDriver: "k8s-file" | "json-file" | "none" | "passthrough";
  /** "max-size" in bytes, "path" absolute (default: `ctr.log` in the container's directory), "tag". */
  logOptions: Record<string, string>;
  timeoutSeconds?: number;
  umask?: number;
  oomScoreAdj?: number;
}

export interface ContainerState {
  status: Status;
  pid?: number;
  /** Start time of `pid` in clock ticks; pid without it proves nothing. */
  pidStart?: number;
  monitorPid?: number;
  /** Its start time, as `pidStart`. */
  monitorStart?: number;
  /** Boot id the above belong to. */
  bootId?: string;
  startedAt?: string;
  finishedAt?: string;
  exitCode?: number;
  oomKilled?: boolean;
  /** Text of the last failure to start. */
  error?: string;
  stoppedByUser?: boolean;
  restarts: number;
  attachment?: Attachment;
  netns?: string;
  /** "crun": what it was really created with. */
  runtimeName?: string;
  runtimePath?: string;
}

export interface ContainerRecord {
  id: string;
  name: string;
  created: string;
  spec: ContainerSpec;
  state: ContainerState;
}
