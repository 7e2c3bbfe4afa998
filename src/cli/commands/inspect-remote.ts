/** `inspect --remote`, and skopeo's inspect: an image where it lies. */
import { type Command, defineCommand, type Invocation } from "../command.ts";
import type { FlagValues } from "../flags.ts";
import { objectFormatFlag } from "../list-flags.ts";
import { printFormatted, printJson } from "../object-format.ts";
import { overriddenPlatform, placeOptions } from "../place-flags.ts";
import { remoteFlags } from "../remote-flags.ts";

type RemoteValues = FlagValues<typeof remoteFlags & typeof objectFormatFlag>;

/** Prints each image. Errors: those of the places. */
export async function inspectRemoteImages(invocation: Invocation, names: string[]): Promise<void> {
  const { personality } = invocation;
  const { parsePlace } = await import("../../engine/transfer/place.ts");
  for (const name of names)
    await print(invocation, parsePlace(name, personality.name === "skopeo" ? {} : { bare: "docker" }));
}

async function print(
  invocation: Invocation,
  place: ReturnType<(typeof import("../../engine/transfer/place.ts"))["parsePlace"]>,
): Promise<void> {
  const { ctx, changed, out } = invocation;
  const flags = invocation.flags as unknown as RemoteValues;
  const platform = overriddenPlatform(flags);
  const request = {
    place,
    registry: placeOptions(flags, changed),
    ...(platform === undefined ? {} : { platform }),
  };
  const engine = await invocation.engine();
  const { inspectRemote, rawConfig, rawManifest } = await import("../../engine/remote-image.ts");
  if (flags.raw) {
    out.bytes(await (flags.config ? rawConfig : rawManifest)(ctx, engine, request));
    return;
  }
  const object = flags.config
    ? (JSON.parse(new TextDecoder().decode(await rawConfig(ctx, engine, request))) as object)
    : await inspectRemote(ctx, engine, { ...request, tags: !flags["no-tags"] });
  const { format } = flags;
  if (format === undefined || format === "" || format === "json") await printJson(invocation, object);
  else await printFormatted(invocation, format, object);
}

export const remoteInspectCommand = defineCommand({
  usage: "[options] IMAGE",
  description: "Shows an image on its registry, in an archive, a layout or a directory.",
  flags: { ...remoteFlags, ...objectFormatFlag },
  args: { min: 1, max: 1 },
  run: (invocation) => inspectRemoteImages(invocation as unknown as Invocation, invocation.args),
} satisfies Command);
