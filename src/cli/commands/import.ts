import { createReadStream, statSync } from "node:fs";
import { fail } from "../../core/error.ts";
import { standardInput } from "../archive-output.ts";
import { defineCommand } from "../command.ts";
import { platformFlags } from "../container-flags.ts";
import { parsePlatformFlags } from "../container-values.ts";

const CHUNK = 1024 * 1024;

async function* remote(url: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    throw fail("unavailable", `cannot fetch "${url}": ${(cause as Error).message}`, { cause });
  }
  if (!response.ok || response.body === null) {
    throw fail("unavailable", `cannot fetch "${url}": the server answered ${response.status}`);
  }
  yield* response.body as unknown as AsyncIterable<Uint8Array>;
}

function file(path: string): AsyncIterable<Uint8Array> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw fail("invalid-argument", `there is no file "${path}"`);
  if (stat.isDirectory()) throw fail("invalid-argument", `"${path}" is a directory, not an archive`);
  return createReadStream(path, { highWaterMark: CHUNK });
}

function source(path: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
  if (path === "-") return standardInput();
  return /^https?:\/\//.test(path) ? remote(path, signal) : file(path);
}

export const importCommand = defineCommand({
  usage: "[options] FILE|URL|- [IMAGE]",
  description: "Makes an image of one layer from a tar archive of a root file system, and prints its ID.",
  examples: ['import -c "CMD /bin/sh" rootfs.tar.gz localhost/base:1'],
  flags: {
    ...platformFlags,
    change: {
      type: "list",
      short: "c",
      value: "INSTRUCTION",
      help: "Dockerfile instruction to apply: CMD, ENV, …",
    },
    message: { type: "string", short: "m", value: "TEXT", help: "Comment" },
    quiet: { type: "bool", short: "q", help: "Print nothing but the ID" },
  },
  args: { min: 1, max: 2 },
  completes: { first: "files", rest: "none" },
  async run(invocation) {
    const { ctx, flags, args, out } = invocation;
    const platform = parsePlatformFlags(flags);
    const engine = await invocation.engine();
    const { importRootfs } = await import("../../engine/import.ts");
    const image = await importRootfs(ctx, engine, {
      source: source(args[0] as string, ctx.signal),
      ...(args[1] === undefined ? {} : { name: args[1] }),
      ...(flags.message === undefined ? {} : { message: flags.message }),
      changes: flags.change,
      ...(platform === undefined ? {} : { platform }),
    });
    out.line(image.id);
  },
});
