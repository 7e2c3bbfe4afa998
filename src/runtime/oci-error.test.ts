import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { runtimeError, runtimeText } from "./oci-error.ts";

interface Recorded {
  case: string;
  verb: string;
  exit: number;
  stderr: string;
  log: string;
  kind: string;
  reason: string;
}

for (const runtime of ["crun", "runc", "runsc"]) {
  describe(`recorded failures of ${runtime}`, () => {
    const file = `${import.meta.dir}/../../test/golden/oci-errors/${runtime}.json`;
    for (const recorded of JSON.parse(readFileSync(file, "utf8")) as Recorded[]) {
      test(recorded.case, () => {
        const { verb, stderr, log } = recorded;
        const withLog = runtimeError({ runtime, verb, stderr, log });
        expect(`${withLog.kind} ${withLog.reason}`).toBe(`${recorded.kind} ${recorded.reason}`);
        expect(withLog.message.startsWith(`${runtime}: `)).toBe(true);
        expect(withLog.message).not.toContain("\n");
      });
    }
  });
}

describe("runtimeText", () => {
  test("prefers the log to stderr and the last entry to earlier ones", () => {
    const log = '{"msg":"first","level":"error"}{"msg":"say \\"so\\"","level":"error"}';
    expect(runtimeText("noise", log)).toBe('say "so"');
  });

  test("goes back to the helper's own words when the last entry only says that it has gone", () => {
    expect(runtimeText("", '{"msg":"disk on fire"}\n{"msg":"waiting for sandbox to start: EOF"}')).toBe(
      "disk on fire",
    );
  });

  test("survives a log cut off in the middle", () => {
    expect(runtimeText("from stderr", '{"msg":"half of a')).toBe("from stderr");
  });

  test("silence is named", () => {
    expect(runtimeError({ runtime: "crun", verb: "create", stderr: "" }).message).toContain(
      "failed without a word",
    );
  });

  test("the words of another verb do not make a command error", () => {
    const error = runtimeError({ runtime: "x", verb: "delete", stderr: 'exec: "a": permission denied' });
    expect(error.kind).toBe("internal");
  });
});
