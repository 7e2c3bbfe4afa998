import { fail } from "../../core/error.ts";
import { refuseTerminal, writeArchive } from "../archive-output.ts";
import { defineCommand } from "../command.ts";
import { createProgress, progressFlag } from "../progress.ts";

const FORMATS = ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] as const;
type Format = (typeof FORMATS)[number];

export const saveCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description:
    "Writes images, or indexes (manifest lists) with all that they list, to an archive on standard output or in a file, or to a directory.",
  examples: [
    "save -o site.tar site:1",
    "save --format oci-archive site:1 | zstd > site.tar.zst",
    "save --platform linux/arm64 -o site-arm64.tar site:1",
  ],
  flags: {
    compress: { type: "bool", help: "Compress layers that are kept without compression, with gzip" },
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
    platform: {
      type: "string",
      value: "OS/ARCH[/VARIANT]",
      help: "Of an image for several platforms save this one only",
    },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
    uncompressed: { type: "bool", hidden: true, help: "No effect: layers are written as they are kept" },
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
    const { savePieces } = await import("../../engine/save.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const pieces = savePieces({ ...ctx, progress: progress.report }, store, {
      images: args,
      format,
      compress: flags.compress,
      ...(isDirectory ? { path: flags.output as string } : {}),
      ...(flags.platform === undefined ? {} : { platform: flags.platform }),
    });
    // A directory is written by the engine: nothing of it comes this way.
    await writeArchive(out, isDirectory ? undefined : flags.output, pieces);
    progress.finish();
  },
});
