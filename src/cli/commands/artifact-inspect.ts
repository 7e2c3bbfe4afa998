import type { Invocation } from "../command.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";

/** podman's shape; the manifest is as it was written, with what nobody knows about in it. */
interface Shown {
  Manifest: unknown;
  Name: string;
  Digest: string;
}

async function local(invocation: Invocation, name: string): Promise<Shown> {
  const engine = await invocation.engine();
  const { resolveArtifact } = await import("../../engine/artifact-list.ts");
  const { digest, names } = resolveArtifact(engine, name);
  const text = new TextDecoder().decode(engine.content.read(digest));
  return { Manifest: JSON.parse(text), Name: names[0] ?? "", Digest: digest };
}

export const artifactInspectCommand = defineCommand({
  usage: "[options] ARTIFACT",
  description: "Shows the manifest of an artifact in full.",
  examples: [
    "artifact inspect quay.io/me/model:1",
    "artifact inspect --remote quay.io/me/model:2 --format '{{.Digest}}'",
  ],
  flags: {
    ...registryFlags,
    ...objectFormatFlag,
    remote: { type: "bool", help: "Of the artifact on its registry" },
  },
  args: { min: 1, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, flags, args, changed } = invocation;
    const [name = ""] = args;
    let shown: Shown;
    if (flags.remote) {
      const { artifactIn, openRemote } = await import("../../engine/artifact-remote.ts");
      const { formatReference } = await import("../../image/reference.ts");
      const request = { reference: name, registry: registryOptions(flags, changed) };
      const remote = await openRemote(ctx, await invocation.engine(), request);
      artifactIn(remote);
      shown = {
        Manifest: JSON.parse(new TextDecoder().decode(remote.bytes)),
        Name: formatReference(remote.reference),
        Digest: remote.descriptor.digest,
      };
    } else {
      shown = await local(invocation as unknown as Invocation, name);
    }
    if (flags.format === undefined || flags.format === "json") return await printJson(invocation, shown);
    await printFormatted(invocation, flags.format, shown);
  },
});
