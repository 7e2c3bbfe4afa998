/** `inspect`: everything about one object, in the shape and casing that docker and podman print. */
import type { Ctx } from "../core/ctx.ts";

import type { ContainerRecord, ContainerSpec } from "../container/container.ts";
import { logPath } from "../container/log-path.ts";
import { DEFAULT_PIDS_LIMIT } from "../container/resources.ts";
import type { ImageRecord } from "../storage/storage.ts";
import type { PortMapping } from "../network/network.ts";
import type { Engine } from "./engine.ts";
import { resolveContainer } from "./list.ts";
import { sizeOf } from "./size.ts";

export interface InspectRequest {
  container: string;
  size?: boolean;
  /** Docker's forms where podman's differ: "/name", "sha256:…" for images, the image's name as asked for. */
  docker?: boolean;
}

/** Podman writes ids of images without the algorithm. */
function imageIdFor(docker: boolean | undefined, id: string): string {
  return docker === true ? id : id.replace(/^sha256:/, "");
}

/** Docker's ContainerJSON with podman's additions. Errors: not-found, conflict. */
export function inspectContainer(_ctx: Ctx, engine: Engine, request: InspectRequest): object {
  const record = resolveContainer(engine, request.container);
  const { spec, state } = record;
  const argv = spec.argv ?? spec.command;
  const directory = engine.paths.container(record.id);
  const bundle = engine.paths.runContainer(record.id);
  const size = request.size === true ? sizeOf(engine, record) : undefined;
  return {
    Id: record.id,
    Created: record.created,
    Path: argv[0] ?? "",
    Args: argv.slice(1),
    State: stateOf(record),
    Image: imageIdFor(request.docker, spec.imageId ?? ""),
    ImageName: spec.image,
    Name: request.docker === true ? `/${record.name}` : record.name,
    RestartCount: state.restarts,
    Driver: "overlay",
    Platform: "linux",
    OCIRuntime: state.runtimeName ?? spec.runtime,
    ResolvConfPath: `${bundle}/resolv.conf`,
    HostnamePath: `${bundle}/hostname`,
    HostsPath: `${bundle}/hosts`,
    LogPath: spec.logDriver === "none" ? "" : logPath(engine.paths, record),
    OCIConfigPath: `${bundle}/config.json`,
    ConmonPidFile: `${bundle}/monitor.pid`,
    PidFile: `${bundle}/pid`,
    GraphDriver: {
      Name: "overlay",
      Data: {
        LowerDir: lowerDirectories(engine, spec).join(":"),
        UpperDir: `${directory}/upper`,
        WorkDir: `${directory}/work`,
        MergedDir: `${directory}/merged`,
      },
    },
    ...(size === undefined ? {} : { SizeRw: size.rw, SizeRootFs: size.rootFs }),
    Mounts: mountsOf(spec),
    Config: {
      ...configOf(engine, record),
      Image: request.docker === true ? (spec.imageAsked ?? spec.image) : spec.image,
    },
    HostConfig: hostConfigOf(record),
    NetworkSettings: networkSettingsOf(record),
    IsInfra: false,
    Pod: "",
  };
}

/** Topmost first, as overlayfs takes them. */
function lowerDirectories(engine: Engine, { imageId }: ContainerSpec): string[] {
  const top = imageId === undefined ? undefined : engine.images.find(imageId)?.chainId;
  return top === undefined ? [] : engine.layers.lowers(top);
}

function stateOf(record: ContainerRecord): object {
  const { state } = record;
  const isUp = state.status === "running" || state.status === "paused";
  return {
    Status: state.status,
    Running: isUp,
    Paused: state.status === "paused",
    Restarting: false,
    OOMKilled: state.oomKilled ?? false,
    Dead: false,
    Pid: isUp ? (state.pid ?? 0) : 0,
    ConmonPid: isUp ? (state.monitorPid ?? 0) : 0,
    ExitCode: state.exitCode ?? 0,
    Error: state.error ?? "",
    StartedAt: state.startedAt ?? ZERO_TIME,
    FinishedAt: state.finishedAt ?? ZERO_TIME,
  };
}

/** Go's zero time, which clients test for. */
const ZERO_TIME = "0001-01-01T00:00:00Z";

function mountsOf(spec: ContainerSpec): object[] {
  return spec.mounts
    .filter((m) => m.type !== "devpts")
    .map((m) => ({
      Type: m.type,
      ...(m.type === "volume" ? { Name: m.source, Driver: "local" } : {}),
      Source: m.source,
      Destination: m.target,
      Mode: m.options.join(","),
      Options: m.options,
      RW: !m.readOnly,
      Propagation:
        m.options.find((o) => /^r?(shared|slave|private)$/.test(o)) ?? (m.type === "bind" ? "rprivate" : ""),
    }));
}

// oxlint-disable-next-line complexity -- a table of fields; every default counts as a branch
function configOf(engine: Engine, record: ContainerRecord): object {
  const { spec } = record;
  const image = spec.imageId === undefined ? undefined : engine.images.find(spec.imageId)?.config.config;
  return {
    Hostname: spec.hostname ?? record.id.slice(0, 12),
    Domainname: spec.domainname ?? "",
    User: spec.user ?? image?.User ?? "",
    AttachStdin: spec.openStdin,
    AttachStdout: true,
    AttachStderr: true,
    ExposedPorts: Object.fromEntries(
      [...spec.expose, ...Object.keys(image?.ExposedPorts ?? {})].map((p) => [p, {}]),
    ),
    Tty: spec.terminal,
    OpenStdin: spec.openStdin,
    StdinOnce: spec.stdinOnce ?? false,
    Env: [...(image?.Env ?? []).filter((e) => !overrides(spec.env, e)), ...spec.env],
    Cmd: spec.command.length > 0 ? spec.command : spec.entrypoint === undefined ? (image?.Cmd ?? null) : null,
    Volumes: image?.Volumes ?? null,
    WorkingDir:
      spec.workdir ?? (image?.WorkingDir === undefined || image.WorkingDir === "" ? "/" : image.WorkingDir),
    Entrypoint: spec.entrypoint ?? image?.Entrypoint ?? null,
    OnBuild: image?.OnBuild ?? null,
    Labels: spec.labels,
    Annotations: spec.annotations,
    StopSignal: spec.stopSignal ?? image?.StopSignal ?? "SIGTERM",
    StopTimeout: spec.stopTimeout ?? 10,
    Umask: (spec.umask ?? 0o22).toString(8).padStart(4, "0"),
    Timeout: spec.timeoutSeconds ?? 0,
  };
}

function overrides(env: string[], entry: string): boolean {
  const key = entry.slice(0, entry.indexOf("=") + 1);
  return env.some((e) => e.startsWith(key));
}

// oxlint-disable-next-line complexity -- a table of fields; every default counts as a branch
function hostConfigOf(record: ContainerRecord): object {
  const { spec } = record;
  const r = spec.resources;
  return {
    Binds: spec.mounts
      .filter((m) => m.type === "bind" || m.type === "volume")
      .map((m) => `${m.source}:${m.target}:${[m.readOnly ? "ro" : "rw", ...m.options].join(",")}`),
    ContainerIDFile: "",
    LogConfig: { Type: spec.logDriver, Config: spec.logOptions },
    NetworkMode: spec.network,
    PortBindings: portBindings(spec.ports),
    RestartPolicy: { Name: spec.restart.policy, MaximumRetryCount: spec.restart.max },
    AutoRemove: spec.autoRemove,
    CapAdd: spec.capAdd,
    CapDrop: spec.capDrop,
    CgroupnsMode: spec.cgroupns === "" ? "private" : spec.cgroupns,
    Dns: spec.dns,
    DnsOptions: spec.dnsOptions,
    DnsSearch: spec.dnsSearch,
    ExtraHosts: spec.addHosts,
    GroupAdd: spec.groupAdd,
    IpcMode: spec.ipc === "" ? "private" : spec.ipc,
    OomScoreAdj: spec.oomScoreAdj ?? 0,
    PidMode: spec.pid === "" ? "private" : spec.pid,
    Privileged: spec.privileged,
    PublishAllPorts: spec.publishAll,
    ReadonlyRootfs: spec.readOnly,
    SecurityOpt: spec.securityOpt,
    Tmpfs: spec.tmpfs,
    UTSMode: spec.uts === "" ? "private" : spec.uts,
    ShmSize: spec.shmSize,
    Sysctls: spec.sysctls,
    Runtime: record.state.runtimeName ?? spec.runtime,
    Init: spec.init,
    CgroupParent: spec.cgroupParent ?? "",
    CpuShares: r.cpuShares ?? 0,
    Memory: r.memory ?? 0,
    NanoCpus: r.cpuQuota === undefined ? 0 : Math.round((r.cpuQuota / (r.cpuPeriod ?? 100_000)) * 1e9),
    CpuPeriod: r.cpuPeriod ?? 0,
    CpuQuota: r.cpuQuota ?? 0,
    CpusetCpus: r.cpusetCpus ?? "",
    CpusetMems: r.cpusetMems ?? "",
    MemoryReservation: r.memoryReservation ?? 0,
    MemorySwap: r.memorySwap ?? 0,
    OomKillDisable: r.oomKillDisable ?? false,
    PidsLimit: r.pidsLimit ?? DEFAULT_PIDS_LIMIT,
    BlkioWeight: r.blkioWeight ?? 0,
    Ulimits: spec.ulimits.map((u) => ({
      Name: `RLIMIT_${u.name.toUpperCase()}`,
      Soft: u.soft,
      Hard: u.hard,
    })),
    Devices: spec.devices.map((d) => {
      const [host = "", inside = host, permissions = "rwm"] = d.split(":");
      return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: permissions };
    }),
  };
}

/** `{"80/tcp": [{HostIp, HostPort}]}`, one entry a port of a range. */
function portBindings(ports: PortMapping[]): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const port of ports) {
    for (let i = 0; i < port.range; i++) {
      const key = `${port.containerPort + i}/${port.protocol}`;
      const hostPort = port.hostPort === 0 ? "" : String(port.hostPort + i);
      (bindings[key] ??= []).push({ HostIp: port.hostIp, HostPort: hostPort });
    }
  }
  return bindings;
}

// oxlint-disable-next-line complexity -- a table of fields; every default counts as a branch
function networkSettingsOf(record: ContainerRecord): object {
  const attachment = record.state.status === "exited" ? undefined : record.state.attachment;
  const v4 = attachment?.addresses.find((a) => !a.address.includes(":"));
  const v6 = attachment?.addresses.find((a) => a.address.includes(":"));
  const endpoint = {
    EndpointID: "",
    Gateway: v4?.gateway ?? "",
    IPAddress: v4?.address ?? "",
    IPPrefixLen: v4?.prefix ?? 0,
    IPv6Gateway: v6?.gateway ?? "",
    GlobalIPv6Address: v6?.address ?? "",
    GlobalIPv6PrefixLen: v6?.prefix ?? 0,
    MacAddress: attachment?.mac ?? "",
  };
  return {
    ...endpoint,
    Ports: portBindings(attachment?.ports ?? []),
    SandboxKey: record.state.netns ?? "",
    Networks:
      attachment === undefined
        ? {}
        : { [attachment.network]: { ...endpoint, NetworkID: attachment.network } },
  };
}

/** Docker's ImageInspect with podman's additions. Errors: not-found, conflict. */
export function inspectImage(
  _ctx: Ctx,
  engine: Engine,
  request: { image: string; docker?: boolean },
): object {
  const image = engine.images.resolve(request.image);
  return { Id: imageIdFor(request.docker, image.id), ...imageFacts(image) };
}

function imageFacts(image: ImageRecord): object {
  const { config } = image;
  return {
    Digest: image.manifestDigest,
    RepoTags: image.names,
    RepoDigests: image.repoDigests,
    Parent: "",
    Comment: config.history.at(-1)?.comment ?? "",
    Created: config.created ?? image.created,
    Author: config.author ?? "",
    Config: config.config,
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    Size: image.size,
    VirtualSize: image.size,
    GraphDriver: { Name: "overlay", Data: {} },
    RootFS: { Type: "layers", Layers: config.rootfs.diff_ids },
    Labels: config.config.Labels ?? null,
    Annotations: image.manifest.annotations ?? {},
    ManifestType: image.manifest.mediaType,
    User: config.config.User ?? "",
    History: config.history,
    NamesHistory: image.names,
  };
}
