import { defineCommand } from "../command.ts";

export const commitCommand = defineCommand({
  usage: "[options] CONTAINER [IMAGE]",
  description: "Makes an image from a container's files and settings, and prints its ID.",
  examples: ['commit -c "CMD /bin/serve" -m "with our site" web localhost/site:1'],
  flags: {
    author: { type: "string", short: "a", value: "NAME", help: "Author" },
    change: {
      type: "list",
      short: "c",
      value: "INSTRUCTION",
      help: "Dockerfile instruction to apply: CMD, ENV, …",
    },
    format: { type: "string", short: "f", default: "oci", choices: ["oci", "docker"], help: "oci or docker" },
    iidfile: { type: "string", value: "FILE", help: "Write the image's ID to this file" },
    "include-volumes": { type: "bool", hidden: true, unsupported: true, help: "Volumes" },
    message: { type: "string", short: "m", value: "TEXT", help: "Comment" },
    pause: { type: "bool", short: "p", default: true, help: "Freeze the container meanwhile" },
    quiet: { type: "bool", short: "q", help: "Print nothing but the ID" },
    squash: { type: "bool", short: "s", hidden: true, unsupported: true, help: "One layer" },
  },
  args: { min: 1, max: 2 },
  completes: { first: "containers", rest: "images" },
  async run({ ctx, flags, args, out, engine, personality }) {
    const store = await engine();
    const { commit } = await import("../../engine/commit.ts");
    const image = await commit(ctx, store, {
      container: args[0] as string,
      ...(args[1] === undefined ? {} : { name: args[1] }),
      ...(flags.message === undefined ? {} : { message: flags.message }),
      ...(flags.author === undefined ? {} : { author: flags.author }),
      changes: flags.change,
      pause: flags.pause,
      format: flags.format as "oci" | "docker",
    });
    const id = personality.docker ? image.id : image.id.replace(/^sha256:/, "");
    if (flags.iidfile !== undefined) process.getBuiltinModule("node:fs").writeFileSync(flags.iidfile, id);
    out.line(id);
  },
});
