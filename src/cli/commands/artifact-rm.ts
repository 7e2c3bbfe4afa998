import { fail } from "../../core/error.ts";
import { bare } from "../artifact-flags.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const artifactRmCommand = defineCommand({
  usage: "[options] ARTIFACT [ARTIFACT...]",
  description:
    "Removes artifacts from the store and prints their digests. One with several names only loses the one given.",
  examples: ["artifact rm quay.io/me/model:1", "artifact rm --all"],
  flags: {
    all: { type: "bool", short: "a", help: "All artifacts" },
    ignore: { type: "bool", short: "i", help: "An unknown artifact is no error" },
  },
  args: { min: 0 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, flags, args } = invocation;
    if (flags.all === args.length > 0) {
      throw fail(
        "invalid-argument",
        flags.all ? "--all leaves nothing to name" : "name an artifact, or give --all",
      );
    }
    const engine = await invocation.engine();
    const { listArtifacts, removeArtifact } = await import("../../engine/artifact-list.ts");
    const all = new Set(flags.all ? listArtifacts(ctx, engine).map(({ record }) => record.digest) : []);
    // One that was attached to another goes with it.
    const ignore = flags.ignore || flags.all;
    return await forEach(invocation as never, flags.all ? [...all] : args, (artifact) => {
      const removed = removeArtifact(ctx, engine, { artifact, ignore });
      return removed === undefined ? undefined : bare(removed.digest);
    });
  },
});
