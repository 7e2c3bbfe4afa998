import { expect, test } from "bun:test";
import os from "node:os";
import { errnoName, hasCode, SysError } from "./errno.ts";

test("names agree with the C library", () => {
  const synonyms: Record<string, string> = {
    EWOULDBLOCK: "EAGAIN",
    ENOTSUP: "EOPNOTSUPP",
    EDEADLOCK: "EDEADLK",
  };
  for (const [name, number] of Object.entries(os.constants.errno)) {
    expect(errnoName(number)).toBe(synonyms[name] ?? name);
  }
  expect(errnoName(4095)).toBe("errno 4095");
});

test("kinds follow the errno; what the kernel said in words is in the message", () => {
  const kindOf = (errno: number): string => new SysError("mount", "/x", errno).kind;
  expect([2, 17, 13, 1, 28, 24, 16, 38, 95, 5].map(kindOf)).toEqual([
    "not-found",
    "already-exists",
    "permission-denied",
    "permission-denied",
    "resource-exhausted",
    "resource-exhausted",
    "in-use",
    "unimplemented",
    "unimplemented",
    "internal",
  ]);
  const error = new SysError("fsconfig", Buffer.from("/x"), 22, "overlay: no");
  expect(error.message).toBe('fsconfig "/x": EINVAL (overlay: no)');
  expect(error).toMatchObject({ reason: "EINVAL", data: { call: "fsconfig", path: "/x", errno: 22 } });
});

test("hasCode takes errors of node too, and nothing else", () => {
  expect(hasCode(new SysError("open", "x", 2), "ENOENT")).toBe(true);
  expect(hasCode(Object.assign(new Error("x"), { code: "EEXIST" }), "ENOENT", "EEXIST")).toBe(true);
  for (const other of [undefined, null, "ENOENT", new Error("ENOENT"), { code: 2 }]) {
    expect(hasCode(other, "ENOENT")).toBe(false);
  }
});
