import { defineCommand } from "../command.ts";

export const cpCommand = defineCommand({
  usage: "[options] [CONTAINER:]SOURCE [CONTAINER:]TARGET",
  description:
    'Copies files between a container and the host. "-" is a tar archive on standard input or output.',
  examples: ["cp web:/etc/hostname .", "cp site/ web:/srv/www"],
  flags: {
    archive: {
      type: "bool",
      short: "a",
      default: true,
      help: "Give what comes into a container to its user; docker keeps owners unless told",
    },
    "follow-link": { type: "bool", short: "L", help: "Copy what a link as SOURCE points to" },
    overwrite: { type: "bool", help: "Let directories and files replace each other" },
    quiet: { type: "bool", short: "q", hidden: true, help: "No effect" },
  },
  args: { min: 2, max: 2 },
  completes: { first: "files" },
  async run({ ctx, flags, args, engine, changed, personality }) {
    const { cp } = await import("../../engine/copy.ts");
    await cp(ctx, await engine(), {
      from: args[0] as string,
      to: args[1] as string,
      archive: personality.docker && !changed.has("archive") ? false : flags.archive,
      // podman follows the source always.
      follow: flags["follow-link"] || !personality.docker,
      overwrite: flags.overwrite,
    });
  },
});
