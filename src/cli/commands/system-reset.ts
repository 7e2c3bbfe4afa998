import { defineCommand } from "../command.ts";
import { confirm } from "../confirm.ts";
import { forceFlag } from "../list-flags.ts";

export const systemResetCommand = defineCommand({
  usage: "[options]",
  description:
    "Takes the whole store apart: all containers (running ones too), images, volumes, networks, and the store's directories.",
  flags: { ...forceFlag },
  args: { min: 0, max: 0 },
  async run({ ctx, flags, engine }) {
    const opened = await engine();
    const warning = [
      `WARNING! This will remove everything in ${opened.paths.root}:`,
      "  - all containers, running ones too",
      "  - all images",
      "  - all volumes with their data",
      "  - all networks",
    ].join("\n");
    if (!flags.force && !(await confirm(warning))) return;
    const { reset } = await import("../../engine/system.ts");
    await reset(ctx, opened);
  },
});
