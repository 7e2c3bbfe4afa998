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
import { versionFacts } from "./system.ts";

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

/** Shaped like podman info, so that `{{.Host.OS}}` and the like work. */
export async function info(ctx: Ctx, engine: Engine): Promise<object> {
  const records = refreshAll(engine);
  const count = (status: string): number => records.filter((r) => r.state.status === status).length;
  return {
    Host: await hostFacts(ctx, engine),
    Store: {
      GraphDriverName: "overlay",
      GraphRoot: engine.paths.root,
      RunRoot: engine.paths.run,
      VolumePath: engine.paths.volumes,
      ...space(engine.paths.root),
      ContainerStore: {
        Number: records.length,
        Running: count("running"),
        Paused: count("paused"),
        Stopped: records.length - count("running") - count("paused"),
      },
      ImageStore: { Number: engine.images.list().length },
    },
    Parts: Object.fromEntries(PARTS.map((part) => [part.name, partFacts(ctx, part)])),
    Version: versionFacts(),
  };
}

async function hostFacts(ctx: Ctx, engine: Engine): Promise<object> {
  const cgroups = cgroupMode();
  const { total, available } = memory();
  const release = osRelease();
  const seconds = Math.round(uptimeSeconds());
  const facts = versionFacts();
  return {
    OS: facts.os,
    Arch: facts.arch,
    Hostname: hostname(),
    Kernel: kernelVersion(),
    Distribution: { Distribution: release.get("ID") ?? "", Version: release.get("VERSION_ID") ?? "" },
    CPUs: cpus(),
    MemTotal: total,
    MemFree: available,
    Uptime: `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m ${seconds % 60}s`,
    CgroupVersion: cgroups.mode === "unified" ? "v2" : "v1",
    CgroupLayout: cgroups.mode,
    CgroupControllers: cgroups.controllers,
    CgroupManager: engine.systemdCgroup ? "systemd" : "cgroupfs",
    OCIRuntime: await defaultRuntime(ctx, engine),
    Security: {
      Rootless: process.geteuid?.() !== 0,
      ...securityFeatures(),
      SeccompProfileVersion: await profileVersion(),
    },
  };
}

async function profileVersion(): Promise<number> {
  return (await import("../container/seccomp-key.ts")).PROFILE_VERSION;
}

async function defaultRuntime(ctx: Ctx, engine: Engine): Promise<object> {
  try {
    const { info: runtime } = await engine.runtime(ctx, engine.options.runtime ?? "");
    return { Name: runtime.name, Path: runtime.path };
  } catch (error) {
    return { Name: "", Path: "", Error: messageOf(error) };
  }
}

function partFacts(ctx: Ctx, part: Part): object {
  const path = which(part.name);
  if (path === undefined)
    return { Job: part.job, Path: "", Version: "", Hint: `apt-get install ${part.package}` };
  const { stdout, stderr } = run(ctx, [path, part.versionFlag], { timeoutMs: 5000 });
  const text = `${stdout}${stderr}`;
  return { Job: part.job, Path: path, Version: /v?(\d[\w.~+-]*)/.exec(text)?.[1] ?? text.trim() };
}

function space(path: string): object {
  const { blocks, bsize, bavail } = statfsSync(path);
  return { GraphRootAllocated: blocks * bsize, GraphRootUsed: (blocks - bavail) * bsize };
}
