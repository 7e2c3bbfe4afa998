import { resolve } from "node:path";
import { fail } from "../../core/error.ts";
import type { SyncImagesRequest } from "../../engine/sync-images.ts";
import { defineCommand, type Invocation } from "../command.ts";
import type { FlagValues } from "../flags.ts";
import { overriddenPlatform, placeOptions } from "../place-flags.ts";
import { createProgress, progressFlag } from "../progress.ts";
import { overrideFlags, twoPlacesFlags } from "../remote-flags.ts";
import { resultFlags } from "./copy.ts";

const FROM = ["docker", "dir", "yaml"] as const;
const TO = ["docker", "dir"] as const;

const syncFlags = {
  ...resultFlags,
  ...overrideFlags,
  ...progressFlag,
  src: { type: "string", short: "s", value: "WHAT", help: "What the source is: docker, dir or yaml" },
  dest: { type: "string", short: "d", value: "WHAT", help: "What the destination is: docker or dir" },
  scoped: { type: "bool", help: "Keep the whole names of the source below the destination" },
  "dry-run": { type: "bool", help: "Only print what would be copied" },
  "keep-going": { type: "bool", help: "Go on with the others when one fails" },
  quiet: { type: "bool", short: "q", help: "Print nothing" },
} as const;

type SyncValues = FlagValues<typeof syncFlags>;

function oneOf<T extends string>(flag: string, value: string | undefined, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  const problem =
    value === undefined || value === "" ? `--${flag} is missing` : `invalid --${flag} "${value}"`;
  throw fail("invalid-argument", problem, { reason: "arguments", hint: `choose ${known.join(", ")}` });
}

function requestOf({ args, changed, ...invocation }: Invocation): Omit<SyncImagesRequest, "onImage"> {
  const flags = invocation.flags as unknown as SyncValues;
  const from = oneOf("src", flags.src, FROM);
  const to = oneOf("dest", flags.dest, TO);
  const [source, destination] = args as [string, string];
  const platform = overriddenPlatform(flags);
  return {
    from,
    source: from === "docker" ? source : resolve(source),
    to,
    destination: to === "docker" ? destination.replace(/^docker:\/\//, "") : resolve(destination),
    scoped: flags.scoped,
    keepGoing: flags["keep-going"],
    dryRun: flags["dry-run"],
    copy: {
      multiArch: flags.all ? "all" : "system",
      ...(platform === undefined ? {} : { platform }),
      ...(flags.format === undefined ? {} : { format: flags.format === "oci" ? "oci" : "docker" }),
      preserveDigests: flags["preserve-digests"],
      referrers: flags.referrers,
      sourceRegistry: placeOptions(flags, changed, "src"),
      destinationRegistry: placeOptions(flags, changed, "dest"),
    },
  };
}

export const imageSyncCommand = defineCommand({
  usage: "[options] --src WHAT --dest WHAT SOURCE DESTINATION",
  description: `Copies every image of a source to a destination, and sends only what is not there yet. The source is a repository (docker: with a tag, that
one; else all tags), a directory of dir: images, or a YAML file that lists registries with their repositories and tags; the destination is a
registry with a prefix, or a directory. Prints where each image is now.`,
  examples: [
    "image sync --src docker --dest dir quay.io/prometheus/busybox /media/usb",
    "image sync --src dir --dest docker /media/usb localhost:5000/mirror",
    "image sync --src yaml --dest docker --scoped --keep-going list.yaml localhost:5000",
  ],
  flags: { ...syncFlags, ...twoPlacesFlags },
  args: { min: 2, max: 2 },
  completes: { first: "files" },
  async run(invocation) {
    const { ctx, out } = invocation;
    const flags = invocation.flags as unknown as SyncValues;
    const request = requestOf(invocation as unknown as Invocation);
    const engine = await invocation.engine();
    const { syncImages } = await import("../../engine/sync-images.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    await syncImages({ ...ctx, progress: progress.report }, engine, {
      ...request,
      onImage: ({ destination }) => (flags.quiet ? undefined : out.line(destination)),
    });
    progress.finish();
  },
});
