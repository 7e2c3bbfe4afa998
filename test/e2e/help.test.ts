/** Help of every command, and completion scripts in the shells they are for. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type EntryTable, commandTable } from "../../src/cli/command-table.ts";
import { Box, runArgv } from "./box.ts";

let box: Box;
let home: Record<string, string>;

beforeAll(() => {
  box = new Box("help");
  box.importBusybox();
  box.ok(["create", "--name", "web-one", "--network", "none", "localhost/busybox", "true"]);
  box.up("web-two");
  // Completion calls the program by its name: this one knows the store.
  writeFileSync(join(box.dir, "berth"), `#!/bin/sh\nexec ${box.argv.join(" ")} "$@"\n`);
  chmodSync(join(box.dir, "berth"), 0o755);
  home = { PATH: `${box.dir}:${process.env["PATH"]}`, HOME: box.dir, XDG_CONFIG_HOME: box.dir };
});
afterAll(() => box.close());

function paths(table: EntryTable, before: string[] = []): string[][] {
  return Object.entries(table).flatMap(([name, entry]) => {
    const path = [...before, name];
    return entry.commands === undefined ? [path] : [path, ...paths(entry.commands, path)];
  });
}

describe("help", () => {
  test.each(paths(commandTable).map((path) => [path]))("%p --help", (path) => {
    const outcome = box.berth([...path, "--help"]);
    expect([outcome.code, outcome.stderr]).toEqual([0, ""]);
    expect(outcome.stdout).toStartWith(`Usage: berth ${path.join(" ")} `);
    expect(outcome.stdout.split("\n").filter((line) => line.length > 120)).toEqual([]);
  });

  test("berth, berth help, -h and help of one all say it; a mistyped one gets a suggestion", () => {
    const all = box.ok([]);
    expect(all).toContain("Containers:");
    for (const words of [["help"], ["--help"]]) expect(box.ok(words)).toBe(all);
    expect(box.ok(["help", "run"])).toBe(box.ok(["run", "--help"]));
    const wrong = box.berth(["rnu"]);
    expect(wrong.code).toBe(125);
    expect(wrong.stderr).toContain('"run"');
    expect(box.berth(["run", "--nmae", "x", "y"]).stderr).toContain("--name");
  });

  test("-h is a host name for run, and the words after the image are the command's", () => {
    expect(box.ok(["run", "--rm", "--network", "none", "-h", "me", "localhost/busybox", "hostname"])).toBe(
      "me",
    );
    const outcome = box.berth(["run", "--rm", "--network", "none", "localhost/busybox", "ls", "--help"]);
    expect(outcome.stdout + outcome.stderr).toContain("BusyBox");
  });
});

describe("completion", () => {
  const complete = (shell: string[], words: string): string[] =>
    runArgv([...shell, words], { env: home })
      .stdout.split("\n")
      .filter(Boolean)
      .sort();

  test("bash offers commands, flags, containers and images", () => {
    const script = `
      source <(berth completion bash)
      COMP_WORDS=($1); [[ $1 == *" " ]] && COMP_WORDS+=("")
      COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _berth_complete; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const bash = ["bash", "-c", script, "bash"];
    expect(complete(bash, "berth comm")).toEqual(["commit"]);
    expect(complete(bash, "berth rm web-")).toEqual(["web-one", "web-two"]);
    expect(complete(bash, "berth exec ")).toEqual(["web-two"]);
    expect(complete(bash, "berth rmi localhost/b")).toEqual(["localhost/busybox:latest"]);
    expect(complete(bash, "berth run --netw")).toEqual(["--network"]);
    expect(complete(bash, "berth container pr")).toEqual(["prune"]);
    expect(
      runArgv(["bash", "-c", "source <(berth completion bash) && complete -p berth"], { env: home }).stdout,
    ).toContain("_berth_complete");
  });

  const missing = (shell: string): boolean => {
    if (Bun.which(shell) !== null) return false;
    console.warn(`skip: ${shell} is not installed`);
    return true;
  };

  test.skipIf(missing("zsh"))("zsh loads its script", () => {
    const script =
      "autoload -U compinit; compinit -D -u; source <(berth completion zsh); echo $_comps[berth]";
    const outcome = runArgv(["zsh", "-f", "-c", script], { env: home });
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout.trim()).toMatch(/^_?berth/);
  });

  test.skipIf(missing("fish"))("fish offers the same", () => {
    const fish = ["fish", "--no-config", "-c", "berth completion fish | source; complete -C $argv[1]"];
    expect(complete(fish, "berth comm").map((line) => line.split("\t")[0])).toEqual(["commit"]);
    expect(complete(fish, "berth rm web-").map((line) => line.split("\t")[0])).toEqual([
      "web-one",
      "web-two",
    ]);
  });
});
