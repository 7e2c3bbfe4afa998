/**
 * The gate: `bun run ok`. Types, lint, format, unused code and the import rule at the same time, then
 * the unit tests. Prints each part's output only when it fails; ends with the counts of the tests.
 * The counts are left in the file named by BERTH_COUNTS, for `scripts/test.sh`.
 */
import { appendFileSync } from "node:fs";
import { noteFailures } from "./failures.ts";

interface Part {
  name: string;
  argv: string[];
}

const CHECKS: Part[] = [
  { name: "tsc", argv: ["tsc"] },
  { name: "oxlint", argv: ["oxlint", "--type-aware", "--deny-warnings", "src", "test", "tools", "bench"] },
  { name: "oxfmt", argv: ["oxfmt", "--check", "src", "test", "tools", "bench"] },
  { name: "knip", argv: ["knip"] },
  { name: "layers", argv: ["bun", "tools/layers.ts"] },
];

const bin = `${import.meta.dir}/../node_modules/.bin`;
const env = { ...process.env, PATH: `${bin}:${process.env["PATH"]}` };

async function check(part: Part): Promise<boolean> {
  const started = performance.now();
  const child = Bun.spawn(part.argv, { env, stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  const ms = Math.round(performance.now() - started);
  console.log(`${code === 0 ? "ok  " : "FAIL"} ${part.name} (${ms} ms)`);
  if (code !== 0) noteFailures("gate", [`(fail) ${part.name}`]);
  if (code !== 0) console.log(`${out}${err}`.trimEnd());
  return code === 0;
}

/** Runs the unit tests, shows what is no passed test, and reads the closing counts of `bun test`. */
async function unitTests(): Promise<boolean> {
  const child = Bun.spawn(["bun", "test", "src", "test/fuzz", "test/fake"], {
    env,
    stdout: "inherit",
    stderr: "pipe",
  });
  const text = await new Response(child.stderr).text();
  const lines = text.split("\n");
  console.log(lines.filter((line) => !line.startsWith("(pass)")).join("\n"));
  noteFailures("unit tests", lines);
  const code = await child.exited;
  const count = (word: string): number =>
    Number(new RegExp(`^\\s*(\\d+) ${word}\\b`, "m").exec(text)?.[1] ?? 0);
  const line = `${count("pass")} ${count("fail")} ${count("skip")}\n`;
  if (process.env["BERTH_COUNTS"] !== undefined) appendFileSync(process.env["BERTH_COUNTS"], line);
  return code === 0 && count("pass") > 0;
}

const results = await Promise.all(CHECKS.map(check));
const green = results.every(Boolean);
const tested = await unitTests();
process.exit(green && tested ? 0 : 1);
