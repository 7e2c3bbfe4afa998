import { fail } from "../../core/error.ts";
import type { LoadRequest } from "../../engine/load.ts";
import { standardInput, standardInputPath } from "../archive-output.ts";
import { defineCommand } from "../command.ts";
import { createProgress, progressFlag } from "../progress.ts";
import { isTerminal } from "../terminal.ts";

export const loadCommand = defineCommand({
  usage: "[options]",
  description:
    "Loads images from a docker or OCI archive, compressed or not, or from an OCI layout directory.",
  examples: ["load -i images.tar", "load < images.tar.gz"],
  flags: {
    input: { type: "string", short: "i", value: "FILE|DIR", help: "Read this instead of standard input" },
    "all-platforms": { type: "bool", help: "Load images for several platforms whole, as indexes" },
    platform: {
      type: "string",
      value: "OS/ARCH[/VARIANT]",
      help: "Of an image for several platforms load this one",
    },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 0, max: 0 },
  completes: { first: "files" },
  async run(invocation) {
    const { ctx, flags, out } = invocation;
    if (flags.input === undefined && isTerminal(0)) {
      throw fail("invalid-argument", "cannot read an archive from a terminal", {
        hint: "redirect standard input, or name a file with --input",
      });
    }
    const engine = await invocation.engine();
    const { load } = await import("../../engine/load.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const source = flags.input === undefined ? await standardSource() : { path: flags.input };
    const { names, ids } = await load({ ...ctx, progress: progress.report }, engine, {
      source,
      allPlatforms: flags["all-platforms"],
      ...(flags.platform === undefined ? {} : { platform: flags.platform }),
    });
    progress.finish();
    for (const name of names) out.line(`Loaded image: ${name}`);
    if (names.length === 0) for (const id of ids) out.line(`Loaded image: ${id}`);
  },
});

/** A file on standard input can be read from anywhere, and so is faster than a pipe. */
async function standardSource(): Promise<LoadRequest["source"]> {
  const path = await standardInputPath();
  return path === undefined ? standardInput() : { path, isNameless: true };
}
