import type { DockerInfo } from "../../engine/docker-info.ts";
import { defineCommand } from "../command.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";
import { outline } from "../outline.ts";
import { binarySize } from "../units.ts";

/** docker's words for the same facts. */
function dockerText(facts: DockerInfo): string {
  const server = {
    Containers: facts.Containers,
    " Running": facts.ContainersRunning,
    " Paused": facts.ContainersPaused,
    " Stopped": facts.ContainersStopped,
    Images: facts.Images,
    "Server Version": facts.ServerVersion,
    "Storage Driver": facts.Driver,
    "Logging Driver": facts.LoggingDriver,
    "Cgroup Driver": facts.CgroupDriver,
    "Cgroup Version": facts.CgroupVersion,
    Swarm: facts.Swarm.LocalNodeState,
    Runtimes: Object.keys(facts.Runtimes).join(" "),
    "Default Runtime": facts.DefaultRuntime,
    "Init Binary": facts.InitBinary,
    "Kernel Version": facts.KernelVersion,
    "Operating System": facts.OperatingSystem,
    OSType: facts.OSType,
    Architecture: facts.Architecture,
    CPUs: facts.NCPU,
    "Total Memory": binarySize(facts.MemTotal),
    Name: facts.Name,
    "Docker Root Dir": facts.DockerRootDir,
  };
  const lines = Object.entries(server).map(([key, value]) => ` ${key}: ${value}`);
  return ["Client:", ` Version:    ${facts.ServerVersion}`, "", "Server:", ...lines, ""].join("\n");
}

export const infoCommand = defineCommand({
  usage: "[options]",
  description: "Shows the host, the store, and each program berth uses with its path and version.",
  flags: { ...objectFormatFlag, debug: { type: "bool", short: "D", hidden: true, help: "No effect" } },
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    const engine = await invocation.engine();
    if (personality.docker) {
      const { dockerInfo } = await import("../../engine/docker-info.ts");
      const facts = await dockerInfo(ctx, engine);
      if (flags.format === undefined) return out.write(dockerText(facts));
      if (flags.format === "json") return out.line(JSON.stringify(facts));
      return printFormatted(invocation, flags.format, facts);
    }
    const { info } = await import("../../engine/info.ts");
    const facts = await info(ctx, engine);
    if (flags.format === undefined) return out.write(outline(facts));
    if (flags.format === "json") return printJson(invocation, facts);
    await printFormatted(invocation, flags.format, facts);
  },
});
