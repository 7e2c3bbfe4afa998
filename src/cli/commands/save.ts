import { fail } from "../../core/error.ts";
import { refuseTerminal, writeArchive } from "../archive-output.ts";
import { defineCommand } from "../command.ts";
import { createProgress, progressFlag } from "../progress.ts";

const FORMATS = ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] as const;
type Format = (typeof FORMATS)[number];

export const saveCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description: "Writes images to an archive on standard output or in a file, or to a directory.",
  examples: ["save -o site.tar site:1", "save --format oci-archive site:1 | zstd > site.tar.zst"],
  flags: {
    compress: { type: "bool", hidden: true, help: "No effect: layers are written as they are kept" },
    format: {
      type: "string",
      value: "FORMAT",
      default: "docker-archive",
      choices: FORMATS,
      help: FORMATS.join(", "),
    },
    "multi-image-archive": {
      type: "bool",
      short: "m",
      hidden: true,
      help: "No effect: several images are always possible",
    },
    output: { type: "string", short: "o", value: "FILE|DIR", help: "Write here" },
    platform: { type: "string", hidden: true, unsupported: true, help: "Platform" },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 1 },
  completes: { first: "images" },
  async run({ ctx, flags, args, out, engine }) {
    const format = flags.format as Format;
    const isDirectory = format.endsWith("-dir");
    if (isDirectory && flags.output === undefined) {
      throw fail("invalid-argument", `--format ${format} needs --output`, { reason: "arguments" });
    }
    refuseTerminal(flags.output);
    const store = await engine();
    const { save } = await import("../../engine/save.ts");
    const path = isDirectory ? { path: flags.output as string } : {};
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const stream = save({ ...ctx, progress: progress.report }, store, { images: args, format, ...path });
    if (!isDirectory) await writeArchive(out, flags.output, stream);
    else for await (const chunk of stream) out.bytes(chunk);
    progress.finish();
  },
});
