import { fail } from "../../core/error.ts";
import { defineCommand } from "../command.ts";
import { platformFlags, registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { parsePlatformFlags } from "../container-values.ts";
import { forEach } from "../each.ts";
import { createProgress, progressFlag } from "../progress.ts";

function checkAllPlatforms(flags: Record<string, unknown>, changed: ReadonlySet<string>): void {
  if (flags["all-platforms"] !== true) return;
  const other = ["all-tags", "platform", "arch", "os", "variant", "policy"].find((name) => changed.has(name));
  if (other === undefined) return;
  throw fail("invalid-argument", `--all-platforms and --${other} cannot be used together`, {
    reason: "arguments",
  });
}

export const pullCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description: "Fetches images from their registries and prints their IDs.",
  examples: ["pull docker.io/library/alpine:3.20", "pull --platform linux/arm64 quay.io/prometheus/busybox"],
  flags: {
    ...registryFlags,
    ...platformFlags,
    "all-platforms": {
      type: "bool",
      help: "All that an index lists: foreign platforms are kept without unpacking",
    },
    "all-tags": { type: "bool", short: "a", help: "All tags of the repository" },
    policy: {
      type: "string",
      value: "POLICY",
      default: "always",
      choices: ["always", "missing", "newer", "never"],
      help: "When to pull: always, missing, newer, never",
    },
    ...progressFlag,
    quiet: { type: "bool", short: "q", help: "Show no progress" },
  },
  args: { min: 1 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, args, changed, out, personality } = invocation;
    checkAllPlatforms(flags, changed);
    const platform = parsePlatformFlags(flags);
    const registry = registryOptions(flags, changed);
    const engine = await invocation.engine();
    const { pull } = await import("../../engine/pull.ts");
    return forEach(invocation, args, async (reference) => {
      if (!flags.quiet) out.error(`Trying to pull ${reference}...`);
      using progress = createProgress({ quiet: flags.quiet, mode: flags.progress });
      if (flags["all-platforms"]) {
        const { pullAllPlatforms } = await import("../../engine/pull-index.ts");
        const reporting = { ...ctx, progress: progress.report };
        const { digest } = await pullAllPlatforms(reporting, engine, { reference, registry });
        progress.finish();
        return personality.docker ? reference : digest.replace(/^sha256:/, "");
      }
      const image = await pull({ ...ctx, progress: progress.report }, engine, {
        reference,
        policy: flags.policy as "always" | "missing" | "newer" | "never",
        ...(platform === undefined ? {} : { platform }),
        allTags: flags["all-tags"],
        registry,
        quiet: flags.quiet,
      });
      progress.finish();
      // docker ends with the name, podman with the id.
      return personality.docker ? (image.names[0] ?? reference) : image.id.replace(/^sha256:/, "");
    });
  },
});
