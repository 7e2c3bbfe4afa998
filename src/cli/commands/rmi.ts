import { fail } from "../../core/error.ts";
import type { Engine } from "../../engine/engine.ts";
import type { Removed } from "../../engine/remove-image.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { shownRepository } from "../image-row.ts";
import { forEach } from "../each.ts";
import { deleteFlags } from "../remote-flags.ts";

async function selectImages(invocation: Invocation, engine: Engine, all: boolean): Promise<string[]> {
  const { args, ctx } = invocation;
  if (all === args.length > 0) {
    const message = all ? "--all and names cannot be used together" : "image name or ID must be specified";
    throw fail("invalid-argument", message, { reason: "arguments" });
  }
  if (!all) return args;
  const { listImages } = await import("../../engine/images.ts");
  const own = listImages(ctx, engine, { all: true, filters: [] })
    .map(({ record }) => record)
    .filter(({ additionalStore }) => additionalStore === undefined);
  return [...new Set(own.map(({ id }) => id))];
}

/** As podman has it: what is none of the two outweighs "in use", and that "not there". */
const WEIGHTS = [0, 1, 2];

function weight(code: number): number {
  const index = WEIGHTS.indexOf(code);
  return index === -1 ? WEIGHTS.length : index;
}

/** What went, in podman's or docker's words. */
export function removedLines(removed: Removed, docker: boolean): string[] {
  const { untagged, deleted, repoDigests, layers } = removed;
  const names = docker ? [...untagged, ...repoDigests] : untagged;
  const gone = docker ? [...deleted, ...layers] : deleted;
  return [
    ...names.map((name) => `Untagged: ${shownRepository(name, docker)}`),
    ...gone.map((id) => `Deleted: ${docker ? id : id.replace(/^sha256:/, "")}`),
  ];
}

async function removeRemotely(invocation: Invocation): Promise<number> {
  const { deleteImages } = await import("./delete-remote.ts");
  return await deleteImages(invocation);
}

export const rmiCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description:
    "Removes names of images, and images that have no name left. Exit code 1: there is no such image; 2: it is in use.",
  examples: ["rmi site:1", "rmi --force 3fe0a91e6cd4", "rmi --remote localhost:5000/site:1"],
  flags: {
    ...deleteFlags,
    all: { type: "bool", short: "a", help: "All images" },
    force: { type: "bool", short: "f", help: "Also with several names, and the containers that use it" },
    ignore: { type: "bool", short: "i", help: "An image that does not exist is no error" },
    "no-prune": { type: "bool", help: "Leave the images without a name that it was made from" },
    platform: { type: "string", hidden: true, unsupported: true, help: "Platform" },
  },
  args: { min: 0 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, out, personality } = invocation;
    if (flags.remote) return await removeRemotely(invocation as unknown as Invocation);
    const engine = await invocation.engine();
    const { removeImage } = await import("../../engine/remove-image.ts");
    const images = await selectImages(invocation, engine, flags.all);
    const { force, all } = flags;
    const options = {
      force,
      allNames: all,
      // Some of all go with those that were made from them.
      ignore: flags.ignore || all,
      containers: !personality.docker,
      keepParents: flags["no-prune"],
    };
    let code = 0;
    for (const image of images) {
      const one = await forEach(invocation, [image], async () => {
        const removed = await removeImage(ctx, engine, { image, ...options });
        for (const line of removedLines(removed, personality.docker)) out.line(line);
      });
      if (weight(one) > weight(code)) code = one;
    }
    return code;
  },
});
