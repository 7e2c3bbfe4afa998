/** The flags of `run` and `create`: what berth does, what it takes without effect, and what it refuses by name. */
import type { FlagSpec, FlagTable } from "./flags.ts";

/** How patient to be with a registry. */
export const patienceFlags = {
  retry: {
    type: "int",
    value: "N",
    aliases: ["retry-times"],
    help: "How often to try again after a failure (5)",
  },
  "retry-delay": {
    type: "duration",
    help: "Pause before the first try again, doubled before each further one (1s)",
  },
  "stall-timeout": {
    type: "duration",
    help: "How long a connection may bring nothing before it is taken for dead (30s)",
  },
} as const satisfies FlagTable;

/** Where images come from; shared by everything that may pull or push. */
export const registryFlags = {
  authfile: {
    type: "string",
    value: "FILE",
    help: "Credentials for registries; else $REGISTRY_AUTH_FILE, or where login keeps them",
  },
  creds: { type: "string", value: "USER:PASSWORD", help: "Credentials for the registry" },
  "cert-dir": {
    type: "string",
    value: "DIR",
    help: "*.crt to trust and *.cert, *.key to show to the registry, instead of certs.d",
  },
  "disable-content-trust": { type: "bool", hidden: true, help: "No effect" },
  ...patienceFlags,
  "tls-verify": { type: "bool", default: true, help: "Require HTTPS with a valid certificate" },
} as const satisfies FlagTable;

/** Which of an image's platforms. */
export const platformFlags = {
  arch: { type: "string", value: "ARCH", help: "Processor architecture of the image" },
  os: { type: "string", value: "OS", help: "Operating system of the image" },
  platform: { type: "string", value: "OS/ARCH[/VARIANT]", help: "Platform of the image" },
  variant: { type: "string", value: "VARIANT", help: "Variant of the architecture" },
} as const satisfies FlagTable;

const identityFlags = {
  annotation: { type: "list", value: "KEY=VALUE", help: "Annotation for the OCI runtime" },
  cidfile: {
    type: "string",
    value: "FILE",
    help: "Write the container's ID to this file; it must not exist",
  },
  domainname: { type: "string", value: "NAME", help: "NIS domain name" },
  hostname: { type: "string", short: "h", value: "NAME", help: "Host name" },
  label: { type: "list", short: "l", value: "KEY[=VALUE]", help: "Label" },
  "label-file": { type: "list", value: "FILE", help: "Read labels, one a line" },
  name: { type: "string", value: "NAME", help: "Name; made up when absent" },
  replace: { type: "bool", help: "Remove the container that has the name, if there is one" },
} as const satisfies FlagTable;

const processFlags = {
  entrypoint: {
    type: "string",
    value: "COMMAND",
    help: "Instead of the image's entrypoint; a JSON array or one word",
  },
  env: { type: "list", short: "e", value: "KEY[=VALUE]", help: "Environment variable; KEY alone takes ours" },
  "env-file": { type: "list", value: "FILE", help: "Read environment variables, one a line" },
  "env-host": { type: "bool", help: "Pass our whole environment" },
  "group-add": { type: "csv", value: "GROUP", help: "Additional group" },
  "http-proxy": { type: "bool", default: true, help: "Pass our proxy variables" },
  init: { type: "bool", help: "Run an init that reaps processes and forwards signals" },
  interactive: { type: "bool", short: "i", help: "Keep standard input open" },
  "stop-signal": { type: "string", value: "SIGNAL", help: "Signal that stops the container" },
  "stop-timeout": { type: "int", value: "SECONDS", help: "How long stop waits before it kills" },
  timeout: { type: "int", value: "SECONDS", help: "Kill the container after this time" },
  tty: { type: "bool", short: "t", help: "Give it a terminal" },
  umask: { type: "string", value: "MODE", help: "File mode creation mask, octal" },
  user: { type: "string", short: "u", value: "USER[:GROUP]", help: "User and group, names or numbers" },
  workdir: { type: "string", short: "w", value: "DIR", help: "Working directory" },
} as const satisfies FlagTable;

const isolationFlags = {
  "cap-add": { type: "csv", value: "CAP", help: "Add a capability" },
  "cap-drop": { type: "csv", value: "CAP", help: "Take a capability away" },
  "cgroup-parent": { type: "string", value: "PATH", help: "Cgroup to stand in" },
  cgroupns: { type: "string", value: "MODE", help: "Cgroup namespace: private or host" },
  device: { type: "list", value: "HOST[:PATH[:rwm]]", help: "Give it a device" },
  ipc: {
    type: "string",
    value: "MODE",
    help: "IPC namespace: private, shareable, none, host, container:NAME",
  },
  pid: { type: "string", value: "MODE", help: "PID namespace: private, host, container:NAME" },
  privileged: { type: "bool", help: "All capabilities, all devices, nothing masked" },
  "read-only": { type: "bool", help: "Root file system cannot be written" },
  "read-only-tmpfs": {
    type: "bool",
    default: true,
    help: "With --read-only: /run, /tmp and /var/tmp are tmpfs",
  },
  runtime: { type: "string", value: "NAME|PATH", help: "Low-level runtime" },
  "security-opt": {
    type: "list",
    value: "OPTION",
    help: "seccomp=FILE, no-new-privileges, label=…, mask=…, …",
  },
  sysctl: { type: "list", value: "KEY=VALUE", help: "Kernel parameter" },
  userns: { type: "string", value: "MODE", help: "User namespace: host" },
  uts: { type: "string", value: "MODE", help: "UTS namespace: private, host, container:NAME" },
} as const satisfies FlagTable;

const resourceFlags = {
  "blkio-weight": { type: "int", value: "N", help: "Share of block I/O, 10 to 1000" },
  "cpu-period": { type: "int", value: "MICROSECONDS", help: "Length of a CPU period" },
  "cpu-quota": { type: "int", value: "MICROSECONDS", help: "CPU time in each period" },
  "cpu-shares": { type: "int", short: "c", value: "N", help: "Relative weight for CPU time" },
  cpus: { type: "float", value: "N", help: "Number of CPUs, may be a fraction" },
  "cpuset-cpus": { type: "string", value: "LIST", help: "CPUs to run on (0-3, 0,1)" },
  "cpuset-mems": { type: "string", value: "LIST", help: "Memory nodes to use (0-3, 0,1)" },
  memory: { type: "size", short: "m", value: "SIZE", help: "Memory limit" },
  "memory-reservation": {
    type: "size",
    value: "SIZE",
    help: "Memory to shrink to when the host is short of it",
  },
  "memory-swap": { type: "size", value: "SIZE", help: "Limit of memory and swap together; -1 for no limit" },
  "oom-kill-disable": { type: "bool", help: "Do not kill when memory is used up" },
  "oom-score-adj": { type: "int", value: "N", help: "Preference of the OOM killer, -1000 to 1000" },
  "pids-limit": { type: "int", value: "N", help: "Number of processes; -1 for no limit" },
  "shm-size": { type: "size", value: "SIZE", help: "Size of /dev/shm (default 64m)" },
  ulimit: { type: "csv", value: "NAME=SOFT[:HARD]", help: "Resource limit of the processes" },
} as const satisfies FlagTable;

const storageFlags = {
  "image-volume": {
    type: "string",
    value: "MODE",
    default: "anonymous",
    choices: ["anonymous", "bind", "tmpfs", "ignore"],
    help: "The image's volumes as: anonymous, bind, tmpfs, ignore",
  },
  mount: { type: "list", value: "type=T,KEY=VALUE,…", help: "Mount a bind, volume, tmpfs, image or devpts" },
  tmpfs: { type: "list", value: "PATH[:OPTIONS]", help: "Mount a tmpfs" },
  volume: {
    type: "list",
    short: "v",
    value: "[SOURCE:]PATH[:OPTIONS]",
    help: "Mount a host directory or a volume",
  },
} as const satisfies FlagTable;

const networkFlags = {
  "add-host": {
    type: "list",
    value: "NAME:IP",
    help: "Line for /etc/hosts; host-gateway as IP means the host",
  },
  dns: { type: "csv", value: "IP", help: "Name server" },
  "dns-option": { type: "csv", value: "OPTION", aliases: ["dns-opt"], help: "Option of the resolver" },
  "dns-search": { type: "csv", value: "DOMAIN", help: "Search domain" },
  expose: { type: "csv", value: "PORT[/PROTOCOL]", help: "Expose a port, for -P" },
  ip: { type: "string", value: "IP", help: "IPv4 address" },
  "mac-address": { type: "string", value: "MAC", help: "Link address" },
  network: {
    type: "list",
    value: "MODE",
    aliases: ["net"],
    help: "bridge, none, host, container:NAME or a network",
  },
  publish: { type: "csv", short: "p", value: "[[IP:]HOST:]PORT[/PROTOCOL]", help: "Publish a port" },
  "publish-all": { type: "bool", short: "P", help: "Publish all exposed ports" },
} as const satisfies FlagTable;

const lifeFlags = {
  attach: { type: "csv", short: "a", value: "STREAM", help: "Attach only stdin, stdout or stderr" },
  "log-driver": { type: "string", value: "DRIVER", help: "k8s-file, json-file, none or passthrough" },
  "log-opt": { type: "list", value: "KEY=VALUE", help: "Option of the log driver: max-size, path, tag" },
  pull: {
    type: "string",
    value: "POLICY",
    default: "missing",
    choices: ["always", "missing", "newer", "never"],
    help: "When to pull the image: always, missing, newer, never",
  },
  quiet: { type: "bool", short: "q", help: "Show no progress of the pull" },
  restart: { type: "string", value: "POLICY", help: "no, on-failure[:MAX], always or unless-stopped" },
  rm: { type: "bool", help: "Remove the container when it is over" },
} as const satisfies FlagTable;

/** Taken without effect: podman ignores them too, or docker does on Linux. */
const NO_EFFECT = "isolation kernel-memory link-local-ip";

const UNSUPPORTED_TEXT = `
  blkio-weight-device cgroup-conf cgroups chrootdirs conmon-pidfile cpu-rt-period cpu-rt-runtime
  decryption-key device-cgroup-rule device-read-bps device-read-iops device-write-bps
  device-write-iops env-merge gidmap gpus group-entry health-cmd health-interval
  health-log-destination health-max-log-count health-max-log-size health-on-failure
  health-retries health-start-interval health-start-period health-startup-cmd
  health-startup-interval health-startup-retries health-startup-success health-startup-timeout
  health-timeout hosts-file hostuser init-path ip6 link memory-swappiness
  network-alias passwd-entry personality pidfile pod pod-id-file preserve-fd preserve-fds
  rdt-class requires sdnotify seccomp-policy secret shm-size-systemd
  storage-opt subgidname subuidname systemd tz uidmap unsetenv volume-driver volumes-from
`;

const UNSUPPORTED_BOOL = "no-hostname no-hosts passwd rmi rootfs unsetenv-all use-api-socket";

function quietly(names: string, spec: FlagSpec): FlagTable {
  return Object.fromEntries(
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, { ...spec, hidden: true }]),
  );
}

export const createFlags = {
  ...registryFlags,
  ...platformFlags,
  ...identityFlags,
  ...processFlags,
  ...isolationFlags,
  ...resourceFlags,
  ...storageFlags,
  ...networkFlags,
  ...lifeFlags,
} as const satisfies FlagTable;

/** The known but refused ones; spread after {@link createFlags}. */
export function otherContainerFlags(): FlagTable {
  return {
    ...quietly(NO_EFFECT, { type: "string", help: "No effect" }),
    // There are no health checks yet that could be switched off.
    ...quietly("no-healthcheck", { type: "bool", help: "No effect" }),
    ...quietly(UNSUPPORTED_TEXT, { type: "string", help: "Not supported yet", unsupported: true }),
    ...quietly(UNSUPPORTED_BOOL, { type: "bool", help: "Not supported yet", unsupported: true }),
  };
}
