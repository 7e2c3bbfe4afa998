/** What cosign 2 attaches by tag rather than by `subject`: `sha256-HEX.sig`, `.att` and `.sbom` beside the image in its repository. */
import type { Ctx } from "../../core/ctx.ts";
import type { Digest, Reference } from "../../image/image.ts";
import { formatReference } from "../../image/reference.ts";
import { copyImage, type CopyImageRequest } from "../copy-image.ts";
import type { Engine } from "../engine.ts";
import { registryOptions } from "../pull.ts";
import type { Place } from "./transfer.ts";

const SUFFIXES = ["sig", "att", "sbom"];

/** Only between registries: nowhere else do tags lie side by side. Errors: those of the registries. */
export async function copyCosignTags(
  ctx: Ctx,
  engine: Engine,
  request: CopyImageRequest,
  digests: Digest[],
): Promise<void> {
  const { source, destination } = request;
  if (source.transport !== "docker" || destination.transport !== "docker") return;
  const { openRegistry } = await import("../../registry/client.ts");
  const client = openRegistry(source.reference as Reference, registryOptions(engine, request.sourceRegistry));
  const wanted = digests.flatMap((digest) =>
    SUFFIXES.map((suffix) => `${digest.replace(":", "-")}.${suffix}`),
  );
  // One list instead of a question for each.
  const there = new Set(await client.tags(ctx));
  for (const tag of wanted.filter((one) => there.has(one))) {
    await copyImage(ctx, engine, {
      ...request,
      source: withTag(source, tag),
      destination: withTag(destination, tag),
      multiArch: "all",
      names: [],
      referrers: false,
      isAttached: true,
    });
  }
}

function withTag(place: Place, tag: string): Place {
  const { digest: _, ...reference } = { ...(place.reference as Reference), tag };
  return { ...place, reference, text: `docker://${formatReference(reference)}` };
}
