import { defineCommand } from "../command.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";
import { outline } from "../outline.ts";

export const infoCommand = defineCommand({
  usage: "[options]",
  description: "Shows the host, the store, and each program berth uses with its path and version.",
  flags: { ...objectFormatFlag, debug: { type: "bool", short: "D", hidden: true, help: "No effect" } },
  args: { min: 0, max: 0 },
  quick: true,
  async run(invocation) {
    const { ctx, flags, out } = invocation;
    const engine = await invocation.engine();
    const { info } = await import("../../engine/info.ts");
    const facts = await info(ctx, engine);
    if (flags.format === undefined) return out.write(outline(facts));
    if (flags.format === "json") return printJson(invocation, facts);
    await printFormatted(invocation, flags.format, facts);
  },
});
