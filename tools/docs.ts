/**
 * Writes what is made from the command tables: the man pages in docs/man and the help texts in
 * test/golden/help. `bun tools/docs.ts` after a change to a command; a test says when it was forgotten.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { helpTexts } from "../src/cli/help-texts.ts";
import { manPages } from "../src/cli/man.ts";

function replaceFiles(directory: string, extension: string, files: { file: string; text: string }[]): void {
  mkdirSync(directory, { recursive: true });
  const wanted = new Set(files.map(({ file }) => file));
  for (const name of readdirSync(directory)) {
    if (name.endsWith(extension) && !wanted.has(name)) rmSync(join(directory, name));
  }
  for (const { file, text } of files) writeFileSync(join(directory, file), text);
  console.log(`${files.length} files in ${directory}`);
}

const root = join(import.meta.dir, "..");
replaceFiles(join(root, "docs/man"), ".1", await manPages());
replaceFiles(join(root, "test/golden/help"), ".txt", await helpTexts());
