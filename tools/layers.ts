/**
 * Checks the import rule of DESIGN §3: each line may import only from lines below it, folders on one
 * line do not know each other, and only sys/ touches the host (bun:ffi, spawning). Type-only imports count.
 * Prints each breach as `file:line imports X: reason`; exit status 1 if there is one.
 */
import { readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { parseSync } from "oxc-parser";

const LINES: string[][] = [
  ["cli", "api", "cri"],
  ["engine"],
  ["build", "pod"],
  ["container"],
  ["runtime", "storage", "registry", "network", "volume", "secret", "trust"],
  ["image", "archive"],
  ["sys"],
  ["core", "gen"],
];

const rank = new Map(LINES.flatMap((line, index) => line.map((folder) => [folder, index] as const)));
const root = resolve(import.meta.dir, "../src");

interface Import {
  from: string;
  line: number;
}

function importsOf(path: string): Import[] {
  const text = readFileSync(path, "utf8");
  const { module } = parseSync(path, text);
  const lineAt = (offset: number): number => text.slice(0, offset).split("\n").length;
  const found: Import[] = module.staticImports.map((i) => ({
    from: i.moduleRequest.value,
    line: lineAt(i.start),
  }));
  for (const exported of module.staticExports) {
    for (const entry of exported.entries) {
      if (entry.moduleRequest) found.push({ from: entry.moduleRequest.value, line: lineAt(exported.start) });
    }
  }
  for (const dynamic of module.dynamicImports) {
    const literal = text.slice(dynamic.moduleRequest.start, dynamic.moduleRequest.end);
    if (/^["'].*["']$/.test(literal)) found.push({ from: literal.slice(1, -1), line: lineAt(dynamic.start) });
  }
  // Code that is loaded at its first use (engine/open.ts).
  for (const match of text.matchAll(/\brequire\("([^"]+)"\)/g)) {
    found.push({ from: match[1] as string, line: lineAt(match.index) });
  }
  return found;
}

function breach(file: string, from: string): string | undefined {
  const folder = relative(root, file).split("/")[0] as string;
  if (from === "bun:ffi" && folder !== "sys") return "only sys/ may use bun:ffi";
  if (/^(node:)?child_process$/.test(from) && folder !== "sys") return "only sys/ may start processes";
  if (!from.startsWith(".")) return undefined;
  const target = relative(root, resolve(dirname(file), from));
  if (target.startsWith("..")) return "source may not import from outside src/";
  const targetFolder = target.split("/")[0] as string;
  if (folder === targetFolder) return undefined;
  const mine = rank.get(folder);
  const theirs = rank.get(targetFolder);
  if (mine === undefined || theirs === undefined) return `"${targetFolder}" is not a folder of the design`;
  if (theirs > mine) return undefined;
  return mine === theirs
    ? `${folder}/ and ${targetFolder}/ do not know each other`
    : `${targetFolder}/ is above ${folder}/`;
}

const files = [...new Bun.Glob("**/*.ts").scanSync({ cwd: root, absolute: true })].filter(
  (file) => !file.endsWith(".test.ts"),
);
let breaches = 0;
for (const file of files) {
  for (const { from, line } of importsOf(file)) {
    const why = breach(file, from);
    if (why === undefined) continue;
    breaches++;
    console.log(`${relative(dirname(root), file)}:${line} imports "${from}": ${why}`);
  }
}
if (files.length === 0) {
  console.log("layers: no source files were found");
  breaches++;
}
console.log(`layers: ${files.length} files, ${breaches} breaches`);
process.exit(breaches === 0 ? 0 : 1);
