import { defineCommand } from "../command.ts";

export const artifactExtractCommand = defineCommand({
  usage: "[options] ARTIFACT PATH",
  description:
    "Writes the files of an artifact of the store into a directory under their own names, and prints where. A single file gets the name PATH where that is no directory.",
  examples: [
    "artifact extract quay.io/me/model:1 models/",
    "artifact extract site/report:1 report.json --title report.json",
  ],
  flags: {
    digest: { type: "string", value: "DIGEST", help: "Only the file with this digest, or beginning of one" },
    overwrite: { type: "bool", help: "Replace files that are there" },
    title: { type: "string", value: "NAME", help: "Only the file of this name" },
  },
  args: { min: 2, max: 2 },
  completes: { first: "none", rest: "files" },
  async run({ ctx, flags, args, out, engine }) {
    const { extractArtifact } = await import("../../engine/artifact-pull.ts");
    const [artifact = "", target = ""] = args;
    const { digest, title, overwrite } = flags;
    const request = { artifact, target, digest, title, overwrite };
    const { files } = await extractArtifact(ctx, await engine(), request);
    for (const { path } of files) out.line(path);
  },
});
