/** The facts of `info` under docker's names (SystemInfo of the Docker Engine API). */
import type { Ctx } from "../core/ctx.ts";
import { info } from "./info.ts";
import type { Engine } from "./engine.ts";
import { versionFacts } from "./version.ts";

export interface DockerInfo {
  Containers: number;
  ContainersRunning: number;
  ContainersPaused: number;
  ContainersStopped: number;
  Images: number;
  Driver: string;
  LoggingDriver: string;
  CgroupDriver: string;
  CgroupVersion: string;
  KernelVersion: string;
  OperatingSystem: string;
  OSType: string;
  Architecture: string;
  NCPU: number;
  MemTotal: number;
  DockerRootDir: string;
  Name: string;
  ServerVersion: string;
  DefaultRuntime: string;
  Runtimes: Record<string, { path: string }>;
  InitBinary: string;
  SecurityOptions: string[];
  Swarm: { LocalNodeState: string };
}

const MACHINES: Record<string, string> = { amd64: "x86_64", arm64: "aarch64" };
const RUNTIMES = ["crun", "runc", "runsc"];

export async function dockerInfo(ctx: Ctx, engine: Engine): Promise<DockerInfo> {
  const { host, store, parts } = await info(ctx, engine);
  const { number, running, paused, stopped } = store.containerStore;
  const installed = RUNTIMES.filter((name) => (parts[name]?.path ?? "") !== "");
  return {
    Containers: number,
    ContainersRunning: running,
    ContainersPaused: paused,
    ContainersStopped: stopped,
    Images: store.imageStore.number,
    Driver: store.graphDriverName,
    LoggingDriver: host.logDriver,
    CgroupDriver: host.cgroupManager,
    CgroupVersion: host.cgroupVersion.slice(1),
    KernelVersion: host.kernel,
    OperatingSystem: host.distribution.name,
    OSType: host.os,
    Architecture: MACHINES[host.arch] ?? host.arch,
    NCPU: host.cpus,
    MemTotal: host.memTotal,
    DockerRootDir: store.graphRoot,
    Name: host.hostname,
    ServerVersion: versionFacts().version,
    DefaultRuntime: host.ociRuntime.name,
    Runtimes: Object.fromEntries(installed.map((name) => [name, { path: parts[name]?.path ?? "" }])),
    InitBinary: parts["catatonit"]?.path ?? "",
    SecurityOptions: host.security.seccompEnabled ? ["name=seccomp,profile=default"] : [],
    // Compose and testcontainers ask for it; there is no swarm here.
    Swarm: { LocalNodeState: "inactive" },
  };
}
