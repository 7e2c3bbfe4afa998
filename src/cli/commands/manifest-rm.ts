import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { shownRepository } from "../image-row.ts";
import { shownId } from "../manifest-flags.ts";

export const manifestRmCommand = defineCommand({
  usage: "LIST [LIST...]",
  description:
    "Removes manifest lists from the store. Images that they list and that have names of their own stay. Exit code 1: there is no such list.",
  examples: ["manifest rm site:1"],
  flags: { ignore: { type: "bool", short: "i", help: "A list that does not exist is no error" } },
  args: { min: 1 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, args, flags, out, personality } = invocation;
    const engine = await invocation.engine();
    const { removeList } = await import("../../engine/manifest-remove.ts");
    return forEach(invocation, args, async (list) => {
      if (flags.ignore && engine.manifests.find(list) === undefined) return;
      const { untagged, deleted } = await removeList(ctx, engine, { list });
      for (const name of untagged) out.line(`Untagged: ${shownRepository(name, personality.docker)}`);
      for (const id of deleted) out.line(`Deleted: ${personality.docker ? id : shownId(id)}`);
    });
  },
});
