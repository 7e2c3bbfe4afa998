import { fail } from "../../core/error.ts";
import { bare } from "../artifact-flags.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { createProgress, progressFlag } from "../progress.ts";

export const artifactPullCommand = defineCommand({
  usage: "[options] ARTIFACT",
  description:
    "Fetches an artifact from a registry into the store and prints its digest; with --output its files go into a directory instead, and their names are printed.",
  examples: ["artifact pull quay.io/me/model:1", "artifact pull --output models quay.io/me/model:1"],
  flags: {
    ...registryFlags,
    ...progressFlag,
    output: { type: "string", short: "o", value: "DIR", help: "Write the files there and keep nothing" },
    overwrite: { type: "bool", help: "With --output: replace files that are there" },
    quiet: { type: "bool", short: "q", help: "Show no progress" },
    title: { type: "string", value: "NAME", help: "With --output: only this file" },
  },
  args: { min: 1, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed, out } = invocation;
    const { output, overwrite, title } = flags;
    if (output === undefined && (overwrite || title !== undefined)) {
      throw fail("invalid-argument", "--overwrite and --title are for --output");
    }
    const request = { reference: args[0] as string, registry: registryOptions(flags, changed) };
    const engine = await invocation.engine();
    const { pullArtifact, pullFiles } = await import("../../engine/artifact-pull.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const watched = { ...ctx, progress: progress.report };
    if (output === undefined) {
      const { digest } = await pullArtifact(watched, engine, request);
      progress.finish();
      out.line(bare(digest));
      return;
    }
    const { files } = await pullFiles(watched, engine, { ...request, directory: output, overwrite, title });
    progress.finish();
    for (const { path } of files) out.line(path);
  },
});
