import { fail } from "../../core/error.ts";
import { attachFlags, attachIo, checkTerminal } from "../attach-io.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { createFlags, otherContainerFlags } from "../container-flags.ts";
import { createRequest } from "../container-spec.ts";
import type { FlagValues } from "../flags.ts";
import { createProgress } from "../progress.ts";

const flags = {
  ...createFlags,
  ...attachFlags,
  detach: { type: "bool", short: "d", help: "Run in the background and print the container's ID" },
} as const;

type Values = FlagValues<typeof flags>;

function checkDetach(values: Values): void {
  if (!values.detach) return;
  if (values.attach.length > 0) {
    throw fail("invalid-argument", "--attach and --detach cannot be used together", { reason: "arguments" });
  }
}

function ioOf(invocation: Invocation, values: Values): ReturnType<typeof attachIo> {
  checkTerminal(invocation, values.interactive, values.tty);
  return attachIo({
    interactive: values.interactive,
    tty: values.tty,
    detachKeys: values["detach-keys"],
    sigProxy: values["sig-proxy"],
    only: values.attach,
  });
}

export const runCommand = defineCommand({
  usage: "[options] IMAGE [COMMAND [ARG...]]",
  description:
    "Creates a container from an image and starts it. In the foreground its exit status is ours; 125 is our own\n" +
    "error, 126 a command that cannot be executed, 127 one that cannot be found.",
  examples: [
    "run --rm -it docker.io/library/alpine sh",
    "run -d --name web -p 8080:80 -v /srv/www:/usr/share/nginx/html:ro docker.io/library/nginx",
  ],
  flags: { ...flags, ...(otherContainerFlags() as Record<never, never>) },
  args: { min: 1 },
  interspersed: false,
  completes: { first: "images", rest: "files" },
  async run(invocation) {
    const values = invocation.flags;
    const { out, personality, changed } = invocation;
    checkDetach(values);
    const request = createRequest(
      { flags: values, args: invocation.args, docker: personality.docker, detached: values.detach },
      changed,
    );
    const attach = values.detach ? undefined : ioOf(invocation, values);
    const engine = await invocation.engine();
    const { run } = await import("../../engine/run.ts");
    using progress = createProgress({ quiet: values.quiet });
    const ctx = { ...invocation.ctx, progress: progress.report };
    const { id, exitCode } = await run(ctx, engine, {
      ...request,
      detach: values.detach,
      ...(attach === undefined ? {} : { attach }),
      onCreated: () => {
        progress.finish();
        // From here on the container is the one to be told.
        if (attach !== undefined) invocation.releaseSignals();
      },
    });
    if (values.detach) out.line(id);
    return exitCode;
  },
});
