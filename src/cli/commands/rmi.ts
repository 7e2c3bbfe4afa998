import { fail } from "../../core/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { shownRepository } from "../image-row.ts";
import { forEach } from "../each.ts";

async function selectImages(invocation: Invocation, engine: Engine, all: boolean): Promise<string[]> {
  const { args, ctx } = invocation;
  if (all === args.length > 0) {
    const message = all ? "--all and names cannot be used together" : "image name or ID must be specified";
    throw fail("invalid-argument", message, { reason: "arguments" });
  }
  if (!all) return args;
  const { listImages } = await import("../../engine/images.ts");
  return [...new Set(listImages(ctx, engine, { all: true, filters: [] }).map(({ record }) => record.id))];
}

export const rmiCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description:
    "Removes names of images, and images that have no name left. Exit code 1: there is no such image; 2: it is in use.",
  flags: {
    all: { type: "bool", short: "a", help: "All images" },
    force: { type: "bool", short: "f", help: "Also with several names, and the containers that use it" },
    ignore: { type: "bool", short: "i", help: "An image that does not exist is no error" },
    "no-prune": { type: "bool", hidden: true, help: "No effect: there are no parents" },
    platform: { type: "string", hidden: true, unsupported: true, help: "Platform" },
  },
  args: { min: 0 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    const engine = await invocation.engine();
    const { removeImage } = await import("../../engine/images.ts");
    const images = await selectImages(invocation, engine, flags.all);
    return forEach(invocation, images, async (image) => {
      const { force, ignore, all: allNames } = flags;
      const containers = !personality.docker;
      const request = { image, force, containers, allNames, ignore };
      const { untagged, deleted } = await removeImage(ctx, engine, request);
      for (const name of untagged) out.line(`Untagged: ${shownRepository(name, personality.docker)}`);
      for (const id of deleted) out.line(`Deleted: ${personality.docker ? id : id.replace(/^sha256:/, "")}`);
    });
  },
});
