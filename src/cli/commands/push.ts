import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { createProgress, progressFlag } from "../progress.ts";

export const pushCommand = defineCommand({
  usage: "[options] IMAGE [DESTINATION]",
  description: "Sends an image to a registry, under its own name or another.",
  examples: ["push localhost:5000/site:1", "push site:1 registry.example.com/site:1"],
  flags: {
    ...registryFlags,
    digestfile: { type: "string", value: "FILE", help: "Write the digest of the manifest to this file" },
    format: { type: "string", short: "f", hidden: true, unsupported: true, help: "Manifest type" },
    "compression-format": { type: "string", hidden: true, unsupported: true, help: "Compression" },
    "all-tags": { type: "bool", short: "a", hidden: true, unsupported: true, help: "All tags" },
    "sign-by": { type: "string", hidden: true, unsupported: true, help: "Signature" },
    "remove-signatures": { type: "bool", hidden: true, help: "No effect: none are kept" },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 1, max: 2 },
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed, out, personality } = invocation;
    const engine = await invocation.engine();
    const { push } = await import("../../engine/push.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const { digest } = await push({ ...ctx, progress: progress.report }, engine, {
      image: args[0] as string,
      ...(args[1] === undefined ? {} : { destination: args[1].replace(/^docker:\/\//, "") }),
      registry: registryOptions(flags, changed),
    });
    progress.finish();
    if (flags.digestfile !== undefined)
      process.getBuiltinModule("node:fs").writeFileSync(flags.digestfile, digest);
    if (personality.docker) out.line(flags.quiet ? (args[0] as string) : `digest: ${digest}`);
    else if (!flags.quiet) out.error(`digest: ${digest}`);
  },
});
