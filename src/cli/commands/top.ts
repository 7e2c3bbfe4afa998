import { defineCommand } from "../command.ts";
import { latestFlag, oneContainer } from "../select.ts";
import { renderTable } from "../table.ts";

export const topCommand = defineCommand({
  usage: "[options] CONTAINER [DESCRIPTOR...]",
  description:
    "Lists the processes of a running container, with the columns named by descriptors such as pid, user, args.",
  flags: latestFlag,
  args: { min: 0 },
  interspersed: false,
  completes: { first: "running", rest: "none" },
  async run(invocation) {
    const engine = await invocation.engine();
    const { container, rest } = await oneContainer(invocation, engine);
    const { top } = await import("../../engine/top.ts");
    // Several descriptors may come as one comma-separated word, as in ps -o.
    const descriptors = rest.flatMap((word) => word.split(",")).filter((word) => word !== "");
    const { docker } = invocation.personality;
    const { titles, processes } = top(invocation.ctx, engine, { container, descriptors, docker });
    invocation.out.write(renderTable([titles, ...processes], invocation.personality.padding));
  },
});
