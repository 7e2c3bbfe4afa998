import { fail } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { annotationsOf, entryChange, entryFlags, shownId } from "../manifest-flags.ts";

export const manifestAnnotateCommand = defineCommand({
  usage: "[options] LIST [IMAGE]",
  description:
    "Says more of an entry of a manifest list, or with --index of the list itself. IMAGE is the entry's digest or the name of the image that it is.",
  examples: [
    "manifest annotate --variant v8 site:1 localhost/site:1-arm64",
    "manifest annotate --index --annotation org.opencontainers.image.version=1 site:1",
  ],
  flags: { ...entryFlags, ...registryFlags },
  args: { min: 1, max: 2 },
  completes: { first: "images" },
  async run({ ctx, flags, args, changed, out, personality, engine }) {
    const [list, image] = args as [string, string?];
    if (flags.index === (image !== undefined)) {
      throw fail(
        "invalid-argument",
        flags.index ? "--index takes no image" : "an image of the list must be named",
        {
          reason: "arguments",
        },
      );
    }
    const { annotateEntry } = await import("../../engine/manifest-list.ts");
    const { digest } = await annotateEntry(ctx, await engine(), {
      list,
      ...(image === undefined ? {} : { image }),
      change: flags.index ? { annotations: annotationsOf(flags.annotation) } : entryChange(flags),
      registry: registryOptions(flags, changed),
    });
    if (!personality.docker) out.line(shownId(digest));
  },
});
