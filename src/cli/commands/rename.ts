import { defineCommand } from "../command.ts";

export const renameCommand = defineCommand({
  usage: "CONTAINER NAME",
  description: "Gives a container another name.",
  flags: {},
  args: { min: 2, max: 2 },
  completes: { first: "containers", rest: "none" },
  async run({ ctx, args, engine }) {
    const { rename } = await import("../../engine/rename.ts");
    rename(ctx, await engine(), { container: args[0] as string, name: args[1] as string });
  },
});
