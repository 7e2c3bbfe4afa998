/** search: images on registries, by a part of their name; and the tags of one of them. Needs no store. */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail, messageOf } from "../core/error.ts";
import { isFullyQualified, isHost, parseReference, repositoryName } from "../image/reference.ts";
import type { RegistryOptions } from "../registry/registry.ts";
import type { FoundImage } from "../registry/search.ts";

export interface SearchFilters {
  /** At least so many. */
  stars?: number;
  official?: boolean;
  automated?: boolean;
}

export interface SearchRequest {
  /** "TERM" for every registry of the search list (docker.io where there is none), or "REGISTRY/TERM"; "REGISTRY/" for all it has. */
  text: string;
  /** Of each registry. */
  limit: number;
  filters: SearchFilters;
  registry: RegistryOptions;
}

/**
 * In the order of the registries. One that cannot be asked is a warning, unless none can. Errors: invalid-argument (no term), and
 * those of the registry.
 */
export async function search(ctx: Ctx, request: SearchRequest): Promise<FoundImage[]> {
  const { searchRegistry } = await import("../registry/search.ts");
  const { limit, filters, registry: options } = request;
  const places = await placesOf(request);
  const answers = await Promise.allSettled(
    places.map(({ host, term }) => searchRegistry(ctx, { host, term, limit, options })),
  );
  const failed = answers.flatMap((answer) =>
    answer.status === "rejected" ? [answer.reason as unknown] : [],
  );
  const bug = failed.find((error) => !(error instanceof EngineError));
  if (bug !== undefined || (failed.length > 0 && failed.length === answers.length)) throw bug ?? failed[0];
  for (const error of failed) ctx.log.warn(messageOf(error));
  const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
  return found.filter((image) => passes(image, filters));
}

function passes(image: FoundImage, { stars, official, automated }: SearchFilters): boolean {
  if (stars !== undefined && image.stars < stars) return false;
  if (official !== undefined && image.official !== official) return false;
  return automated === undefined || image.automated === automated;
}

async function placesOf({ text, registry }: SearchRequest): Promise<{ host: string; term: string }[]> {
  const slash = text.indexOf("/");
  if (isFullyQualified(text)) {
    const host = text.slice(0, slash);
    if (!isHost(host))
      throw fail("invalid-argument", `"${host}" is not a registry`, { reason: "registry-name" });
    return [{ host: host === "index.docker.io" ? "docker.io" : host, term: text.slice(slash + 1) }];
  }
  if (text === "") throw fail("invalid-argument", "a term to search for is needed", { reason: "arguments" });
  const { loadRegistriesConf } = await import("../registry/registries-conf.ts");
  const hosts = loadRegistriesConf(registry.registriesConf).unqualifiedSearch;
  return (hosts.length === 0 ? ["docker.io"] : hosts).map((host) => ({ host, term: text }));
}

/** The first tags of a repository, in the registry's order. Errors: invalid-argument (a tag was named), and those of the registry. */
export async function searchTags(
  ctx: Ctx,
  { text, limit, registry }: Omit<SearchRequest, "filters">,
): Promise<{ name: string; tags: string[] }> {
  const reference = parseReference(text);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw fail("invalid-argument", `"${text}": name a repository without a tag`, { reason: "arguments" });
  }
  const { openRegistry } = await import("../registry/client.ts");
  const { qualifiedNames } = await import("../registry/short-names.ts");
  let last: unknown;
  for (const candidate of qualifiedNames(text, registry)) {
    try {
      const tags = await openRegistry(candidate, registry).tags(ctx);
      return { name: repositoryName(candidate), tags: tags.slice(0, limit) };
    } catch (error) {
      if (!(error instanceof EngineError) || error.kind === "canceled") throw error;
      last ??= error;
    }
  }
  throw last;
}
