import { defineCommand } from "../command.ts";
import { shownId } from "../manifest-flags.ts";

export const manifestRemoveCommand = defineCommand({
  usage: "LIST IMAGE [IMAGE...]",
  description:
    "Removes entries from a manifest list. IMAGE is the entry's digest or the name of the image that it is.",
  examples: ["manifest remove site:1 localhost/site:1-arm64"],
  flags: {},
  args: { min: 2 },
  completes: { first: "images" },
  async run({ ctx, args, out, engine }) {
    const [list, ...images] = args as [string, ...string[]];
    const { removeFromList } = await import("../../engine/manifest-list.ts");
    const { digest } = await removeFromList(ctx, await engine(), { list, images, registry: {} });
    out.line(shownId(digest));
  },
});
