import { attachIo, checkTerminal, attachFlags } from "../attach-io.ts";
import { defineCommand } from "../command.ts";
import { parseEnv } from "../container-env.ts";
import { fail } from "../../core/error.ts";
import { latestFlag, oneContainer } from "../select.ts";

export const execCommand = defineCommand({
  usage: "[options] CONTAINER COMMAND [ARG...]",
  description:
    "Runs one more command in a running container. The exit status is the command's; 125 is our own error,\n" +
    "126 a command that cannot be executed, 127 one that cannot be found.",
  examples: ["exec -it web sh", "exec -u nobody -w /tmp -e KEY=value web env"],
  flags: {
    ...latestFlag,
    "detach-keys": attachFlags["detach-keys"],
    detach: { type: "bool", short: "d", help: "Run in the background" },
    env: {
      type: "list",
      short: "e",
      value: "KEY[=VALUE]",
      help: "Environment variable; KEY alone takes ours",
    },
    "env-file": { type: "list", value: "FILE", help: "Read environment variables, one a line" },
    interactive: { type: "bool", short: "i", help: "Keep standard input open" },
    "preserve-fd": { type: "string", hidden: true, unsupported: true, help: "Descriptors" },
    "preserve-fds": { type: "int", hidden: true, unsupported: true, help: "Descriptors" },
    privileged: { type: "bool", help: "All capabilities" },
    tty: { type: "bool", short: "t", help: "Give it a terminal" },
    user: { type: "string", short: "u", value: "USER[:GROUP]", help: "User and group, names or numbers" },
    workdir: { type: "string", short: "w", value: "DIR", help: "Working directory" },
  },
  args: { min: 1 },
  interspersed: false,
  completes: { first: "running", rest: "files" },
  async run(invocation) {
    const { ctx, flags } = invocation;
    const engine = await invocation.engine();
    const { container, rest } = await oneContainer(invocation, engine);
    if (rest.length === 0)
      throw fail("invalid-argument", "you must provide a command to run", { reason: "arguments" });
    if (!flags.detach) checkTerminal(invocation, flags.interactive, flags.tty);
    const { exec } = await import("../../engine/exec.ts");
    const attach = attachIo({
      interactive: flags.interactive,
      tty: flags.tty,
      detachKeys: flags["detach-keys"],
      sigProxy: false,
    });
    const { sessionId, exitCode } = await exec(ctx, engine, {
      container,
      command: rest,
      env: parseEnv({ variables: flags.env, files: flags["env-file"] }),
      ...(flags.workdir === undefined ? {} : { workdir: flags.workdir }),
      ...(flags.user === undefined ? {} : { user: flags.user }),
      privileged: flags.privileged,
      terminal: flags.tty,
      stdin: flags.interactive,
      detach: flags.detach,
      ...(flags.detach ? {} : { attach }),
    });
    if (flags.detach && !invocation.personality.docker) invocation.out.line(sessionId);
    return exitCode;
  },
});
