/** A request and a host of fixed values, for golden specs and for tests that vary one thing of them. */
import type { ContainerSpec } from "../../../src/container/container.ts";
import { CAPABILITY_NAMES } from "../../../src/container/capabilities.ts";
import type { HostFacts, SpecInput } from "../../../src/container/spec-input.ts";
import type { ContainerConfig, ImageConfig } from "../../../src/image/image.ts";

export const ID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

export function aRequest(changes: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    image: "docker.io/library/busybox:latest",
    command: [],
    env: [],
    groupAdd: [],
    labels: {},
    annotations: {},
    terminal: false,
    openStdin: false,
    privileged: false,
    readOnly: false,
    init: false,
    capAdd: [],
    capDrop: [],
    securityOpt: [],
    devices: [],
    mounts: [],
    tmpfs: {},
    shmSize: 67108864,
    sysctls: {},
    ulimits: [],
    resources: {},
    network: "bridge",
    ports: [],
    publishAll: false,
    expose: [],
    dns: [],
    dnsSearch: [],
    dnsOptions: [],
    addHosts: [],
    pid: "",
    ipc: "",
    uts: "",
    cgroupns: "",
    runtime: "",
    autoRemove: false,
    restart: { policy: "no", max: 0 },
    logDriver: "k8s-file",
    logOptions: {},
    ...changes,
  };
}

export function anImage(config: ContainerConfig = { Cmd: ["sh"] }): ImageConfig {
  return { architecture: "amd64", os: "linux", config, rootfs: { type: "layers", diff_ids: [] }, history: [] };
}

/** Root of a hybrid-cgroup host without CAP_SYS_RESOURCE. */
export function aHost(changes: Partial<HostFacts> = {}): HostFacts {
  return {
    cgroup: {
      mode: "hybrid",
      controllers: ["memory", "cpu", "cpuset", "pids", "blkio", "devices", "freezer"],
      swapLimit: true,
      blkioWeight: true,
    },
    limits: { nofile: { soft: 1024, hard: 20000 }, nproc: { soft: 96365, hard: 96365 } },
    canRaise: false,
    oomScoreAdj: 0,
    capabilities: CAPABILITY_NAMES.filter((name) => name !== "CAP_SYS_RESOURCE"),
    seccomp: true,
    apparmor: false,
    selinux: false,
    rootless: false,
    ttyGid: true,
    hostname: "quay",
    extraMaskedPaths: [],
    ...changes,
  };
}

export function anInput(spec: Partial<ContainerSpec> = {}, changes: Partial<SpecInput> = {}): SpecInput {
  const request = aRequest(spec);
  return {
    id: ID,
    name: "calm_heron",
    spec: request,
    image: anImage(),
    user: { uid: 0, gid: 0, additionalGids: [0], home: "/root", name: "root" },
    rootfs: "/var/lib/berth/containers/0123/merged",
    host: aHost(),
    hostEnv: {},
    files: {
      hosts: "/run/berth/0123/hosts",
      resolvConf: "/run/berth/0123/resolv.conf",
      hostname: "/run/berth/0123/hostname",
    },
    mounts: request.mounts,
    devices: [],
    joined: {},
    netnsPath: "/run/berth/netns/0123",
    cgroupsPath: "/berth/0123",
    runtime: { name: "crun" },
    ...changes,
  };
}
