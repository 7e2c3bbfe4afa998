import { isKind } from "../../core/error.ts";
import type { Engine } from "../../engine/engine.ts";
import { type AnyCommand, type Completes, defineCommand } from "../command.ts";

/** 0 when `look` finds it, 1 when it does not; nothing is printed. */
function existsCommand(
  noun: string,
  completes: Completes,
  look: (engine: Engine, name: string) => unknown,
): AnyCommand {
  return defineCommand({
    usage: noun.toUpperCase(),
    description: `Exit code 0: there is such ${noun === "image" ? "an" : "a"} ${noun}; 1: there is not.`,
    flags: {},
    args: { min: 1, max: 1 },
    quick: true,
    completes: { first: completes, rest: "none" },
    async run({ args, engine }) {
      try {
        await look(await engine(), args[0] as string);
        return 0;
      } catch (error) {
        if (isKind(error, "not-found")) return 1;
        throw error;
      }
    },
  });
}

export const containerExistsCommand = existsCommand("container", "containers", async (engine, name) => {
  const { resolveContainer } = await import("../../engine/list.ts");
  return resolveContainer(engine, name);
});

export const imageExistsCommand = existsCommand("image", "images", (engine, name) =>
  engine.images.resolve(name),
);

export const networkExistsCommand = existsCommand("network", "networks", (engine, name) =>
  engine.network.inspect(name),
);

export const manifestExistsCommand = existsCommand("manifest list", "images", async (engine, name) => {
  const { resolveList } = await import("../../engine/manifest-list.ts");
  return resolveList(engine, name);
});
