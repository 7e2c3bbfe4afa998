/** All tags of a repository, page by page (distribution-spec, "Listing Tags"). */
import type { Ctx } from "../core/ctx.ts";
import { fail } from "../core/error.ts";
import { isTag } from "../image/reference.ts";
import type { Reply } from "./http.ts";
import { PagedList } from "./pages.ts";
import type { Transport } from "./transport.ts";

/** In the registry's order; what is not a tag by the specification is left out. Errors: those of {@link PagedList}, unavailable. */
export async function listTags(ctx: Ctx, transport: Transport): Promise<string[]> {
  const { registry, repository } = transport.source;
  const what = `tags of "${registry}/${repository}"`;
  const list = new PagedList(what);
  const tags = new Set<string>();
  let target: string | URL | undefined = `/v2/${repository}/tags/list?n=1000`;
  while (target !== undefined) {
    const scopes = [`repository:${repository}:pull`];
    const reply: Reply = await transport.request(ctx, { method: "GET", target, scopes, what, accept: [200] });
    for (const tag of tagsOf(what, await list.page(reply))) tags.add(tag);
    target = list.next(reply);
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
