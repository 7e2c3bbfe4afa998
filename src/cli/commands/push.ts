import { DEFAULT_LEVEL, MAX_LEVEL } from "../../archive/compress-parallel.ts";
import { fail } from "../../core/error.ts";
import type { LayerChoice } from "../../engine/image-source-stored.ts";
import type { Pushed, PushRequest } from "../../engine/push.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import type { FlagValues } from "../flags.ts";
import { createProgress, progressFlag } from "../progress.ts";

const FORMATS = { oci: "oci", v2s2: "docker", docker: "docker" } as const;

const flagTable = {
  ...registryFlags,
  "all-tags": { type: "bool", short: "a", help: "Push every tag of the repository that is in the store" },
  compression: {
    type: "string",
    value: "FORMAT[:LEVEL]",
    help: "Compress layers with gzip (levels 1 to 9) or zstd (1 to 19), also those compressed otherwise",
  },
  "compression-format": {
    type: "string",
    value: "FORMAT",
    choices: ["gzip", "zstd"],
    help: "As --compression, without a level",
  },
  "compression-level": { type: "int", value: "LEVEL", help: "Level for --compression-format, or for gzip" },
  digestfile: { type: "string", value: "FILE", help: "Write the digest of the manifest to this file" },
  "force-compression": {
    type: "bool",
    help: "Compress again what is compressed otherwise; =false compresses only what is not compressed",
  },
  format: {
    type: "string",
    short: "f",
    value: "FORMAT",
    choices: Object.keys(FORMATS),
    help: "Media types of the manifest: oci, v2s2 (docker)",
  },
  platform: {
    type: "string",
    value: "OS/ARCH[/VARIANT]",
    help: "Of an image for several platforms push this one only",
  },
  "sign-by": { type: "string", hidden: true, unsupported: true, help: "Signature" },
  "remove-signatures": { type: "bool", hidden: true, help: "No effect: none are kept" },
  ...progressFlag,
  quiet: { type: "bool", short: "q", help: "Show no progress" },
} as const;

type Flags = FlagValues<typeof flagTable>;

export const pushCommand = defineCommand({
  usage: "[options] IMAGE [DESTINATION]",
  description:
    "Sends an image, or an index (manifest list) with all that it lists, to a registry, under its own name or another.",
  examples: [
    "push localhost:5000/site:1",
    "push site:1 registry.example.com/site:1",
    "push --compression zstd:6 --digestfile site.digest localhost:5000/site:1",
    "push --all-tags localhost:5000/site",
  ],
  flags: flagTable,
  args: { min: 1, max: 2 },
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const request = pushRequest(invocation);
    const engine = await invocation.engine();
    const { push } = await import("../../engine/push.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const { digest, pushed } = await push({ ...ctx, progress: progress.report }, engine, request);
    progress.finish();
    if (flags.digestfile !== undefined)
      process.getBuiltinModule("node:fs").writeFileSync(flags.digestfile, digest);
    print(invocation, pushed);
  },
});

type PushInvocation = Pick<
  Invocation<typeof flagTable>,
  "flags" | "args" | "changed" | "out" | "personality"
>;

function pushRequest({ flags, args, changed }: PushInvocation): PushRequest {
  const [image = "", destination] = args;
  const compression = layerChoice(flags, changed);
  return {
    image,
    ...(destination === undefined ? {} : { destination: destination.replace(/^docker:\/\//, "") }),
    registry: registryOptions(flags, changed),
    allTags: flags["all-tags"],
    ...(compression === undefined ? {} : { compression }),
    ...(flags.format === undefined ? {} : { format: FORMATS[flags.format as keyof typeof FORMATS] }),
    ...(flags.platform === undefined ? {} : { platform: flags.platform }),
  };
}

/** Undefined where nothing was said. Errors: invalid-argument. */
function layerChoice(flags: Flags, changed: ReadonlySet<string>): LayerChoice | undefined {
  const [named, levelText] = (flags.compression ?? flags["compression-format"] ?? "").split(":", 2);
  const isNamed = named !== "" && named !== undefined;
  if (!isNamed && flags["compression-level"] === undefined && !flags["force-compression"]) return undefined;
  const format = isNamed ? named : "gzip";
  if (format !== "gzip" && format !== "zstd") {
    throw fail("invalid-argument", `invalid compression "${format}"`, {
      reason: "flag-value",
      hint: "use gzip or zstd, with a level after a colon if you like: zstd:6",
    });
  }
  const level = levelText === undefined ? flags["compression-level"] : Number(levelText);
  checkLevel(format, level);
  const force = changed.has("force-compression") ? flags["force-compression"] : isNamed;
  return { format, force, level: level ?? DEFAULT_LEVEL[format] };
}

function checkLevel(format: "gzip" | "zstd", level: number | undefined): void {
  if (level === undefined || (Number.isInteger(level) && level >= 1 && level <= MAX_LEVEL[format])) return;
  throw fail("invalid-argument", `invalid compression level for ${format}`, {
    reason: "flag-value",
    hint: `use a number from 1 to ${MAX_LEVEL[format]}`,
  });
}

/** Docker's lines under its name; as podman does, only talk on stderr otherwise. */
function print({ flags, args, out, personality }: PushInvocation, pushed: Pushed[]): void {
  if (personality.docker && flags.quiet) return out.line(args[0] as string);
  for (const { name, digest, size } of pushed) {
    const tag = name.slice(name.lastIndexOf(":") + 1);
    if (personality.docker) out.line(`${tag}: digest: ${digest} size: ${size}`);
    else if (!flags.quiet) out.error(pushed.length === 1 ? `digest: ${digest}` : `${tag}: digest: ${digest}`);
  }
}
