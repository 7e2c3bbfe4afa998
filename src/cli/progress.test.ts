import { expect, test } from "bun:test";
import { join } from "node:path";
import { createProgress } from "./progress.ts";

/** Reports travel as `ctx.progress`, without their object. */
const REPORTS = `
  import { createProgress } from "${join(import.meta.dir, "progress.ts")}";
  const progress = createProgress({ quiet: false });
  const { report } = progress;
  report({ id: "sha256:0123456789abcdef", status: "downloading", current: 0, total: 4000000 });
  report({ id: "sha256:0123456789abcdef", status: "done" });
  report({ id: "sha256:fedcba9876543210", status: "exists" });
  progress.finish();
`;

test("on a terminal: a line for each step and one for the total", () => {
  if (Bun.which("script") === null) return console.warn("skip: script(1) gives no terminal here");
  const script = ["script", "-qec", `'${process.execPath}' -e '${REPORTS}'`, "/dev/null"];
  const { stdout, exitCode } = Bun.spawnSync(script, { stdin: "ignore" });
  const text = stdout.toString();
  expect(exitCode).toBe(0);
  expect(text).toContain("0123456789ab  done");
  expect(text).toContain("fedcba987654  already here");
  expect(text).toMatch(/total {9}4MB\/4MB .*in 1s/);
});

test("elsewhere: nothing, and reports are taken all the same", () => {
  using progress = createProgress({ quiet: true });
  progress.report({ id: "x", status: "waiting" });
  expect(progress.finish()).toBeUndefined();
});
