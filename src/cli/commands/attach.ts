import { attachFlags, attachIo } from "../attach-io.ts";
import { defineCommand } from "../command.ts";
import { latestFlag, oneContainer } from "../select.ts";

export const attachCommand = defineCommand({
  usage: "[options] CONTAINER",
  description:
    "Joins the terminal or the streams of a running container. The exit status is the container's.",
  flags: { ...latestFlag, ...attachFlags, "no-stdin": { type: "bool", help: "Do not pass our input" } },
  args: { min: 0, max: 1 },
  completes: { first: "running", rest: "none" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { container } = await oneContainer(invocation, engine);
    const { resolveContainer } = await import("../../engine/list.ts");
    const { spec } = resolveContainer(engine, container);
    const { attach } = await import("../../engine/attach.ts");
    const io = attachIo({
      interactive: spec.openStdin && !flags["no-stdin"],
      tty: spec.terminal,
      detachKeys: flags["detach-keys"],
      sigProxy: flags["sig-proxy"],
    });
    invocation.releaseSignals();
    return attach(ctx, engine, { container, io });
  },
});
