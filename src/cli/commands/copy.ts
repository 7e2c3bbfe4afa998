import { fail } from "../../core/error.ts";
import type { CopyImageRequest } from "../../engine/copy-image.ts";
import { defineCommand, type Invocation } from "../command.ts";
import type { FlagTable, FlagValues } from "../flags.ts";
import { overriddenPlatform, placeOptions } from "../place-flags.ts";
import { createProgress, progressFlag } from "../progress.ts";
import { overrideFlags, twoPlacesFlags } from "../remote-flags.ts";

const unsupported = { type: "string", hidden: true, unsupported: true, help: "Not supported" } as const;

/** Of a copy's result; sync has them too. */
export const resultFlags = {
  all: { type: "bool", short: "a", help: "All images of an index, not only this platform's" },
  format: {
    type: "string",
    short: "f",
    value: "FORMAT",
    choices: ["oci", "v2s2", "docker"],
    help: "Media types of the result: oci or v2s2 (default: those of the source)",
  },
  "preserve-digests": { type: "bool", help: "Fail rather than change anything that changes a digest" },
  referrers: { type: "bool", help: "Also what is attached: signatures, SBOMs, attestations" },
  "remove-signatures": {
    type: "bool",
    hidden: true,
    help: "No effect: signatures go along with --referrers only",
  },
  "sign-by": unsupported,
  "sign-by-sigstore-private-key": unsupported,
  "sign-passphrase-file": unsupported,
} as const satisfies FlagTable;

const copyFlags = {
  ...resultFlags,
  ...overrideFlags,
  ...progressFlag,
  "additional-tag": {
    type: "csv",
    value: "NAME",
    help: "One more name in a docker-archive, or in the store",
  },
  "dest-compress": { type: "bool", help: "Compress layers that are not" },
  "dest-compress-format": {
    type: "string",
    value: "FORMAT",
    choices: ["gzip", "zstd"],
    help: "Compress all layers as gzip or zstd",
  },
  "dest-compress-level": {
    type: "int",
    value: "LEVEL",
    help: "How hard to compress: gzip 1 to 9, zstd 1 to 19",
  },
  "dest-decompress": { type: "bool", help: "Take the compression off all layers" },
  "dest-oci-accept-uncompressed-layers": { type: "bool", hidden: true, help: "No effect: always so" },
  "dest-precompute-digests": { type: "bool", hidden: true, help: "No effect: always so" },
  digestfile: { type: "string", value: "FILE", help: "Write the digest of what is there now to this file" },
  "multi-arch": {
    type: "string",
    value: "WHICH",
    choices: ["system", "all", "index-only"],
    help: "Of an index: this system's image, all of it, or the index alone",
  },
  quiet: { type: "bool", short: "q", help: "Print nothing" },
  "decryption-key": unsupported,
  "encrypt-layer": unsupported,
  "encryption-key": unsupported,
  "sign-identity": unsupported,
} as const satisfies FlagTable;

type CopyValues = FlagValues<typeof copyFlags>;

function layerRules(flags: CopyValues): Pick<CopyImageRequest, "compression" | "compressPlain"> {
  const format = flags["dest-compress-format"] as "gzip" | "zstd" | undefined;
  const level = flags["dest-compress-level"];
  if (flags["dest-decompress"]) {
    if (!flags["dest-compress"] && format === undefined) return { compression: { format: "none" } };
    throw fail("invalid-argument", "--dest-compress and --dest-decompress cannot be used together", {
      reason: "arguments",
    });
  }
  const max = format === "zstd" ? 19 : 9;
  if (level !== undefined && (level < 1 || level > max)) {
    throw fail("invalid-argument", `invalid --dest-compress-level "${level}": it goes from 1 to ${max}`, {
      reason: "flag-value",
    });
  }
  const how = { format: format ?? ("gzip" as const), ...(level === undefined ? {} : { level }) };
  if (format !== undefined) return { compression: how };
  return flags["dest-compress"] || level !== undefined ? { compressPlain: how } : {};
}

function multiArch(flags: CopyValues): CopyImageRequest["multiArch"] {
  const which = flags["multi-arch"] as CopyImageRequest["multiArch"] | undefined;
  if (flags.all && which !== undefined && which !== "all") {
    throw fail("invalid-argument", "--all and --multi-arch cannot be used together", { reason: "arguments" });
  }
  return flags.all ? "all" : (which ?? "system");
}

async function requestOf({
  args,
  changed,
  personality,
  ...invocation
}: Invocation): Promise<CopyImageRequest> {
  const flags = invocation.flags as unknown as CopyValues;
  const [{ parsePlace }, { parseReference, withDefaultTag }] = await Promise.all([
    import("../../engine/transfer/place.ts"),
    import("../../image/reference.ts"),
  ]);
  // skopeo wants the transport said; here a plain name is one of the store.
  const options = personality.name === "skopeo" ? {} : ({ bare: "berth" } as const);
  const platform = overriddenPlatform(flags);
  return {
    source: parsePlace(args[0] as string, options),
    destination: parsePlace(args[1] as string, options),
    multiArch: multiArch(flags),
    ...(platform === undefined ? {} : { platform }),
    ...(flags.format === undefined ? {} : { format: flags.format === "oci" ? "oci" : "docker" }),
    ...layerRules(flags),
    preserveDigests: flags["preserve-digests"],
    referrers: flags.referrers,
    names: flags["additional-tag"].map((name) => withDefaultTag(parseReference(name))),
    sourceRegistry: placeOptions(flags, changed, "src"),
    destinationRegistry: placeOptions(flags, changed, "dest"),
  };
}

export const copyCommand = defineCommand({
  usage: "[options] SOURCE DESTINATION",
  description: `Copies an image between any two of: a registry (docker://HOST/NAME:TAG), the store (berth:NAME, or just NAME),
an OCI layout (oci:DIR[:REF]), an archive (oci-archive:FILE[:REF], docker-archive:FILE[:NAME]) and a directory of loose files (dir:DIR).
What the destination has is not sent again, and digests stay as they are unless something has to change.
Prints the digest of what is there now.`,
  examples: [
    "copy docker://quay.io/prometheus/busybox:latest oci:busybox:latest",
    "copy --all docker://docker.io/library/alpine:3.20 docker://localhost:5000/alpine:3.20",
    "copy site:1 docker-archive:site.tar:site:1",
  ],
  flags: { ...copyFlags, ...twoPlacesFlags },
  args: { min: 2, max: 2 },
  completes: { first: "images", rest: "images" },
  async run(invocation) {
    const { ctx, out, personality } = invocation;
    const flags = invocation.flags as unknown as CopyValues;
    const request = await requestOf(invocation);
    const engine = await invocation.engine();
    const { copyImage } = await import("../../engine/copy-image.ts");
    using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
    const { digest, changes } = await copyImage({ ...ctx, progress: progress.report }, engine, request);
    progress.finish();
    if (flags.digestfile !== undefined)
      process.getBuiltinModule("node:fs").writeFileSync(flags.digestfile, digest);
    if (flags.quiet) return;
    for (const change of changes) out.error(`the digest is another one: ${change}`);
    if (personality.name !== "skopeo") out.line(digest);
  },
});
