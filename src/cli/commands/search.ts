import { fail } from "../../core/error.ts";
import type { SearchFilters } from "../../engine/search.ts";
import type { FoundImage } from "../../registry/search.ts";
import { defineCommand, type Invocation } from "../command.ts";
import { patienceFlags, registryFlags } from "../container-flags.ts";
import { registryOptions } from "../container-spec.ts";
import { formatFlag, noTruncFlag } from "../list-flags.ts";
import { printListing } from "../listing.ts";

/** As docker and podman ask for. */
const DEFAULT_LIMIT = 25;

const HEADINGS = {
  Index: "INDEX",
  Name: "NAME",
  Description: "DESCRIPTION",
  Stars: "STARS",
  StarCount: "STARS",
  Official: "OFFICIAL",
  IsOfficial: "OFFICIAL",
  Automated: "AUTOMATED",
  IsAutomated: "AUTOMATED",
  Tag: "TAG",
};

const flags = {
  ...noTruncFlag,
  ...formatFlag,
  authfile: registryFlags.authfile,
  "cert-dir": registryFlags["cert-dir"],
  compatible: { type: "bool", help: "Show stars, official and automated as well, as docker does" },
  creds: registryFlags.creds,
  filter: {
    type: "csv",
    short: "f",
    value: "CONDITION",
    help: "Only images this is true for: stars=N, is-official[=BOOL], is-automated[=BOOL]",
  },
  limit: { type: "int", value: "N", default: DEFAULT_LIMIT, help: "At most so many of each registry" },
  "list-tags": { type: "bool", help: "List the tags of a repository" },
  ...patienceFlags,
  "tls-verify": registryFlags["tls-verify"],
} as const;

const BOOLEAN: Record<string, boolean> = { "": true, true: true, "1": true, false: false, "0": false };

function searchFilters(texts: readonly string[]): SearchFilters {
  const filters: SearchFilters = {};
  for (const text of texts) {
    const [key = "", value = ""] = text.split(/=(.*)/s);
    if (key === "stars" && /^\d{1,9}$/.test(value)) filters.stars = Number(value);
    else if (key === "is-official" && Object.hasOwn(BOOLEAN, value))
      filters.official = BOOLEAN[value] as boolean;
    else if (key === "is-automated" && Object.hasOwn(BOOLEAN, value))
      filters.automated = BOOLEAN[value] as boolean;
    else {
      throw fail("invalid-argument", `invalid filter "${text}"`, {
        reason: "flag-value",
        hint: "choose stars=N, is-official[=BOOL] or is-automated[=BOOL]",
      });
    }
  }
  return filters;
}

/** One line; podman shows 44 characters and three dots, docker 45 with an ellipsis as the last. */
function shortened(text: string, docker: boolean): string {
  const characters = Array.from(text);
  if (docker) return characters.length <= 45 ? text : `${characters.slice(0, 44).join("")}…`;
  return characters.length <= 44 ? text : `${characters.slice(0, 44).join("")}...`;
}

const mark = (is: boolean): string => (is ? "[OK]" : "");

function podmanRow(image: FoundImage, full: boolean): object {
  return {
    Index: image.index,
    Name: image.name,
    Description: full ? image.description : shortened(image.description, false),
    Stars: image.stars,
    Official: mark(image.official),
    Automated: mark(image.automated),
    Tag: "",
  };
}

function dockerRow(image: FoundImage, full: boolean): object {
  const { index, name } = image;
  return {
    Name: index === "docker.io" ? name.replace(/^docker\.io\/(?:library\/)?/, "") : name,
    Description: full ? image.description : shortened(image.description, true),
    StarCount: String(image.stars),
    IsOfficial: image.official ? "[OK]" : "",
    IsAutomated: image.automated ? "[OK]" : "",
  };
}

async function printImages(invocation: Invocation<typeof flags>, images: FoundImage[]): Promise<void> {
  const { personality, flags: given } = invocation;
  const full = given["no-trunc"];
  const { docker } = personality;
  // podman says nothing at all then, docker shows the headings.
  if (images.length === 0 && !docker) return;
  const row = docker ? dockerRow : podmanRow;
  const extra = docker
    ? ["StarCount", "IsOfficial"]
    : given.compatible
      ? ["Stars", "Official", "Automated"]
      : [];
  await printListing(invocation, {
    rows: images.map((image) => row(image, full)),
    format: given.format,
    columns: ["Name", "Description", ...extra],
    headings: HEADINGS,
    json: () => images.map((image) => row(image, true)),
  });
}

function checkLimit(limit: number): number {
  if (limit < 0)
    throw fail("invalid-argument", `invalid --limit "${limit}": it must not be negative`, {
      reason: "flag-value",
    });
  return limit === 0 ? DEFAULT_LIMIT : limit;
}

export const searchCommand = defineCommand({
  usage: "[options] TERM",
  description:
    "Looks for images on the registries of the search list, or on the one the term begins with. A registry without a search is looked through by the names of its repositories.",
  examples: [
    "search --filter is-official alpine",
    "search --list-tags quay.io/podman/stable",
    "search registry.example.com:5000/",
  ],
  flags,
  args: { min: 1, max: 1 },
  completes: { first: "none" },
  async run(invocation) {
    const { ctx, args, changed, flags: given } = invocation;
    const [text = ""] = args;
    const filters = searchFilters(given.filter);
    const limit = checkLimit(given.limit);
    const { authFile, registriesConf } = invocation.options();
    const registry = {
      ...(authFile === undefined ? {} : { authFile }),
      ...(registriesConf === undefined ? {} : { registriesConf }),
      ...registryOptions(given, changed),
    };
    const verbs = await import("../../engine/search.ts");
    if (!given["list-tags"]) {
      return printImages(invocation, await verbs.search(ctx, { text, limit, filters, registry }));
    }
    if (given.filter.length > 0)
      throw fail("invalid-argument", "filters are not applicable to list tags result", {
        reason: "arguments",
      });
    const { name, tags } = await verbs.searchTags(ctx, { text, limit, registry });
    await printListing(invocation, {
      rows: tags.map((Tag) => ({ Name: name, Tag })),
      format: given.format,
      columns: ["Name", "Tag"],
      headings: HEADINGS,
      json: () => [{ Name: name, Tags: tags }],
    });
  },
});
