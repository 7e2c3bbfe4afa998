/**
 * Runs the end-to-end tests, one file at a time (the census compares the whole machine, so two at once would
 * see each other): `bun run e2e [NAME …]`. Needs root, dist/berth and the packages of `scripts/setup.sh test`.
 */
import { appendFileSync } from "node:fs";
import { resolve } from "node:path";
import { noteFailures } from "./failures.ts";

const root = resolve(import.meta.dir, "..");
const wanted = process.argv.slice(2);
const files = [...new Bun.Glob("test/e2e/*.test.ts").scanSync({ cwd: root })]
  .sort()
  .filter((file) => wanted.length === 0 || wanted.some((word) => file.includes(word)));

if (files.length === 0) {
  console.error(`e2e: no test file matches ${wanted.join(" ") || "test/e2e/*.test.ts"}`);
  process.exit(1);
}

const totals = { pass: 0, fail: 0, skip: 0 };
for (const file of files) {
  const started = performance.now();
  const child = Bun.spawn([process.execPath, "test", "--timeout", "120000", `./${file}`], {
    cwd: root,
    stdin: "ignore",
    stdout: "inherit",
    stderr: "pipe",
  });
  const text = await new Response(child.stderr).text();
  const code = await child.exited;
  const count = (word: string): number =>
    Number(new RegExp(`^\\s*(\\d+) ${word}\\b`, "m").exec(text)?.[1] ?? 0);
  const [pass, fail, skip] = [count("pass"), count("fail"), count("skip")];
  // A file that broke before its first test has failed all the same.
  const failed = code !== 0 && fail === 0 ? 1 : fail;
  totals.pass += pass;
  totals.fail += failed;
  totals.skip += skip;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${failed === 0 ? "ok  " : "FAIL"} ${file}: ${pass} passed, ${failed} failed, ${skip} skipped (${seconds} s)`,
  );
  const skips = text.split("\n").filter((line) => line.includes("skip:"));
  if (failed > 0) {
    console.log(text.trimEnd());
    const lines = text.split("\n");
    noteFailures(file, fail > 0 ? lines : ["(fail) it broke before its first test"]);
  }
  if (failed === 0 && skips.length > 0) console.log(skips.join("\n"));
}
if (process.env["BERTH_COUNTS"] !== undefined) {
  appendFileSync(process.env["BERTH_COUNTS"], `${totals.pass} ${totals.fail} ${totals.skip}\n`);
}
process.exit(totals.fail === 0 && totals.pass > 0 ? 0 : 1);
