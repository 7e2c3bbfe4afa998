import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { createProgress, progressFlag } from "../progress.ts";

const FORMATS = { oci: "oci", v2s2: "docker", docker: "docker" } as const;

const unsupported = { type: "string", hidden: true, unsupported: true, help: "Not supported" } as const;

export const manifestPushCommand = defineCommand({
  usage: "[options] LIST [DESTINATION]",
  description:
    "Sends a manifest list and all images that it lists to a registry, under its own name or another, or to TRANSPORT:PLACE.",
  examples: [
    "manifest push site:1 registry.example.com/site:1",
    "manifest push --rm --digestfile site.digest site:1 docker://registry.example.com/site:1",
    "manifest push site:1 oci-archive:site.tar:1",
  ],
  flags: {
    ...registryFlags,
    all: { type: "bool", default: true, help: "Also the images; =false if they are there already" },
    "compression-format": {
      type: "string",
      value: "FORMAT",
      choices: ["gzip", "zstd"],
      help: "Compress all layers as gzip or zstd",
    },
    "compression-level": { type: "int", value: "LEVEL", help: "How hard: gzip 1 to 9, zstd 1 to 19" },
    digestfile: { type: "string", value: "FILE", help: "Write the digest of the list to this file" },
    "force-compression": { type: "bool", hidden: true, help: "No effect: always so" },
    format: {
      type: "string",
      short: "f",
      value: "FORMAT",
      choices: Object.keys(FORMATS),
      help: "Media types of the list and its images: oci or v2s2 (default: as they are)",
    },
    insecure: { type: "bool", hidden: true, help: "As --tls-verify=false" },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
    rm: {
      type: "bool",
      short: "p",
      aliases: ["purge"],
      help: "Remove the list from the store when it is there",
    },
    "remove-signatures": { type: "bool", hidden: true, help: "No effect: none are kept" },
    "add-compression": unsupported,
    "sign-by": unsupported,
    "sign-by-sigstore": unsupported,
    "sign-by-sigstore-private-key": unsupported,
    "sign-passphrase-file": unsupported,
  },
  args: { min: 1, max: 2 },
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed, out, personality } = invocation;
    const [list, destination] = args as [string, string?];
    const registry = registryOptions(flags, changed);
    const engine = await invocation.engine();
    const { pushList } = await import("../../engine/manifest-push.ts");
    const format = flags["compression-format"] as "gzip" | "zstd" | undefined;
    const level = flags["compression-level"];
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const { digest } = await pushList({ ...ctx, progress: progress.report }, engine, {
      list,
      ...(destination === undefined ? {} : { destination }),
      all: flags.all,
      ...(flags.format === undefined ? {} : { format: FORMATS[flags.format as keyof typeof FORMATS] }),
      ...(format === undefined ? {} : { compression: level === undefined ? { format } : { format, level } }),
      remove: flags.rm,
      registry: flags.insecure ? { ...registry, tlsVerify: false } : registry,
    });
    progress.finish();
    if (flags.digestfile !== undefined)
      process.getBuiltinModule("node:fs").writeFileSync(flags.digestfile, digest);
    if (personality.docker) out.line(digest);
    else if (!flags.quiet) out.error(`digest: ${digest}`);
  },
});
