import { composeFlags, composeRequest } from "../artifact-flags.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { createProgress, progressFlag } from "../progress.ts";

export const artifactAttachCommand = defineCommand({
  usage: "[options] SUBJECT [FILE[:TYPE]...]",
  description:
    "Attaches files (a bill of materials, a signature, a report) to an image, an index or an artifact on a registry, and prints where they are. The subject itself does not change. Without files the annotations say it all.",
  examples: [
    "artifact attach --type application/spdx+json quay.io/me/app:1 sbom.spdx.json",
    "artifact attach --type application/vnd.example.review --annotation by=ann localhost:5000/app:1",
  ],
  flags: {
    ...registryFlags,
    ...composeFlags,
    ...progressFlag,
    annotation: { type: "map", value: "KEY=VALUE", help: "Annotation of what is attached" },
    "file-annotation": { type: "map", value: "KEY=VALUE", help: "Annotation of each file" },
    local: { type: "bool", help: "The subject is in the store; what is attached stays there as long as it" },
    platform: {
      type: "string",
      value: "OS/ARCH[/VARIANT]",
      help: "Attach to an index's manifest for this platform",
    },
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 1 },
  completes: { first: "images", rest: "files" },
  async run(invocation) {
    const { ctx, flags, args, changed, out } = invocation;
    const [subject = "", ...files] = args;
    const registry = registryOptions(flags, changed);
    const engine = await invocation.engine();
    const { attach } = await import("../../engine/artifact-push.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const annotations = { files: flags["file-annotation"], manifest: flags.annotation };
    const { reference } = await attach({ ...ctx, progress: progress.report }, engine, {
      ...composeRequest(flags, files, annotations),
      subject,
      local: flags.local,
      platform: flags.platform,
      registry,
    });
    progress.finish();
    out.line(reference);
  },
});
