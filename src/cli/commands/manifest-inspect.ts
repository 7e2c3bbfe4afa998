import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";

/** docker indents by three, podman by four. */
const INDENT = { docker: 3, podman: 4 };

export const manifestInspectCommand = defineCommand({
  usage: "[options] LIST",
  description:
    "Shows a manifest list of the store, or what a registry or TRANSPORT:PLACE has under a name: the document as it is, indented.",
  examples: [
    "manifest inspect site:1",
    "manifest inspect docker://docker.io/library/alpine:3.20",
    "manifest inspect --format '{{range .manifests}}{{println .digest}}{{end}}' site:1",
  ],
  flags: {
    format: { type: "string", short: "f", value: "TEMPLATE|json", help: "Go template over the document" },
    insecure: { type: "bool", hidden: true, help: "As --tls-verify=false" },
    raw: { type: "bool", help: "Byte for byte" },
    verbose: { type: "bool", short: "v", hidden: true, help: "No effect: all is shown" },
    ...registryFlags,
  },
  args: { min: 1, max: 1 },
  completes: { first: "images", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed, out, personality } = invocation;
    const { inspectManifest } = await import("../../engine/manifest-inspect.ts");
    const registry = registryOptions(flags, changed);
    const { bytes } = await inspectManifest(ctx, await invocation.engine(), {
      name: args[0] as string,
      registry: flags.insecure ? { ...registry, tlsVerify: false } : registry,
    });
    if (flags.raw) return out.bytes(bytes);
    const document = JSON.parse(new TextDecoder().decode(bytes)) as object;
    if (flags.format !== undefined && flags.format !== "json") {
      const { printFormatted } = await import("../object-format.ts");
      return printFormatted(invocation, flags.format, document);
    }
    const { toJson } = await import("../template/functions.ts");
    out.line(toJson(document, { indent: " ".repeat(INDENT[personality.docker ? "docker" : "podman"]) }));
  },
});
