import { fail } from "../../core/error.ts";
import type { PushedArtifact } from "../../engine/artifact-push.ts";
import { composeFlags, composeRequest } from "../artifact-flags.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { createProgress, progressFlag } from "../progress.ts";

export const artifactPushCommand = defineCommand({
  usage: "[options] ARTIFACT [DESTINATION] | [options] --file FILE[:TYPE] DESTINATION",
  description:
    "Sends an artifact to a registry: one of the store, or with --file one made of files on the way, without a copy of them.",
  examples: [
    "artifact push quay.io/me/model:1",
    "artifact push site/report:1 registry.example.com/report:1",
    "artifact push --file hi.txt --file data/ --type application/vnd.example localhost:5000/hello:v1",
  ],
  flags: {
    ...registryFlags,
    ...composeFlags,
    ...progressFlag,
    annotation: { type: "map", value: "KEY=VALUE", help: "With --file: annotation of the artifact" },
    digestfile: { type: "string", value: "FILE", help: "Write the digest of the manifest to this file" },
    file: { type: "list", value: "FILE[:TYPE]", help: "Make the artifact of this file or directory" },
    "file-annotation": { type: "map", value: "KEY=VALUE", help: "With --file: annotation of each file" },
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 1, max: 2 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed, out } = invocation;
    const [first = "", destination] = args;
    const ofFiles = flags.file.length > 0;
    for (const name of ["annotation", "file-annotation", "type", "file-type", "config"]) {
      if (ofFiles || !changed.has(name)) continue;
      throw fail("invalid-argument", `--${name} is for artifacts that are made of --file`, {
        hint: "an artifact of the store is sent as it is",
      });
    }
    if (ofFiles && destination !== undefined) {
      throw fail("invalid-argument", "with --file there is one destination and nothing else", {
        hint: "give --file before every file",
      });
    }
    const registry = registryOptions(flags, changed);
    const engine = await invocation.engine();
    const { pushArtifact, pushFiles } = await import("../../engine/artifact-push.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const watched = { ...ctx, progress: progress.report };
    const annotations = { files: flags["file-annotation"], manifest: flags.annotation };
    const pushed: PushedArtifact = ofFiles
      ? await pushFiles(watched, engine, {
          ...composeRequest(flags, flags.file, annotations),
          destination: first,
          registry,
        })
      : await pushArtifact(watched, engine, { artifact: first, destination, registry });
    progress.finish();
    if (flags.digestfile !== undefined)
      process.getBuiltinModule("node:fs").writeFileSync(flags.digestfile, pushed.digest);
    if (!flags.quiet) out.error(`digest: ${pushed.digest}`);
  },
});
