import { defineCommand } from "../command.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";

export const versionCommand = defineCommand({
  usage: "[options]",
  description: "Shows the version of berth and of what it is made with.",
  flags: objectFormatFlag,
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { versionFacts } = await import("../../engine/system.ts");
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
    // There is no daemon: client and server are the same program.
    const whole = { Client: part, Server: personality.docker ? part : null };
    if (flags.format === "json") return printJson(invocation, whole);
    if (flags.format !== undefined)
      return printFormatted(invocation, flags.format, { ...part, ...whole, Server: part });
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
