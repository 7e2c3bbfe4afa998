import { fail } from "../../core/error.ts";
import { humanDuration } from "../../core/time.ts";
import type { ArtifactSummary } from "../../engine/artifact-list.ts";
import type { Filter } from "../../engine/engine.ts";
import { digestHex } from "../../image/digest.ts";
import { printReferrers } from "../artifact-tree.ts";
import { defineCommand } from "../command.ts";
import { registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { goTime } from "../container-row.ts";
import { parseFilters } from "../filters.ts";
import { splitName } from "../image-row.ts";
import { filterFlag, formatFlag, noHeadingFlag, noTruncFlag, quietFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";
import type { Personality } from "../personality.ts";
import { humanSize } from "../units.ts";

const COLUMNS = ["Repository", "Tag", "Digest", "Created", "Size"];
const HEADINGS = {
  Repository: "REPOSITORY",
  Tag: "TAG",
  Digest: "DIGEST",
  Type: "TYPE",
  Subject: "SUBJECT",
  Created: "CREATED",
  CreatedAt: "CREATED AT",
  Size: "SIZE",
  VirtualSize: "VIRTUAL SIZE",
};
const NONE = "<none>";

function rowOf(item: ArtifactSummary, personality: Personality, noTrunc: boolean) {
  const { name, record, type, created, size } = item;
  const { repository, tag } = name === undefined ? { repository: NONE, tag: NONE } : splitName(name);
  const shown = (digest: string): string => (noTrunc ? digestHex(digest) : digestHex(digest).slice(0, 12));
  return {
    Repository: repository,
    Tag: tag,
    Digest: shown(record.digest),
    Type: type,
    Subject: record.subject === undefined ? "" : shown(record.subject),
    Created: `${humanDuration(Date.now() - Date.parse(created))} ago`,
    CreatedAt: goTime(created),
    Size: humanSize(size, { gap: personality.sizeGap }),
    VirtualSize: size,
  };
}

function json({ name, record, type, created, size, manifest }: ArtifactSummary): object {
  return {
    Name: name ?? "",
    Digest: record.digest,
    ArtifactType: type,
    Created: created,
    Size: size,
    Subject: record.subject ?? "",
    Annotations: manifest.annotations ?? {},
    RepoDigests: record.repoDigests,
  };
}

const TESTS: Record<string, (item: ArtifactSummary, value: string) => boolean> = {
  name: (item, value) => item.name?.includes(value) === true,
  subject: (item, value) => item.record.subject?.startsWith(value) === true,
  type: (item, value) => item.type === value,
};

/** Checked before there is anything to filter. Errors: invalid-argument. */
function checkFilters(filters: Filter[]): void {
  const unknown = filters.find(({ key }) => !Object.hasOwn(TESTS, key));
  if (unknown === undefined) return;
  throw fail("invalid-argument", `invalid filter "${unknown.key}"`, {
    hint: `choose ${Object.keys(TESTS).join(", ")}`,
  });
}

function matches(item: ArtifactSummary, filters: Filter[]): boolean {
  return filters.every(({ key, value, negate }) => TESTS[key]?.(item, value) !== (negate === true));
}

export const artifactLsCommand = defineCommand({
  usage: "[options]",
  description:
    "Lists the artifacts of the store, the newest first; with --remote what is attached to an image or artifact on a registry.",
  examples: ["artifact ls --filter type=application/spdx+json", "artifact ls --remote quay.io/me/app:1"],
  flags: {
    ...registryFlags,
    ...filterFlag,
    ...formatFlag,
    ...noHeadingFlag,
    ...noTruncFlag,
    ...quietFlag,
    remote: { type: "string", value: "REFERENCE", help: "What is attached to this, as a tree or as json" },
  },
  args: { min: 0, max: 0 },
  async run(invocation) {
    const { ctx, flags, changed, out, personality } = invocation;
    const filters = parseFilters(flags.filter);
    checkFilters(filters);
    const engine = await invocation.engine();
    if (flags.remote !== undefined) {
      if (filters.length > 0) throw fail("invalid-argument", "--filter is for the artifacts of the store");
      const { referrersOf } = await import("../../engine/artifact-referrers.ts");
      const registry = registryOptions(flags, changed);
      const request = { reference: flags.remote, registry, depth: Infinity, local: false };
      return await printReferrers(
        invocation,
        await referrersOf(ctx, engine, request),
        flags.format ?? "tree",
      );
    }
    const { listArtifacts } = await import("../../engine/artifact-list.ts");
    const items = listArtifacts(ctx, engine).filter((item) => matches(item, filters));
    if (flags.quiet) {
      for (const digest of new Set(items.map(({ record }) => record.digest))) out.line(digest);
      return;
    }
    await printListing(invocation, {
      rows: items.map((item) => rowOf(item, personality, flags["no-trunc"])),
      format: flags.format,
      columns: COLUMNS,
      headings: HEADINGS,
      json: () => items.map(json),
      noHeading: flags.noheading,
    });
  },
});
