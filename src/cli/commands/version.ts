import type { VersionFacts } from "../../engine/version.ts";
import { defineCommand } from "../command.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";

/** There is no daemon: client and server are the same program. */
function dockerText({ version, apiVersion, gitCommit, built, os, arch }: VersionFacts): string {
  const rows = [
    ["Version:", version],
    ["API version:", apiVersion],
    ["Git commit:", gitCommit],
    ["Built:", built],
    ["OS/Arch:", `${os}/${arch}`],
  ] as const;
  const client = rows.map(([label, value]) => ` ${label.padEnd(19)}${value}`);
  const server = rows.map(([label, value]) => `  ${label.padEnd(18)}${value}`);
  return ["Client:", ...client, "", "Server: berth", " Engine:", ...server, ""].join("\n");
}

export const versionCommand = defineCommand({
  usage: "[options]",
  description: "Shows the version of berth and of what it is made with.",
  flags: objectFormatFlag,
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { versionFacts } = await import("../../engine/version.ts");
    const facts = versionFacts();
    const { flags, out, personality } = invocation;
    const osArch = `${facts.os}/${facts.arch}`;
    const part = {
      Version: facts.version,
      APIVersion: facts.apiVersion,
      ApiVersion: facts.apiVersion,
      BunVersion: facts.bun,
      GitCommit: facts.gitCommit,
      BuiltTime: facts.built,
      Built: facts.built,
      Os: facts.os,
      Arch: facts.arch,
      OsArch: osArch,
    };
    if (flags.format === "json") {
      if (personality.docker) return out.line(JSON.stringify({ Client: part, Server: part }));
      return printJson(invocation, { Client: part });
    }
    if (flags.format !== undefined)
      return printFormatted(invocation, flags.format, { ...part, Client: part, Server: part });
    if (personality.docker) return out.write(dockerText(facts));
    const rows = [
      ["Version:", facts.version],
      ["API Version:", facts.apiVersion],
      ["Bun Version:", facts.bun],
      ["Git Commit:", facts.gitCommit],
      ["Built:", facts.built],
      ["OS/Arch:", osArch],
    ].filter(([, value]) => value !== "");
    for (const [label, value] of rows) out.line(`${(label as string).padEnd(14)}${value}`);
  },
});
