import { describe, expect, test } from "bun:test";
import type { Engine } from "../engine/engine.ts";
import { createCtx } from "../core/ctx.ts";
import { candidates } from "./complete.ts";

const source = {
  ctx: createCtx(),
  // Only what is asked for: names of images, lists and networks.
  engine: async () =>
    ({
      images: { list: () => [{ names: ["localhost/site:1", "docker.io/library/alpine:3"] }] },
      manifests: { list: () => [{ names: ["localhost/many:1"] }] },
      network: { list: () => [{ name: "bridge" }] },
    }) as unknown as Engine,
};

async function words(line: string): Promise<string[]> {
  return (await candidates(line.split(" "), source)).map((answer) => answer.split("\t")[0] as string);
}

describe("candidates", () => {
  const cases: [string, string[]][] = [
    ["imp", ["import"]],
    ["image r", ["rm"]],
    ["frob x", []],
    ["run --netw", ["--network"]],
    ["run --pull ", ["always", "missing", "newer", "never"]],
    ["run --pull n", ["newer", "never"]],
    ["run --env-file ", [":files"]],
    ["run loc", ["localhost/site:1", "localhost/many:1"]],
    ["run alp", ["alpine:3"]],
    ["manifest push ma", ["many:1"]],
    ["run --rm -it si", ["site:1"]],
    ["run site:1 --netw", [":files"]],
    ["network inspect b", ["bridge"]],
    ["completion z", ["zsh"]],
    ["--log-l", ["--log-level"]],
    ["--root ", [":files"]],
    ["--root /x rmi s", ["site:1"]],
  ];
  for (const [line, want] of cases) test(line, async () => expect(await words(line)).toEqual(want));
  test("hidden commands and flags berth refuses are not offered", async () => {
    expect(await words("__")).toEqual([]);
    expect(await words("run --gpu")).toEqual([]);
  });
});
