import { fail } from "../../core/error.ts";
import { parseDuration } from "../../core/time.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { selectContainers } from "../select.ts";
import { latestFlag } from "../select.ts";

type Condition = "stopped" | "running" | "exited" | "removed";

/** The engine's word for each condition of podman and docker. */
const CONDITIONS: Record<string, Condition> = {
  stopped: "stopped",
  exited: "exited",
  running: "running",
  removed: "removed",
  removing: "removed",
  "not-running": "stopped",
  "next-exit": "exited",
};

function conditionOf(texts: readonly string[]): Condition {
  const text = texts.at(-1) ?? "stopped";
  const condition = CONDITIONS[text];
  if (condition === undefined) {
    throw fail("invalid-argument", `invalid condition "${text}"`, {
      hint: `choose ${Object.keys(CONDITIONS).join(", ")}`,
    });
  }
  return condition;
}

function intervalOf(text: string): number {
  return /^\d+$/.test(text) ? Number(text) : parseDuration(text);
}

export const waitCommand = defineCommand({
  usage: "[options] CONTAINER [CONTAINER...]",
  description: "Waits until containers end, or another condition is true, and prints their exit codes.",
  flags: {
    ...latestFlag,
    condition: { type: "csv", value: "STATE", help: "stopped (default), exited, running or removed" },
    ignore: { type: "bool", help: "A container that does not exist counts as ended, with -1" },
    interval: {
      type: "string",
      short: "i",
      value: "TIME",
      default: "250ms",
      help: "How often to look at most",
    },
  },
  args: { min: 0 },
  completes: { first: "running" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const condition = conditionOf(flags.condition);
    const intervalMs = intervalOf(flags.interval);
    const engine = await invocation.engine();
    const names = await selectContainers(invocation, engine);
    const { wait } = await import("../../engine/wait.ts");
    return forEach(invocation, names, async (container) => {
      try {
        return String(await wait(ctx, engine, { container, condition, intervalMs }));
      } catch (error) {
        const missing = error instanceof Error && "kind" in error && error.kind === "not-found";
        if (flags.ignore && missing) return "-1";
        throw error;
      }
    });
  },
});
