import { printReferrers } from "../artifact-tree.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";

export const artifactReferrersCommand = defineCommand({
  usage: "[options] REFERENCE",
  description:
    "Shows what is attached to an image, an index or an artifact on a registry, and what is attached to that in turn.",
  examples: [
    "artifact referrers quay.io/me/app:1",
    "artifact referrers --type application/spdx+json --format json quay.io/me/app:1",
  ],
  flags: {
    ...registryFlags,
    depth: { type: "int", value: "LEVELS", default: 0, help: "Look no further than this; 0 for no limit" },
    format: {
      type: "string",
      value: "FORMAT",
      default: "tree",
      choices: ["tree", "json"],
      help: "How to show it: tree, json",
    },
    local: { type: "bool", help: "In the store instead of on a registry" },
    platform: {
      type: "string",
      value: "OS/ARCH[/VARIANT]",
      help: "Of an index's manifest for this platform",
    },
    type: { type: "string", value: "TYPE", aliases: ["artifact-type"], help: "Only what has this type" },
  },
  args: { min: 1, max: 1 },
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed } = invocation;
    const registry = registryOptions(flags, changed);
    const engine = await invocation.engine();
    const { referrersOf } = await import("../../engine/artifact-referrers.ts");
    const { type, local, platform } = flags;
    const depth = flags.depth > 0 ? flags.depth : Infinity;
    const request = { reference: args[0] as string, registry, type, local, platform, depth };
    await printReferrers(invocation, await referrersOf(ctx, engine, request), flags.format);
  },
});
