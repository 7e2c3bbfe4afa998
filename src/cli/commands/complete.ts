import { defineCommand } from "../command.ts";
import { candidates } from "../complete.ts";

export const completeCommand = defineCommand({
  usage: "-- [WORD...]",
  description: "Prints what the last word could become, one a line, with a tab before its description.",
  flags: {},
  args: { min: 0 },
  quick: true,
  interspersed: false,
  async run(invocation) {
    const lines = await candidates(invocation.args, { engine: invocation.engine, ctx: invocation.ctx });
    for (const line of lines) invocation.out.line(line);
  },
});
