import { defineCommand } from "../command.ts";
import { printJson } from "../object-format.ts";

export const systemCheckCommand = defineCommand({
  usage: "[options]",
  description:
    "Looks for damage and leftovers in the store: blobs and layers against their digests, mounts, networks, records.\n" +
    "Exit code 1 when something is wrong and was not repaired.",
  flags: {
    format: { type: "string", value: "json", choices: ["json"], help: 'Only "json"' },
    quick: { type: "bool", short: "q", help: "Do not read the contents of blobs and layers" },
    repair: { type: "bool", short: "r", help: "Put right what can be put right" },
  },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, out } = invocation;
    const engine = await invocation.engine();
    const { check } = await import("../../engine/system.ts");
    const { findings } = await check(ctx, engine, { repair: flags.repair, quick: flags.quick });
    const open = findings.filter((finding) => !finding.repaired);
    if (flags.format === "json") {
      await printJson(invocation, findings);
    } else {
      for (const { kind, object, detail, repaired } of findings) {
        out.line(`${kind}: ${object}: ${detail}${repaired ? " (repaired)" : ""}`);
      }
      if (findings.length === 0) out.error("nothing is wrong");
    }
    return open.length > 0 ? 1 : 0;
  },
});
