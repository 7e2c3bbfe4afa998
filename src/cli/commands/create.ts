import { defineCommand } from "../command.ts";
import { createFlags, otherContainerFlags } from "../container-flags.ts";
import { createRequest } from "../container-spec.ts";
import { createProgress } from "../progress.ts";

export const createCommand = defineCommand({
  usage: "[options] IMAGE [COMMAND [ARG...]]",
  description: "Creates a container from an image and prints its ID. `start` starts it.",
  examples: ["create --name web -p 8080:80 docker.io/library/nginx"],
  flags: { ...createFlags, ...(otherContainerFlags() as Record<never, never>) },
  args: { min: 1 },
  interspersed: false,
  completes: { first: "images", rest: "files" },
  async run({ ctx, flags, args, changed, out, personality, engine }) {
    const request = createRequest({ flags, args, docker: personality.docker }, changed);
    const store = await engine();
    const { create } = await import("../../engine/create.ts");
    using progress = createProgress({ quiet: flags.quiet });
    const record = await create({ ...ctx, progress: progress.report }, store, request);
    progress.finish();
    out.line(record.id);
  },
});
