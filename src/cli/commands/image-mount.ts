import { fail } from "../../core/error.ts";
import type { MountedImage } from "../../engine/image-mount.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { forEach } from "../each.ts";
import { printJson } from "../object-format.ts";
import { renderTable } from "../table.ts";

interface Shown extends MountedImage {
  /** As it was asked for. */
  name: string;
}

export const imageMountCommand = defineCommand({
  usage: "[options] [IMAGE...]",
  description:
    "Mounts images read-only and prints where; without an image, lists those that are mounted.\n" +
    "They stay mounted until they are unmounted as often as they were mounted, removed by force, or the machine goes down.",
  examples: ["image mount site:1", "image mount --format json"],
  flags: {
    all: { type: "bool", short: "a", help: "Mount all images" },
    format: { type: "string", value: "json", choices: ["json"], help: 'Only "json"' },
  },
  args: { min: 0 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, args } = invocation;
    if (flags.all && args.length > 0) throw allAndNames();
    const engine = await invocation.engine();
    const { mount, mounted } = await import("../../engine/image-mount.ts");
    if (args.length === 0 && !flags.all) {
      const list = mounted(ctx, engine).map((one) => ({ ...one, name: nameOf(one) }));
      return await print(invocation, list, flags.format);
    }
    const done: Shown[] = [];
    const wanted = flags.all ? engine.images.list().map(({ id }) => id) : args;
    const code = await forEach(invocation, wanted, async (image) => {
      const one = await mount(ctx, engine, { image });
      done.push({ ...one, name: flags.all ? nameOf(one) : image });
    });
    await print(invocation, done, flags.format);
    return code;
  },
});

export const imageUnmountCommand = defineCommand({
  usage: "[options] IMAGE [IMAGE...]",
  description:
    "Undoes one mount of each image and prints the IDs; an image that is not mounted is left alone.\n" +
    "It is unmounted when that was the last one, or at once with --force.",
  examples: ["image unmount site:1", "image unmount --all --force"],
  flags: {
    all: { type: "bool", short: "a", help: "All that are mounted" },
    force: { type: "bool", short: "f", help: "However often it was mounted, and although it is in use" },
  },
  args: { min: 0 },
  completes: { first: "images" },
  async run(invocation) {
    const { ctx, flags, args } = invocation;
    if (flags.all && args.length > 0) throw allAndNames();
    if (!flags.all && args.length === 0) {
      throw fail("invalid-argument", "image name or ID must be specified", { reason: "arguments" });
    }
    const engine = await invocation.engine();
    const { mounted, unmount } = await import("../../engine/image-mount.ts");
    const images = flags.all ? mounted(ctx, engine).map(({ record }) => record.id) : args;
    return forEach(invocation, images, async (image) => {
      const id = await unmount(ctx, engine, { image, force: flags.force });
      return id?.replace(/^sha256:/, "");
    });
  },
});

function allAndNames(): Error {
  return fail("invalid-argument", "when using the --all switch, you may not pass any image names or IDs", {
    reason: "arguments",
  });
}

function nameOf({ record }: MountedImage): string {
  return record.names[0] ?? record.id.replace(/^sha256:/, "");
}

/** One image asked for: its path alone, for scripts; else a line for each. */
async function print(invocation: Invocation, list: Shown[], format: string | undefined): Promise<void> {
  const { out, personality, args } = invocation;
  if (format === "json") {
    const objects = list.map(({ record, path }) => ({
      id: record.id.replace(/^sha256:/, ""),
      Names: record.repoDigests,
      Repositories: record.names,
      mountpoint: path,
    }));
    await printJson(invocation, objects);
    return;
  }
  const [only] = list;
  if (args.length === 1) {
    if (only !== undefined) out.line(only.path);
    return;
  }
  out.write(
    renderTable(
      list.map(({ name, path }) => [name, path]),
      personality.padding,
    ),
  );
}
