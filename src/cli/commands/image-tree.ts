import type { TreeLayer } from "../../engine/image-tree.ts";
import { defineCommand } from "../command.ts";
import { humanSize } from "../units.ts";

export const imageTreeCommand = defineCommand({
  usage: "[options] IMAGE",
  description: "Shows the layers of an image with their sizes, and which images end with each of them.",
  examples: ["image tree site:1", "image tree --whatrequires debian:12"],
  flags: {
    whatrequires: { type: "bool", help: "Show what stands on the image's topmost layer instead" },
  },
  args: { min: 1, max: 1 },
  quick: true,
  completes: { first: "images", rest: "none" },
  async run({ ctx, flags, args, out, engine }) {
    const { imageTree } = await import("../../engine/image-tree.ts");
    const request = { image: args[0] as string, whatRequires: flags.whatrequires };
    const { record, layers } = imageTree(ctx, await engine(), request);
    out.line(`Image ID: ${short(record.id)}`);
    out.line(`Tags:     [${record.names.join(" ")}]`);
    out.line(`Size:     ${humanSize(record.size)}`);
    if (layers.length === 0) return out.line("No Image Layers");
    out.line("Image Layers");
    for (const line of branches(layers, "")) out.line(line);
  },
});

function short(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1).slice(0, 12);
}

/** As a tree: what is above a layer hangs below its line, further in. */
function branches(layers: readonly TreeLayer[], indent: string): string[] {
  return layers.flatMap((node, index) => {
    const isLast = index === layers.length - 1;
    const { layer, topOf, above } = node;
    const tops = topOf.length === 0 ? "" : ` Top Layer of: [${topOf.join(" ")}]`;
    const line = `${indent}${isLast ? "└──" : "├──"} ID: ${short(layer.chainId)} Size: ${humanSize(layer.size)}${tops}`;
    return [line, ...branches(above, `${indent}${isLast ? "    " : "│   "}`)];
  });
}
