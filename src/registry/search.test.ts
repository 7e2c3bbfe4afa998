import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { searchRegistry } from "./search.ts";

const temporary = tempDir("search");
afterAll(() => temporary[Symbol.dispose]());
const ctx = createCtx();
let registry: FakeRegistry;
beforeEach(() => void (registry = new FakeRegistry()));
afterEach(() => registry[Symbol.dispose]());

function search(term: string, limit = 25) {
  const registriesConf = `${temporary.path}/empty.conf`;
  writeFileSync(registriesConf, "");
  const options = {
    registriesConf,
    authFile: "/nonexistent",
    retry: { retries: 0, baseMs: 1, stallMs: 2000 },
  };
  return searchRegistry(ctx, { host: registry.host, term, limit, options });
}

const serve = (paths: Record<string, (query: URLSearchParams) => Response>): void => {
  registry.fault = ({ path, query }) =>
    paths[path]?.(new URLSearchParams(query)) ?? new Response("<html>", { status: 404 });
};

test("what a registry says is made harmless", async () => {
  const results = [
    {
      name: "good",
      description: "one\n\u001b[31mtwo\u2028\u202e",
      star_count: 3,
      is_official: 1,
      is_trusted: true,
    },
    { name: "../etc", description: "x" },
    { name: 7 },
    null,
    "text",
    { name: "Bad/Name" },
    { name: "a:tag" },
  ];
  serve({ "/v1/search": () => Response.json({ results }) });
  expect(await search("x")).toEqual([
    {
      index: registry.host,
      name: `${registry.host}/good`,
      description: "one [31mtwo",
      stars: 3,
      official: false,
      automated: true,
    },
  ]);
});

test("more than was asked for is cut", async () => {
  serve({ "/v1/search": () => Response.json({ results: ["a", "b", "c"].map((name) => ({ name })) }) });
  expect((await search("x", 2)).map((image) => image.name)).toEqual([
    `${registry.host}/a`,
    `${registry.host}/b`,
  ]);
  expect(registry.seen.at(-1)?.query).toBe("?q=x&n=2");
});

test("without a search the catalog is looked through, page by page, and no further than needed", async () => {
  serve({
    "/v2/_catalog": (query) => {
      const page = Number(query.get("last") ?? 0);
      const repositories = Array.from(
        { length: 10 },
        (_, index) => `${index % 2 === 0 ? "app" : "other"}/n${page}${index}`,
      );
      return Response.json(
        { repositories },
        { headers: { Link: `</v2/_catalog?last=${page + 1}>; rel="next"` } },
      );
    },
  });
  const found = await search("app", 12);
  expect(found.length).toBe(12);
  expect(found.at(-1)?.name).toBe(`${registry.host}/app/n22`);
  expect(registry.count("GET", "_catalog")).toBe(3);
  // All of it: there is nothing to search for.
  expect((await search("", 15)).length).toBe(15);
  expect(registry.count("GET", "/v1/search")).toBe(1);
});

test.each([
  ["neither", {}, "not-found"],
  [
    "not JSON",
    { "/v1/search": () => new Response("x"), "/v2/_catalog": () => new Response("x") },
    "unavailable",
  ],
  [
    "no list",
    { "/v1/search": () => Response.json([]), "/v2/_catalog": () => Response.json({ repositories: 7 }) },
    "unavailable",
  ],
  [
    "refused",
    {
      "/v1/search": () => new Response("", { status: 401 }),
      "/v2/_catalog": () => new Response("", { status: 403 }),
    },
    "permission-denied",
  ],
])("%s", async (_, paths, kind) => {
  serve(paths);
  expect((await failure(search("x"))).kind).toBe(kind as never);
});

test("a registry that is not there is not asked twice", async () => {
  registry[Symbol.dispose]();
  expect(await failure(search("x"))).toMatchObject({ reason: "network" });
});
