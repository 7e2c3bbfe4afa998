/** info: the host, the store, and each part of the system that berth stands on, with path and version. */
import { statfsSync } from "node:fs";
import type { Ctx } from "../core/ctx.ts";
import { messageOf } from "../core/error.ts";
import { cgroupMode } from "../sys/cgroup.ts";
import {
  cpus,
  hostname,
  kernelVersion,
  memory,
  osRelease,
  securityFeatures,
  uptimeSeconds,
} from "../sys/host.ts";
import { run, which } from "../sys/spawn.ts";
import type { Engine } from "./engine.ts";
import { refreshAll } from "./refresh.ts";
import { versionFacts } from "./version.ts";

interface Part {
  name: string;
  job: string;
  package: string;
  versionFlag: string;
}

const PARTS: Part[] = [
  { name: "crun", job: "OCI runtime", package: "crun", versionFlag: "--version" },
  { name: "runc", job: "OCI runtime", package: "runc", versionFlag: "--version" },
  {
    name: "runsc",
    job: "OCI runtime with a kernel of its own (gVisor)",
    package: "runsc",
    versionFlag: "--version",
  },
  { name: "conmon", job: "container monitor", package: "conmon", versionFlag: "--version" },
  { name: "nft", job: "NAT and published ports", package: "nftables", versionFlag: "--version" },
  { name: "catatonit", job: "init for --init", package: "catatonit", versionFlag: "--version" },
];

/** The facts of `info` with podman's names; templates find `{{.Host.OCIRuntime.Name}}` in them as well. */
export interface Info {
  host: HostInfo;
  store: StoreInfo;
  /** Each program that berth uses, by its name. */
  parts: Record<string, PartInfo>;
  version: object;
}

interface HostInfo {
  arch: string;
  cgroupControllers: string[];
  cgroupLayout: string;
  cgroupManager: string;
  cgroupVersion: "v1" | "v2";
  cpus: number;
  distribution: { distribution: string; version: string; name: string };
  hostname: string;
  kernel: string;
  logDriver: string;
  memFree: number;
  memTotal: number;
  ociRuntime: { name: string; path: string; error?: string };
  os: string;
  security: {
    apparmorEnabled: boolean;
    rootless: boolean;
    seccompEnabled: boolean;
    seccompProfileVersion: number;
    selinuxEnabled: boolean;
  };
  uptime: string;
}

interface StoreInfo {
  containerStore: { number: number; paused: number; running: number; stopped: number };
  graphDriverName: string;
  graphRoot: string;
  graphRootAllocated: number;
  graphRootUsed: number;
  imageStore: { number: number };
  runRoot: string;
  volumePath: string;
}

interface PartInfo {
  job: string;
  path: string;
  version: string;
  /** How to get it, where it is missing. */
  hint?: string;
}

export async function info(ctx: Ctx, engine: Engine): Promise<Info> {
  return {
    host: await hostFacts(ctx, engine),
    store: storeFacts(engine),
    parts: Object.fromEntries(PARTS.map((part) => [part.name, partFacts(ctx, part)])),
    version: versionFields(),
  };
}

function versionFields(): object {
  const { version, apiVersion, gitCommit, built, bun, os, arch } = versionFacts();
  return {
    Version: version,
    APIVersion: apiVersion,
    GitCommit: gitCommit,
    BuiltTime: built,
    BunVersion: bun,
    OsArch: `${os}/${arch}`,
  };
}

function storeFacts(engine: Engine): StoreInfo {
  const records = refreshAll(engine);
  const count = (status: string): number => records.filter((r) => r.state.status === status).length;
  const [running, paused] = [count("running"), count("paused")];
  const { blocks, bsize, bavail } = statfsSync(engine.paths.root);
  return {
    containerStore: { number: records.length, paused, running, stopped: records.length - running - paused },
    graphDriverName: "overlay",
    graphRoot: engine.paths.root,
    graphRootAllocated: blocks * bsize,
    graphRootUsed: (blocks - bavail) * bsize,
    imageStore: { number: engine.images.list().length },
    runRoot: engine.paths.run,
    volumePath: engine.paths.volumes,
  };
}

async function hostFacts(ctx: Ctx, engine: Engine): Promise<HostInfo> {
  const cgroups = cgroupMode();
  const { total, available } = memory();
  const release = osRelease();
  const seconds = Math.round(uptimeSeconds());
  const { os, arch } = versionFacts();
  const { apparmor, selinux, seccomp } = securityFeatures();
  const id = release.get("ID") ?? "";
  return {
    arch,
    cgroupControllers: cgroups.controllers,
    cgroupLayout: cgroups.mode,
    cgroupManager: engine.systemdCgroup ? "systemd" : "cgroupfs",
    cgroupVersion: cgroups.mode === "unified" ? "v2" : "v1",
    cpus: cpus(),
    distribution: {
      distribution: id,
      version: release.get("VERSION_ID") ?? "",
      name: release.get("PRETTY_NAME") ?? id,
    },
    hostname: hostname(),
    kernel: kernelVersion(),
    logDriver: "k8s-file",
    memFree: available,
    memTotal: total,
    ociRuntime: await defaultRuntime(ctx, engine),
    os,
    security: {
      apparmorEnabled: apparmor,
      rootless: process.geteuid?.() !== 0,
      seccompEnabled: seccomp,
      seccompProfileVersion: await profileVersion(),
      selinuxEnabled: selinux,
    },
    uptime: `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m ${seconds % 60}s`,
  };
}

async function profileVersion(): Promise<number> {
  return (await import("../container/seccomp-key.ts")).PROFILE_VERSION;
}

async function defaultRuntime(ctx: Ctx, engine: Engine): Promise<HostInfo["ociRuntime"]> {
  try {
    const { info: runtime } = await engine.runtime(ctx, engine.options.runtime ?? "");
    return { name: runtime.name, path: runtime.path };
  } catch (error) {
    return { name: "", path: "", error: messageOf(error) };
  }
}

function partFacts(ctx: Ctx, part: Part): PartInfo {
  const path = which(part.name);
  if (path === undefined)
    return { job: part.job, path: "", version: "", hint: `apt-get install ${part.package}` };
  const { stdout, stderr } = run(ctx, [path, part.versionFlag], { timeoutMs: 5000 });
  const text = `${stdout}${stderr}`;
  return { job: part.job, path, version: /v?(\d[\w.~+-]*)/.exec(text)?.[1] ?? text.trim() };
}
