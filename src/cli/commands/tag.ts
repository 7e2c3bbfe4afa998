import { defineCommand } from "../command.ts";

export const tagCommand = defineCommand({
  usage: "IMAGE NAME [NAME...]",
  description: "Gives an image more names.",
  flags: {},
  args: { min: 2 },
  completes: { first: "images" },
  async run({ ctx, args, engine }) {
    const [image, ...names] = args as [string, ...string[]];
    const { tag } = await import("../../engine/images.ts");
    tag(ctx, await engine(), { image, names });
  },
});

export const untagCommand = defineCommand({
  usage: "IMAGE [NAME...]",
  description: "Takes names away from an image; all of them when none is given.",
  flags: {},
  args: { min: 1 },
  completes: { first: "images" },
  async run({ ctx, args, engine }) {
    const [image, ...names] = args as [string, ...string[]];
    const { untag } = await import("../../engine/images.ts");
    untag(ctx, await engine(), { image, names });
  },
});
