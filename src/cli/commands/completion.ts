import { fail } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { completionScript, type Shell, SHELLS } from "../completion.ts";

export const completionCommand = defineCommand({
  usage: "[options] bash|zsh|fish",
  description:
    "Prints a script that makes the shell complete commands, flags and the names of containers and images.",
  examples: ["completion bash > /etc/bash_completion.d/berth"],
  flags: {
    file: { type: "string", short: "f", value: "FILE", help: "Write it to this file" },
    "no-desc": { type: "bool", hidden: true, help: "No effect" },
  },
  args: { min: 1, max: 1 },
  quick: true,
  completes: { first: SHELLS, rest: "none" },
  run({ flags, args, out, personality }) {
    const shell = args[0] as string;
    if (!SHELLS.includes(shell)) {
      throw fail("invalid-argument", `there is no completion for "${shell}"`, {
        hint: `choose ${SHELLS.join(", ")}`,
      });
    }
    const script = completionScript(shell as Shell, personality.name);
    if (flags.file === undefined) out.write(script);
    else process.getBuiltinModule("node:fs").writeFileSync(flags.file, script);
  },
});
