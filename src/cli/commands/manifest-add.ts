import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { annotationsOf, entryChange, entryFlags, shownId } from "../manifest-flags.ts";

export const manifestAddCommand = defineCommand({
  usage: "[options] LIST IMAGE [IMAGE...]",
  description:
    "Adds images to a manifest list: of the store, else of a registry, or of TRANSPORT:PLACE. What is on a registry stays there until the list is pushed.",
  examples: [
    "manifest add site:1 localhost/site:1-arm64",
    "manifest add --arch arm --variant v7 site:1 docker://registry.example.com/site:1-armv7",
    "manifest add --all site:1 oci-archive:other.tar",
  ],
  flags: {
    ...entryFlags,
    ...registryFlags,
    all: { type: "bool", help: "Of an image that is a list add all that it lists" },
    artifact: { type: "bool", hidden: true, unsupported: true, help: "Files: see artifact add" },
  },
  args: { min: 2 },
  completes: { first: "images" },
  async run({ ctx, flags, args, changed, out, engine }) {
    const [list, ...images] = args as [string, ...string[]];
    const { addToList } = await import("../../engine/manifest-list.ts");
    const { digest } = await addToList(ctx, await engine(), {
      list,
      images,
      all: flags.all,
      change: entryChange(flags),
      indexAnnotations: flags.index ? annotationsOf(flags.annotation) : {},
      registry: registryOptions(flags, changed),
    });
    out.line(shownId(digest));
  },
});
