import { bare, composeFlags, composeRequest } from "../artifact-flags.ts";
import { defineCommand } from "../command.ts";

export const artifactAddCommand = defineCommand({
  usage: "[options] NAME FILE[:TYPE] [FILE[:TYPE]...]",
  description:
    "Makes an artifact of files and directories in the store and prints its digest. Files go by their last name; a directory becomes a compressed archive.",
  examples: [
    "artifact add quay.io/me/model:1 weights.bin",
    "artifact add --type application/vnd.example.report site/report:1 report.json:application/json",
    "artifact add --append site/report:1 notes.txt",
  ],
  flags: {
    ...composeFlags,
    annotation: { type: "map", value: "KEY=VALUE", help: "Annotation of each of the files" },
    append: { type: "bool", short: "a", help: "Add the files to an artifact that is there" },
    "manifest-annotation": { type: "map", value: "KEY=VALUE", help: "Annotation of the artifact itself" },
    replace: { type: "bool", help: "Take the name from an artifact that has it" },
  },
  args: { min: 2 },
  completes: { first: "none", rest: "files" },
  async run({ ctx, flags, args, changed, out, engine }) {
    const [name = "", ...files] = args;
    const { append, replace } = flags;
    if (
      append &&
      (replace || changed.has("type") || changed.has("config") || changed.has("manifest-annotation"))
    ) {
      const { fail } = await import("../../core/error.ts");
      throw fail("invalid-argument", "--append keeps what the artifact is: only files can be added", {
        hint: "leave out --type, --config, --manifest-annotation and --replace",
      });
    }
    const { addArtifact } = await import("../../engine/artifact-add.ts");
    const annotations = { files: flags.annotation, manifest: flags["manifest-annotation"] };
    const request = { ...composeRequest(flags, files, annotations), name, append, replace };
    const { digest } = await addArtifact(ctx, await engine(), request);
    out.line(bare(digest));
  },
});
