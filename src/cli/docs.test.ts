import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { helpTexts } from "./help-texts.ts";
import { manPages } from "./man.ts";

const root = join(import.meta.dir, "../..");

function filesIn(directory: string, extension: string): Record<string, string> {
  const names = readdirSync(join(root, directory)).filter((name) => name.endsWith(extension));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(root, directory, name), "utf8")]));
}

function asRecord(files: { file: string; text: string }[]): Record<string, string> {
  return Object.fromEntries(files.map(({ file, text }) => [file, text]));
}

describe("documents made from the commands are current (else: bun tools/docs.ts)", () => {
  test("man pages", async () => expect(filesIn("docs/man", ".1")).toEqual(asRecord(await manPages())));
  test("help texts", async () =>
    expect(filesIn("test/golden/help", ".txt")).toEqual(asRecord(await helpTexts())));
});

describe("help texts", () => {
  test("no line is longer than 120 columns and none ends in a space", async () => {
    for (const { file, text } of await helpTexts()) {
      for (const line of text.split("\n")) {
        expect({ file, line, long: line.length > 120, space: line.endsWith(" ") }).toMatchObject({
          long: false,
          space: false,
        });
      }
    }
  });
});
