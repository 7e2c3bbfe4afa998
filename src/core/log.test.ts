import { afterEach, expect, test } from "bun:test";
import { failpoint } from "./failpoint.ts";
import { createLog, type LogOptions } from "./log.ts";

function lines(options: LogOptions): { log: ReturnType<typeof createLog>; seen: string[] } {
  const seen: string[] = [];
  return { log: createLog({ ...options, write: (line) => void seen.push(line) }), seen };
}

test("the level decides, warn by default", () => {
  const { log, seen } = lines({});
  log.error("e");
  log.warn("w");
  log.info("i");
  log.debug("d");
  expect(seen).toEqual(["berth: error: e\n", "berth: warn: w\n"]);
});

test("an area of BERTH_DEBUG is opened whatever the level, others are not", () => {
  const { log, seen } = lines({ level: "error", debugAreas: new Set(["storage"]) });
  log.area("storage").debug("inside");
  log.area("registry").debug("outside");
  log.area("storage").warn("still quiet");
  expect(seen).toEqual(["berth: debug: storage: inside\n"]);
});

test("trace builds its text only when it is asked for", () => {
  let built = 0;
  const text = (): string => `hop ${++built}`;
  const quiet = lines({});
  quiet.log.trace(text);
  expect(built).toBe(0);
  const loud = lines({ trace: true });
  loud.log.trace(text);
  expect(loud.seen[0]).toMatch(/^\[\d+\.\d ms\] hop 1\n$/);
});

afterEach(() => {
  delete process.env["BERTH_FAILPOINTS"];
});

test("a failpoint does nothing unless it is named", () => {
  failpoint("core.unset");
  process.env["BERTH_FAILPOINTS"] = "core.first=error;core.second=2*off->error";
  expect(() => failpoint("core.first")).toThrow('failpoint "core.first"');
  failpoint("core.second");
  failpoint("core.second");
  expect(() => failpoint("core.second")).toThrow('failpoint "core.second"');
  failpoint("core.other");
});
