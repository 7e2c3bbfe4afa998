/** All tags of a repository, page by page (distribution-spec, "Listing Tags"). */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { isTag } from "../image/reference.ts";
import type { Reply } from "./http.ts";
import type { Transport } from "./transport.ts";

const MAX_PAGE_BYTES = 8 * 1024 * 1024;
const MAX_PAGES = 10_000;

/** In the registry's order; what is not a tag by the specification is left out. */
export async function listTags(ctx: Ctx, transport: Transport): Promise<string[]> {
  const { registry, repository } = transport.source;
  const what = `tags of "${registry}/${repository}"`;
  const tags = new Set<string>();
  let target: string | URL | undefined = `/v2/${repository}/tags/list?n=1000`;
  for (let page = 0; target !== undefined && page < MAX_PAGES; page++) {
    const scopes = [`repository:${repository}:pull`];
    const reply: Reply = await transport.request(ctx, { method: "GET", target, scopes, what, accept: [200] });
    for (const tag of tagsOf(what, await reply.bytes(MAX_PAGE_BYTES))) tags.add(tag);
    target = nextPage(reply);
  }
  return [...tags];
}

function tagsOf(what: string, bytes: Uint8Array): string[] {
  try {
    const { tags } = JSON.parse(new TextDecoder().decode(bytes)) as { tags?: unknown };
    return (Array.isArray(tags) ? tags : []).filter(
      (tag) => typeof tag === "string" && isTag(tag),
    ) as string[];
  } catch (error) {
    throw fail("unavailable", `${what}: the registry's answer is not JSON`, {
      reason: "tags-answer",
      cause: error,
    });
  }
}

/** `Link: </v2/…>; rel="next"`. A page's length says nothing: registries may send short ones. */
function nextPage(reply: Reply): URL | undefined {
  const target = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(reply.headers.get("link") ?? "")?.[1];
  return target !== undefined && URL.canParse(target, reply.url.href)
    ? new URL(target, reply.url)
    : undefined;
}
