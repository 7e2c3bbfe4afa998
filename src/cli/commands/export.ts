import { refuseTerminal, writeArchive } from "../archive-output.ts";
import { defineCommand } from "../command.ts";

export const exportCommand = defineCommand({
  usage: "[options] CONTAINER",
  description: "Writes the files of a container as a tar archive to standard output or a file.",
  examples: ["export -o web.tar web"],
  flags: { output: { type: "string", short: "o", value: "FILE", help: "Write to this file" } },
  args: { min: 1, max: 1 },
  completes: { first: "containers", rest: "none" },
  async run({ ctx, flags, args, out, engine }) {
    refuseTerminal(flags.output);
    const store = await engine();
    const { exportContainer } = await import("../../engine/export.ts");
    await writeArchive(out, flags.output, exportContainer(ctx, store, { container: args[0] as string }));
  },
});
