import { fail } from "../../core/error.ts";
import { attachFlags, attachIo } from "../attach-io.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers, selectFlags } from "../select.ts";

// Here -a is --attach, as in podman and docker.
const { short: _, ...longAll } = selectFlags.all;

export const startCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description:
    "Starts containers that were created or have ended. With --attach the exit status is the container's.",
  flags: {
    ...selectFlags,
    all: longAll,
    ...attachFlags,
    attach: { type: "bool", short: "a", help: "Stay with its output until it ends" },
    interactive: { type: "bool", short: "i", help: "Pass our input to it; implies --attach" },
  },
  args: { min: 0 },
  completes: { first: "containers" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { start } = await import("../../engine/start.ts");
    const names = await selectContainers(
      invocation,
      engine,
      ({ state }) => state === "created" || state === "exited",
    );
    if (!flags.attach && !flags.interactive) {
      return forEach(invocation, names, async (name) => {
        await start(ctx, engine, { container: name });
        return name;
      });
    }
    if (names.length > 1) {
      throw fail("invalid-argument", "only one container can be attached to", { reason: "arguments" });
    }
    const container = names[0] as string;
    const { resolveContainer } = await import("../../engine/list.ts");
    const { spec } = resolveContainer(engine, container);
    const attach = attachIo({
      interactive: flags.interactive,
      tty: spec.terminal,
      detachKeys: flags["detach-keys"],
      sigProxy: flags["sig-proxy"],
    });
    invocation.releaseSignals();
    const { exitCode } = await start(ctx, engine, { container, attach });
    return exitCode ?? 0;
  },
});
