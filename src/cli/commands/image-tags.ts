import { fail } from "../../core/error.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { printJson } from "../object-format.ts";
import { placeOptions } from "../place-flags.ts";
import { oneRegistryFlags } from "../remote-flags.ts";

const flags = { ...registryFlags, ...oneRegistryFlags };

/** A tag would not be listened to: better to say so. */
async function repositoryPlace({ args, personality }: Invocation) {
  const [{ parsePlace }, { parseReference }] = await Promise.all([
    import("../../engine/transfer/place.ts"),
    import("../../image/reference.ts"),
  ]);
  const text = args[0] as string;
  const place = parsePlace(text, personality.name === "skopeo" ? {} : { bare: "docker" });
  if (place.transport === "docker") {
    const { tag, digest } = parseReference(text.replace(/^docker:\/\//, ""));
    if (tag !== undefined || digest !== undefined) {
      throw fail("invalid-argument", `"${text}": a repository has no tag or digest`, { reason: "arguments" });
    }
  }
  return place;
}

export const imageTagsCommand = defineCommand({
  usage: "[options] REPOSITORY",
  description: "Lists the tags that a repository has on its registry, or the names in a docker-archive:FILE.",
  examples: ["image tags quay.io/prometheus/busybox", "image tags --format json localhost:5000/site"],
  flags: {
    ...flags,
    format: {
      type: "string",
      value: "FORMAT",
      choices: ["json", "plain"],
      help: "json, or plain: a tag a line",
    },
  },
  args: { min: 1, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, changed, out, personality } = invocation;
    const place = await repositoryPlace(invocation as unknown as Invocation);
    const engine = await invocation.engine();
    const { listTags } = await import("../../engine/remote-image.ts");
    const { repositoryName } = await import("../../image/reference.ts");
    const tags = await listTags(ctx, engine, { place, registry: placeOptions(invocation.flags, changed) });
    const isJson = (invocation.flags.format ?? (personality.name === "skopeo" ? "json" : "plain")) === "json";
    if (!isJson) {
      for (const tag of tags) out.line(tag);
      return;
    }
    const { reference } = place;
    const repository =
      place.transport === "docker" && reference !== undefined ? repositoryName(reference) : undefined;
    await printJson(invocation, {
      ...(repository === undefined ? {} : { Repository: repository }),
      Tags: tags,
    });
  },
});
