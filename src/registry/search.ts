/**
 * Looking for images on a registry: Docker Hub's search (v1, `/v1/search?q=`), which some other registries speak as well, else the names
 * of all repositories (`/v2/_catalog`) that have the word in them. What registries say of images is cleaned of control characters.
 */
import type { Ctx } from "../core/ctx.ts";
import { EngineError, fail } from "../core/error.ts";
import { formatReference, parseReference } from "../image/reference.ts";
import { findLogin } from "./credentials.ts";
import type { Reply } from "./http.ts";
import { PagedList } from "./pages.ts";
import type { RegistryOptions, RetryPolicy } from "./registry.ts";
import { sourceOfHost } from "./sources.ts";
import { Transport } from "./transport.ts";

export interface FoundImage {
  /** The registry it was found on. */
  index: string;
  /** "quay.io/x/y"; without tag. */
  name: string;
  description: string;
  stars: number;
  official: boolean;
  automated: boolean;
}

export interface SearchRequest {
  /** "host[:port]". */
  host: string;
  /** Part of a name; "" for all that there is. */
  term: string;
  /** At most so many. */
  limit: number;
  options: RegistryOptions;
}

const DOCKER_SEARCH = "https://index.docker.io";
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const MAX_PAGES = 1000;
/** A person waits, and there is mostly another way to ask. */
const PATIENCE: RetryPolicy = { retries: 1, baseMs: 250, stallMs: 20_000 };

/** In the registry's order. Errors: unavailable, unauthenticated, permission-denied. */
export async function searchRegistry(ctx: Ctx, request: SearchRequest): Promise<FoundImage[]> {
  const { host, term, limit, options } = request;
  const transport = new Transport({
    source: sourceOfHost(host, options),
    certDir: options.certDir,
    retry: { ...PATIENCE, ...options.retry },
    login: (inner) => findLogin(inner, host, options),
  });
  if (term === "") return await searchCatalog(ctx, transport, request);
  try {
    return (await searchIndex(ctx, transport, request)).slice(0, limit);
  } catch (error) {
    const elsewhere = error instanceof EngineError && error.kind !== "canceled" && host !== "docker.io";
    // A registry that cannot be reached at all cannot be asked another way either.
    if (!elsewhere || error.reason === "network" || error.reason === "tls") throw error;
    ctx.log.debug(`registry "${host}" has no search: ${error.message}; looking through its catalog`);
    try {
      return await searchCatalog(ctx, transport, request);
    } catch (second) {
      // "There is no catalog" says less than why the search failed.
      throw second instanceof EngineError && second.kind === "not-found" ? error : second;
    }
  }
}

async function searchIndex(
  ctx: Ctx,
  transport: Transport,
  { host, term, limit }: SearchRequest,
): Promise<FoundImage[]> {
  const query = new URLSearchParams({ q: term, n: String(limit) });
  const target = `/v1/search?${query.toString()}`;
  const what = `search for "${term}" on "${host}"`;
  const reply = await transport.request(ctx, {
    method: "GET",
    target: host === "docker.io" ? new URL(target, DOCKER_SEARCH) : target,
    headers: { Accept: "application/json" },
    scopes: [],
    what,
    accept: [200],
  });
  const { results } = jsonOf(what, await reply.bytes(MAX_ANSWER_BYTES)) as { results?: unknown };
  if (!Array.isArray(results)) throw unreadable(what);
  return results.flatMap((result) => imageOf(host, result));
}

function imageOf(host: string, result: unknown): FoundImage[] {
  const { name, description, star_count, is_official, is_automated, is_trusted } = (result ?? {}) as Record<
    string,
    unknown
  >;
  const full = fullName(host, name);
  if (full === undefined) return [];
  return [
    {
      index: host,
      name: full,
      description: clean(description),
      stars: Number.isSafeInteger(star_count) ? Number(star_count) : 0,
      official: is_official === true,
      automated: is_automated === true || is_trusted === true,
    },
  ];
}

async function searchCatalog(
  ctx: Ctx,
  transport: Transport,
  { host, term, limit }: SearchRequest,
): Promise<FoundImage[]> {
  const what = `catalog of "${host}"`;
  const list = new PagedList(what, MAX_PAGES);
  const found: FoundImage[] = [];
  let target: string | URL | undefined = "/v2/_catalog?n=1000";
  while (target !== undefined && found.length < limit) {
    const scopes = ["registry:catalog:*"];
    const reply: Reply = await transport.request(ctx, { method: "GET", target, scopes, what, accept: [200] });
    const { repositories } = jsonOf(what, await list.page(reply)) as { repositories?: unknown };
    if (!Array.isArray(repositories)) throw unreadable(what);
    for (const name of repositories) {
      const full = typeof name === "string" && name.includes(term) ? fullName(host, name) : undefined;
      if (full === undefined) continue;
      found.push({ index: host, name: full, description: "", stars: 0, official: false, automated: false });
    }
    target = list.next(reply);
  }
  return found.slice(0, limit);
}

function jsonOf(what: string, bytes: Uint8Array): object {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Said below.
  }
  throw unreadable(what);
}

function unreadable(what: string): Error {
  return fail("unavailable", `${what}: the registry's answer is not what it should be`, {
    reason: "search-answer",
  });
}

/** Undefined for what is no name of a repository. */
function fullName(host: string, name: unknown): string | undefined {
  if (typeof name !== "string") return undefined;
  try {
    const reference = parseReference(`${host}/${name}`);
    return reference.tag === undefined && reference.digest === undefined
      ? formatReference(reference)
      : undefined;
  } catch {
    return undefined;
  }
}

function clean(text: unknown): string {
  return typeof text === "string"
    ? text
        .replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, " ")
        .trim()
        .slice(0, 4096)
    : "";
}
