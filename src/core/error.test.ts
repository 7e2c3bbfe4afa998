import { expect, test } from "bun:test";
import { errorTable } from "./error-table.ts";
import { EngineError, fail, isKind, kindOf, messageOf } from "./error.ts";

test("fail carries kind, reason, hint, data and cause", () => {
  const cause = new Error("below");
  const error = fail("not-found", 'no such thing "x"', {
    reason: "thing-unknown",
    hint: "make it",
    data: { x: 1 },
    cause,
  });
  expect(error).toBeInstanceOf(EngineError);
  expect(error).toMatchObject({
    kind: "not-found",
    reason: "thing-unknown",
    hint: "make it",
    data: { x: 1 },
    cause,
  });
  expect(fail("conflict", "x").reason).toBe("conflict");
});

test("what is not ours is internal", () => {
  expect(kindOf(new TypeError("x"))).toBe("internal");
  expect(kindOf("text")).toBe("internal");
  expect(kindOf(fail("in-use", "x"))).toBe("in-use");
  expect(isKind(fail("in-use", "x"), "in-use")).toBe(true);
  expect(isKind(new Error("x"), "internal")).toBe(false);
});

test("the first of two errors is what people are told when an undo fails too", () => {
  const both = new SuppressedError(new Error("undo"), new Error("first"));
  expect(messageOf(both)).toBe("first");
  expect(messageOf("text")).toBe("text");
});

test("the table: gRPC codes are those of google.rpc.Code, exit codes those of docker run", () => {
  for (const [kind, row] of Object.entries(errorTable)) {
    expect(row.grpc, kind).toBeGreaterThan(0);
    expect(row.grpc, kind).toBeLessThanOrEqual(16);
    expect(row.http === 304 || (row.http >= 400 && row.http < 600), kind).toBe(true);
    expect([0, 125, 126, 127, 130], kind).toContain(row.exit);
  }
  expect(errorTable["command-not-found"].exit).toBe(127);
  expect(errorTable["command-not-executable"].exit).toBe(126);
  expect(errorTable["not-modified"]).toMatchObject({ http: 304, exit: 0 });
});
