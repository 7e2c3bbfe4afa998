import { expect, test } from "bun:test";
import { skopeoArgv } from "./skopeo.ts";

test.each([
  ["copy a b", "copy a b"],
  [
    "--override-arch arm64 --override-os=linux copy a b",
    "copy --override-arch=arm64 --override-os=linux a b",
  ],
  ["--override-variant v7 delete a", "delete a"],
  ["--debug --policy /p inspect --raw x", "--debug=true --signature-policy=/p inspect --raw x"],
  ["--insecure-policy --tmpdir /t --registries.d /r list-tags x", "--insecure-policy=true list-tags x"],
  ["--version", "--version=true"],
  ["--help", "--help"],
  ["--help copy", "help copy"],
  ["", ""],
])("%s → %s", (given, argv) => {
  const words = (text: string): string[] => text.split(" ").filter(Boolean);
  expect(skopeoArgv(words(given))).toEqual(words(argv));
});

test("a flag that is unknown, or a limit that is not kept, is refused", () => {
  expect(() => skopeoArgv(["--nonsense", "copy"])).toThrow("unknown flag");
  expect(() => skopeoArgv(["--command-timeout", "5s", "copy"])).toThrow("not supported");
});
