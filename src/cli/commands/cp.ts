import { defineCommand } from "../command.ts";

export const cpCommand = defineCommand({
  usage: "[options] [CONTAINER:]SOURCE [CONTAINER:]TARGET",
  description:
    'Copies files between a container and the host. "-" is a tar archive on standard input or output.',
  examples: ["cp web:/etc/hostname .", "cp site/ web:/srv/www"],
  flags: {
    archive: { type: "bool", short: "a", default: true, help: "Give the files to the container's user" },
    "follow-link": { type: "bool", short: "L", help: "Copy what a link as SOURCE points to" },
    overwrite: { type: "bool", help: "Let directories and files replace each other" },
    quiet: { type: "bool", short: "q", hidden: true, help: "No effect" },
  },
  args: { min: 2, max: 2 },
  completes: { first: "files" },
  async run({ ctx, flags, args, engine }) {
    const { cp } = await import("../../engine/copy.ts");
    await cp(ctx, await engine(), {
      from: args[0] as string,
      to: args[1] as string,
      archive: flags.archive,
      follow: flags["follow-link"],
      overwrite: flags.overwrite,
    });
  },
});
