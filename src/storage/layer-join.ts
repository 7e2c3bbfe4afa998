/**
 * Joining a layer, unpacked on its own, to the layers below it. Directories that its tar does not list look as they do
 * below; and where the tar counts on what lies below (a name that leads through a lower link, a hard link to a
 * lower file) it is unpacked once more, with just that copied up before. The result is what
 * unpacking all layers one over the other into one directory would show.
 */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import type { Sys } from "../sys/sys.ts";
import { copyUp, planCopyUp } from "./copy-up.ts";
import { inheritMetadata } from "./inherit.ts";
import { Merged } from "./merged.ts";
import type { Unpacked } from "./unpack.ts";

export interface JoinRequest {
  diff: string;
  /** Diff directories of the layers below that show, topmost first. */
  lowers: string[];
  unpacked: Unpacked;
  /** Empties `diff`. */
  empty: () => void;
  /** Unpacks again; absent where the tar was made of a directory, so that nothing in it can count on lower layers. */
  again?: (() => Promise<Unpacked>) | undefined;
}

/** Errors: invalid-argument for a hard link to nothing, canceled, data-loss, those of unpacking. */
export async function joinLowers(ctx: Ctx, sys: Sys, request: JoinRequest): Promise<Unpacked> {
  const { diff, lowers, unpacked, empty, again } = request;
  const overLinks = inheritMetadata(sys, diff, lowers, unpacked.implied);
  if (again === undefined || (overLinks.length === 0 && unpacked.missing.length === 0)) return unpacked;
  const [implied, targets] = [unpacked.implied, unpacked.missing].map((paths) =>
    paths.map((path) => Buffer.from(path).toString("latin1")),
  ) as [string[], string[]];
  using merged = new Merged(sys, diff, lowers);
  const plan = planCopyUp(merged, { implied, overLinks, targets });
  // Without a target the second try gives the error.
  if (plan.dirs.size + plan.links.size + plan.files.size + targets.length === 0) return unpacked;
  empty();
  const bytes = copyUp(ctx, sys, plan, diff);
  const second = await again();
  if (second.diffId !== unpacked.diffId) {
    throw fail("data-loss", `the blob of layer "${unpacked.diffId}" changed while it was read`, {
      reason: "diff-id-mismatch",
    });
  }
  inheritMetadata(sys, diff, lowers, second.implied);
  return { ...second, size: second.size + bytes };
}
