import { defineCommand } from "../command.ts";
import { oneContainer } from "../select.ts";
import { printJson } from "../object-format.ts";

export const diffCommand = defineCommand({
  usage: "[options] CONTAINER|IMAGE",
  description: "Lists what was added (A), changed (C) or deleted (D) in a container's or an image's files.",
  flags: {
    format: { type: "string", value: "json", choices: ["json"], help: 'Only "json"' },
    latest: { type: "bool", short: "l", help: "The container created last" },
  },
  args: { min: 0, max: 1 },
  completes: { first: "objects", rest: "none" },
  async run(invocation) {
    const engine = await invocation.engine();
    const { container } = await oneContainer(invocation, engine);
    const { diff } = await import("../../engine/diff.ts");
    const changes = diff(invocation.ctx, engine, { name: container });
    if (invocation.flags.format === undefined) {
      for (const { kind, path } of changes) invocation.out.line(`${kind} ${path}`);
      return;
    }
    const paths = (wanted: string): string[] | undefined => {
      const found = changes.filter(({ kind }) => kind === wanted).map(({ path }) => path);
      return found.length > 0 ? found : undefined;
    };
    await printJson(invocation, { changed: paths("C"), added: paths("A"), deleted: paths("D") });
  },
});
