import { expect, test } from "bun:test";
import { join } from "node:path";
import { createProgress, type Step } from "./progress.ts";
import { ProgressBars, visibleSteps } from "./progress-bars.ts";
import { ProgressLines } from "./progress-lines.ts";

/** Reports travel as `ctx.progress`, without their object. */
const reports = (mode: string, more = ""): string => `
  import { createProgress } from "${join(import.meta.dir, "progress.ts")}";
  const progress = createProgress({ quiet: false, mode: "${mode}" });
  const { report } = progress;
  report({ id: "sha256:0123456789abcdef", status: "waiting" });
  report({ id: "sha256:0123456789abcdef", status: "downloading", current: 0, total: 4000000 });
  for (let i = 1; i < 100; i++) report({ id: "sha256:0123456789abcdef", status: "downloading", current: i * 1000 });
  report({ id: "sha256:0123456789abcdef", status: "done" });
  report({ id: "sha256:fedcba9876543210", status: "exists" });
  ${more}
  progress.finish();
`;

function stderrOf(mode: string, more?: string): string {
  const { stderr, stdout, exitCode } = Bun.spawnSync([process.execPath, "-e", reports(mode, more)], {
    stdin: "ignore",
    stderr: "pipe",
  });
  expect(exitCode).toBe(0);
  expect(stdout.toString()).toBe("");
  return stderr.toString();
}

test("on a terminal: a line for each step and one for the total", () => {
  if (Bun.which("script") === null) return console.warn("skip: script(1) gives no terminal here");
  const script = ["script", "-qec", `'${process.execPath}' -e '${reports("auto")}'`, "/dev/null"];
  const { stdout, exitCode } = Bun.spawnSync(script, { stdin: "ignore" });
  const text = stdout.toString();
  expect(exitCode).toBe(0);
  expect(text).toContain("0123456789ab  done");
  expect(text).toContain("fedcba987654  already here");
  expect(text).toMatch(/total {9}4MB\/4MB .*in 1s/);
});

test("elsewhere: nothing, and reports are taken all the same", () => {
  const [lines, bars] = [new ProgressLines("plain"), new ProgressBars()];
  // Nothing to tell, nothing told.
  for (const one of [lines, bars]) expect(one.finish()).toBeUndefined();
  using progress = createProgress({ quiet: true, mode: "json" });
  progress.report({ id: "x", status: "waiting" });
  expect(progress.finish()).toBeUndefined();
  expect(stderrOf("auto")).toBe("");
});

test("plain: a line for each change of state, not for each report", () => {
  expect(stderrOf("plain")).toBe(
    [
      "0123456789ab: waiting",
      "0123456789ab: downloading 4MB",
      "0123456789ab: done 4MB",
      "fedcba987654: already here",
      "",
    ].join("\n"),
  );
});

test("a step that lasts is told of again", () => {
  const first = 'report({ id: "x", status: "uploading", current: 1 });';
  const later = 'Bun.sleepSync(220); report({ id: "x", status: "uploading", current: 5, total: 10 });';
  const text = stderrOf("json", first + later);
  expect(text.trimEnd().split("\n").slice(-2)).toEqual([
    '{"id":"x","status":"uploading","current":1}',
    '{"id":"x","status":"uploading","current":5,"total":10}',
  ]);
});

test("json: an object a line, with what is known", () => {
  const lines = stderrOf("json").trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { id: "sha256:0123456789abcdef", status: "waiting", current: 0 },
    { id: "sha256:0123456789abcdef", status: "downloading", current: 0, total: 4000000 },
    { id: "sha256:0123456789abcdef", status: "done", current: 99000, total: 4000000 },
    { id: "sha256:fedcba9876543210", status: "exists", current: 0 },
  ]);
});

test("tty is taken at its word", () => {
  expect(stderrOf("tty")).toContain("\x1b[2K0123456789ab  done");
});

test("more steps than lines: those that move are shown", () => {
  const step = (id: number, status: Step["status"]) => ({
    id,
    step: { status, current: 0, total: undefined },
  });
  const steps = [
    step(1, "done"),
    step(2, "waiting"),
    step(3, "downloading"),
    step(4, "exists"),
    step(5, "uploading"),
  ];
  expect(visibleSteps(steps, 5).hidden).toBe(0);
  const { shown, hidden } = visibleSteps(steps, 4);
  expect(shown.map(({ id }) => id)).toEqual([2, 3, 5]);
  expect(hidden).toBe(2);
});
