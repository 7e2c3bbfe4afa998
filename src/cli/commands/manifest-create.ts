import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { annotationsOf, shownId } from "../manifest-flags.ts";

export const manifestCreateCommand = defineCommand({
  usage: "[options] LIST [IMAGE...]",
  description:
    "Creates a manifest list (image index), empty or with images of the store, of registries or of other places.",
  examples: [
    "manifest create site:1",
    "manifest create site:1 localhost/site:1-amd64 localhost/site:1-arm64",
    "manifest create --all mirror:3.20 docker.io/library/alpine:3.20",
  ],
  flags: {
    all: { type: "bool", help: "Of an image that is a list add all that it lists" },
    amend: { type: "bool", short: "a", help: "Add to a list of this name if there is one" },
    annotation: { type: "list", value: "KEY=VALUE", help: "Annotation of the list" },
    insecure: { type: "bool", hidden: true, help: "As --tls-verify=false" },
    ...registryFlags,
  },
  args: { min: 1 },
  completes: { first: "none", rest: "images" },
  async run({ ctx, flags, args, changed, out, personality, engine }) {
    const [name, ...images] = args as [string, ...string[]];
    const { createList } = await import("../../engine/manifest-list.ts");
    const registry = registryOptions(flags, changed);
    const { digest, name: full } = await createList(ctx, await engine(), {
      name,
      images,
      all: flags.all,
      amend: flags.amend,
      annotations: annotationsOf(flags.annotation),
      registry: flags.insecure ? { ...registry, tlsVerify: false } : registry,
    });
    out.line(personality.docker ? `Created manifest list ${full}` : shownId(digest));
  },
});
