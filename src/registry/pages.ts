/**
 * Lists that come in pages (tags, catalog, referrers). However many pages a registry has, and whatever it says is the next one,
 * a list is read on its own host only, and no more of it than fits into memory easily.
 */
import { fail } from "../core/error.ts";
import { excerpt } from "../image/digest.ts";
import type { Reply } from "./http.ts";

const MAX_PAGE_BYTES = 4 * 1024 * 1024;
/** A hundred thousand tags are five. */
const MAX_LIST_BYTES = 32 * 1024 * 1024;
const MAX_PAGES = 2000;

export class PagedList {
  readonly #what: string;
  readonly #maxPages: number;
  #bytes = 0;
  /** Addresses of the pages so far. */
  readonly #seen = new Set<string>();

  /** `what` is the list in people's words: `tags of "quay.io/x/y"`. */
  constructor(what: string, maxPages = MAX_PAGES) {
    this.#what = what;
    this.#maxPages = maxPages;
  }

  /** One page's body. Errors: resource-exhausted for a page of more than 4 MiB, those of the exchange. */
  async page(reply: Reply): Promise<Uint8Array> {
    const bytes = await reply.bytes(MAX_PAGE_BYTES);
    this.#bytes += bytes.length;
    return bytes;
  }

  /**
   * From `Link: </v2/…>; rel="next"`; undefined after the last page. A page's length says nothing: registries may send short ones.
   * Errors: unavailable for a page on another host, resource-exhausted ("endless-list") for a list without an end.
   */
  next(reply: Reply): URL | undefined {
    const link = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(reply.headers.get("link") ?? "")?.[1];
    if (link === undefined) return undefined;
    const isRound = this.#seen.size === this.#seen.add(reply.url.href).size;
    if (isRound || this.#seen.size >= this.#maxPages || this.#bytes > MAX_LIST_BYTES)
      throw endless(this.#what);
    if (URL.canParse(link, reply.url.href)) {
      const { host, pathname, search } = new URL(link, reply.url);
      // Behind a proxy that does TLS for it a registry writes "http:" here; the host is what counts.
      if (host === reply.url.host) return new URL(`${reply.url.origin}${pathname}${search}`);
    }
    throw fail("unavailable", `${this.#what}: the next page is at "${excerpt(link)}", on another host`, {
      reason: "list-link",
    });
  }
}

export function endless(what: string): Error {
  return fail("resource-exhausted", `${what}: the list is too long`, { reason: "endless-list" });
}
