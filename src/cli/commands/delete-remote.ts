/** `rmi --remote`, and skopeo's delete: images on their registries. */
import { fail } from "../../core/error.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { forEach } from "../each.ts";
import { placeOptions } from "../place-flags.ts";
import { deleteFlags } from "../remote-flags.ts";

/** Prints what went; the exit code is that of the last failure. */
export async function deleteImages(invocation: Invocation): Promise<number> {
  const { ctx, args, changed, flags, out, personality } = invocation;
  if (args.length === 0) {
    throw fail("invalid-argument", "the name of an image must be given", { reason: "arguments" });
  }
  const odd = ["all", "force", "ignore", "no-prune"].find((name) => changed.has(name));
  if (odd !== undefined && personality.name !== "skopeo") {
    throw fail("invalid-argument", `--${odd} cannot be used with --remote`, { reason: "arguments" });
  }
  const isSkopeo = personality.name === "skopeo";
  const registry = placeOptions(flags, changed);
  const engine = await invocation.engine();
  const [{ deleteRemote }, { parsePlace }] = await Promise.all([
    import("../../engine/remote-image.ts"),
    import("../../engine/transfer/place.ts"),
  ]);
  return await forEach(invocation, args, async (name) => {
    const place = parsePlace(name, isSkopeo ? {} : { bare: "docker" });
    const deleted = await deleteRemote(ctx, engine, { place, registry });
    if (isSkopeo) return;
    out.line(`Untagged: ${deleted.name}`);
    out.line(`Deleted: ${deleted.digest}`);
  });
}

export const deleteCommand = defineCommand({
  usage: "[options] IMAGE",
  description: "Deletes an image on its registry.",
  flags: deleteFlags,
  args: { min: 1, max: 1 },
  completes: { first: "none" },
  run: (invocation) => deleteImages(invocation as unknown as Invocation),
});
