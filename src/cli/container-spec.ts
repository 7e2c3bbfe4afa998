/** Flags of `run` and `create` → ContainerSpec and CreateRequest. */
import { resolve } from "node:path";
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { ContainerSpec, Resources } from "../container/container.ts";
import type { CreateRequest } from "../engine/create.ts";
import { parseExpose, parsePorts } from "../network/ports.ts";
import type { RegistryOptions, RetryPolicy, ShortNameQuestion } from "../registry/registry.ts";
import { parseEnv, parseLabels, parsePairs } from "./container-env.ts";
import type { createFlags } from "./container-flags.ts";
import { checkTargets, parseMount, parseTmpfs, parseVolume } from "./container-mounts.ts";
import {
  parseAddHost,
  parseDevice,
  parseEntrypoint,
  parseLogDriver,
  parseLogOptions,
  parseNamespace,
  parseNetwork,
  parsePlatformFlags,
  parseRestart,
  parseUlimit,
  parseUmask,
} from "./container-values.ts";
import type { FlagValues } from "./flags.ts";

export type CreateValues = FlagValues<typeof createFlags>;

const DEFAULT_SHM = 64 * 1024 * 1024;
const CPU_PERIOD = 100_000;

/** Drops undefined members, which the optional fields of the spec do not allow. */
function defined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function conflict(message: string): Error {
  return fail("invalid-argument", message, { reason: "arguments" });
}

function cpuLimits(flags: CreateValues): Pick<Resources, "cpuQuota" | "cpuPeriod"> {
  const { cpus } = flags;
  if (cpus === undefined || cpus === 0)
    return { cpuQuota: flags["cpu-quota"], cpuPeriod: flags["cpu-period"] } as Resources;
  if (cpus < 0) throw conflict(`invalid --cpus "${cpus}": it must not be negative`);
  if (flags["cpu-quota"] !== undefined || flags["cpu-period"] !== undefined) {
    throw conflict("--cpus cannot be used with --cpu-quota or --cpu-period");
  }
  return { cpuPeriod: CPU_PERIOD, cpuQuota: Math.round(cpus * CPU_PERIOD) };
}

function resources(flags: CreateValues): Resources {
  const { memory } = flags;
  const swap = flags["memory-swap"];
  if (swap !== undefined && swap > 0 && (memory === undefined || swap < memory)) {
    throw conflict("--memory-swap must be larger than --memory, which must be given too");
  }
  const weight = flags["blkio-weight"];
  if (weight !== undefined && weight !== 0 && (weight < 10 || weight > 1000)) {
    throw conflict(`invalid --blkio-weight "${weight}": it goes from 10 to 1000`);
  }
  return defined({
    memory: memory === 0 ? undefined : memory,
    memorySwap: swap === 0 ? undefined : swap,
    memoryReservation: flags["memory-reservation"],
    cpuShares: flags["cpu-shares"],
    ...cpuLimits(flags),
    cpusetCpus: flags["cpuset-cpus"],
    cpusetMems: flags["cpuset-mems"],
    // 0 means no limit in docker and podman, as -1 does.
    pidsLimit: flags["pids-limit"] === 0 ? -1 : flags["pids-limit"],
    blkioWeight: weight === 0 ? undefined : weight,
    oomKillDisable: flags["oom-kill-disable"] ? true : undefined,
    oomScoreAdj: oomScore(flags),
  }) as Resources;
}

function oomScore(flags: CreateValues): number | undefined {
  const score = flags["oom-score-adj"];
  if (score !== undefined && Math.abs(score) > 1000) {
    throw conflict(`invalid --oom-score-adj "${score}": it goes from -1000 to 1000`);
  }
  return score;
}

/** Places that stay writable under --read-only, as in podman: programs may run there, and the image's files are there. */
const READ_ONLY_TMPFS = ["/run", "/tmp", "/var/tmp"];

type StoragePart = Pick<ContainerSpec, "mounts" | "tmpfs" | "imageVolumes">;

function storage(flags: CreateValues, docker: boolean): StoragePart {
  const mounts = [...flags.volume.map(parseVolume), ...flags.mount.map(parseMount)];
  const tmpfs: Record<string, string> = {};
  for (const { path, options } of flags.tmpfs.map(parseTmpfs)) tmpfs[path] = options;
  checkTargets(mounts, tmpfs);
  if (flags["read-only"] && flags["read-only-tmpfs"] && !docker) {
    const taken = new Set(mounts.map((mount) => mount.target));
    for (const path of READ_ONLY_TMPFS) if (!taken.has(path)) tmpfs[path] ??= "exec,mode=1777,tmpcopyup";
  }
  const imageVolumes = flags["image-volume"];
  const isSpecial = imageVolumes === "tmpfs" || imageVolumes === "ignore";
  return { mounts, tmpfs, ...(isSpecial ? { imageVolumes } : {}) };
}

type NetworkPart = Pick<
  ContainerSpec,
  "network" | "ports" | "publishAll" | "expose" | "dns" | "dnsSearch" | "dnsOptions" | "addHosts"
>;

function networking(flags: CreateValues): NetworkPart {
  const network = parseNetwork(flags.network);
  const ports = parsePorts(flags.publish);
  const shared = network.startsWith("container:");
  if (shared && (ports.length > 0 || flags["publish-all"])) {
    throw conflict("ports cannot be published in another container's network");
  }
  if (shared && flags.hostname !== undefined) {
    throw conflict("--hostname cannot be used with another container's network");
  }
  for (const port of flags.expose) parseExpose(port);
  return {
    network,
    // Meaningless there; docker and podman drop them too.
    ports: network === "none" || network === "host" ? [] : ports,
    publishAll: flags["publish-all"],
    expose: flags.expose,
    dns: flags.dns,
    dnsSearch: flags["dns-search"],
    dnsOptions: flags["dns-option"],
    addHosts: flags["add-host"].flatMap(parseAddHost),
  };
}

type IsolationPart = Pick<
  ContainerSpec,
  | "privileged"
  | "readOnly"
  | "capAdd"
  | "capDrop"
  | "securityOpt"
  | "devices"
  | "sysctls"
  | "pid"
  | "ipc"
  | "uts"
  | "cgroupns"
>;

function isolation(flags: CreateValues): IsolationPart {
  const { userns } = flags;
  if (userns !== undefined && userns !== "" && userns !== "host") {
    throw fail("unimplemented", `--userns "${userns}" is not supported yet`);
  }
  return {
    privileged: flags.privileged,
    readOnly: flags["read-only"],
    capAdd: flags["cap-add"],
    capDrop: flags["cap-drop"],
    securityOpt: flags["security-opt"],
    devices: flags.device.map(parseDevice),
    sysctls: parsePairs("sysctl", flags.sysctl),
    pid: parseNamespace("pid", flags.pid),
    ipc: parseNamespace("ipc", flags.ipc),
    uts: parseNamespace("uts", flags.uts),
    cgroupns: parseNamespace("cgroupns", flags.cgroupns),
  };
}

function optionalPart(flags: CreateValues): Partial<ContainerSpec> {
  return defined({
    entrypoint: flags.entrypoint === undefined ? undefined : parseEntrypoint(flags.entrypoint),
    workdir: flags.workdir,
    user: flags.user,
    hostname: flags.hostname,
    domainname: flags.domainname,
    cgroupParent: flags["cgroup-parent"],
    ip: flags.ip,
    mac: flags["mac-address"],
    stopSignal: flags["stop-signal"],
    stopTimeout: flags["stop-timeout"],
    timeoutSeconds: flags.timeout,
    umask: flags.umask === undefined ? undefined : parseUmask(flags.umask),
    oomScoreAdj: oomScore(flags),
  }) as Partial<ContainerSpec>;
}

export interface SpecSource {
  flags: CreateValues;
  /** IMAGE [COMMAND [ARG...]] */
  args: readonly string[];
  docker: boolean;
  /** Nobody stays with it: a stdin that was asked for waits for whoever attaches. */
  detached?: boolean;
}

/** Errors: invalid-argument naming the flag; unimplemented for what berth cannot do yet. */
export function containerSpec({ flags, args, docker, detached }: SpecSource): ContainerSpec {
  const restart = parseRestart(flags.restart ?? "no");
  if (flags.rm && restart.policy !== "no") throw conflict("--rm and --restart cannot be used together");
  const [image = "", ...command] = args;
  return {
    image,
    command,
    env: parseEnv({
      variables: flags.env,
      files: flags["env-file"],
      host: flags["env-host"],
      proxies: flags["http-proxy"] && !docker,
    }),
    groupAdd: flags["group-add"],
    labels: parseLabels(flags.label, flags["label-file"]),
    annotations: parsePairs("annotation", flags.annotation),
    terminal: flags.tty,
    openStdin: flags.interactive,
    ...(flags.interactive && detached !== true ? { stdinOnce: true } : {}),
    init: flags.init,
    shmSize: flags["shm-size"] ?? DEFAULT_SHM,
    ulimits: flags.ulimit.map(parseUlimit),
    resources: resources(flags),
    ...isolation(flags),
    ...storage(flags, docker),
    ...networking(flags),
    runtime: flags.runtime ?? "",
    autoRemove: flags.rm,
    restart,
    logDriver: parseLogDriver(flags["log-driver"]),
    logOptions: parseLogOptions(parsePairs("log option", flags["log-opt"])),
    ...optionalPart(flags),
  };
}

interface RegistryValues {
  authfile?: string | undefined;
  creds?: string | undefined;
  "cert-dir"?: string | undefined;
  "tls-verify": boolean;
  retry?: number | undefined;
  "retry-delay"?: number | undefined;
  "stall-timeout"?: number | undefined;
}

/** The patience flags of container-flags.ts; undefined where none is given. Errors: invalid-argument. */
export function patience(
  flags: Pick<RegistryValues, "retry" | "retry-delay" | "stall-timeout">,
): Partial<RetryPolicy> | undefined {
  const { retry: retries, "retry-delay": baseMs, "stall-timeout": stallMs } = flags;
  if (stallMs !== undefined && stallMs <= 0)
    throw fail("invalid-argument", "--stall-timeout must be more than nothing", { reason: "flag-value" });
  const policy: Partial<RetryPolicy> = {
    ...(retries === undefined ? {} : { retries: Math.max(0, retries) }),
    ...(baseMs === undefined ? {} : { baseMs: Math.max(0, baseMs) }),
    ...(stallMs === undefined ? {} : { stallMs }),
  };
  return Object.keys(policy).length === 0 ? undefined : policy;
}

/** Asked only where there is a choice, so its code is loaded then. */
async function choose(ctx: Ctx, question: ShortNameQuestion): Promise<string | undefined> {
  const { chooseImage } = await import("./prompt.ts");
  return chooseImage(ctx, question);
}

/** Errors: not-found: what was named for this call is meant to be read. */
function credentialsFile(given: string): string {
  const path = resolve(given);
  if (process.getBuiltinModule("node:fs").existsSync(path)) return path;
  throw fail("not-found", `credentials file "${path}" does not exist`, { reason: "auth-file" });
}

/** `--authfile`, `--creds`, `--cert-dir`, `--tls-verify` and how patient to be. Errors: invalid-argument for credentials without a colon, not-found. */
export function registryOptions(flags: RegistryValues, changed: ReadonlySet<string>): RegistryOptions {
  const options: RegistryOptions = { choose };
  if (flags.authfile !== undefined) options.authFile = credentialsFile(flags.authfile);
  if (changed.has("tls-verify")) options.tlsVerify = flags["tls-verify"];
  if (flags["cert-dir"] !== undefined) options.certDir = resolve(flags["cert-dir"]);
  if (flags.creds !== undefined) {
    const colon = flags.creds.indexOf(":");
    // The value is a secret: it is not repeated in the message.
    if (colon <= 0)
      throw fail("invalid-argument", "invalid --creds: write it as USER:PASSWORD", { reason: "flag-value" });
    options.credentials = { username: flags.creds.slice(0, colon), password: flags.creds.slice(colon + 1) };
  }
  const retry = patience(flags);
  if (retry !== undefined) options.retry = retry;
  return options;
}

export function createRequest(source: SpecSource, changed: ReadonlySet<string>): CreateRequest {
  const { flags } = source;
  const platform = parsePlatformFlags(flags);
  return {
    spec: containerSpec(source),
    pull: flags.pull as CreateRequest["pull"],
    registry: registryOptions(flags, changed),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(platform === undefined ? {} : { platform }),
    ...(flags.replace ? { replace: true } : {}),
    ...(flags.cidfile === undefined ? {} : { cidFile: flags.cidfile }),
  };
}
