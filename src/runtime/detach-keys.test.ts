import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { kindOf } from "../core/error.ts";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";

describe("parseDetachKeys", () => {
  test.each([
    ["ctrl-p,ctrl-q", [16, 17]],
    ["ctrl-P", [16]],
    ["a,b", [97, 98]],
    ["ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", [0, 27, 28, 29, 30, 31]],
    ["", []],
  ])("%s", (text, keys) => {
    expect([...parseDetachKeys(text)]).toEqual(keys);
  });

  test.each(["ctrl-", "ctrl-1", "ab", "a,", ",", "ctrl-pq", "é", "strg-p"])("%s is refused", (text) => {
    let error: unknown;
    try {
      parseDetachKeys(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(kindOf(error)).toBe("invalid-argument");
  });
});

/** What a scanner should do, said plainly: everything before the first occurrence passes. */
function expected(keys: number[], input: number[]): { pass: number[]; detached: boolean } {
  for (let at = 0; keys.length > 0 && at + keys.length <= input.length; at++) {
    if (keys.every((key, i) => input[at + i] === key)) return { pass: input.slice(0, at), detached: true };
  }
  return { pass: input, detached: false };
}

describe("DetachScanner", () => {
  const few = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 40 });

  test("finds the first occurrence, however the input is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 4 }),
        fc.array(few, { maxLength: 8 }),
        (keys, chunks) => {
          const scanner = new DetachScanner(Uint8Array.from(keys));
          const pass: number[] = [];
          let detached = false;
          for (const chunk of chunks) {
            const result = scanner.push(Uint8Array.from(chunk));
            pass.push(...result.pass);
            detached = result.detached;
            if (detached) break;
          }
          if (!detached) pass.push(...scanner.rest());
          expect({ pass, detached }).toEqual(expected(keys, chunks.flat()));
        },
      ),
    );
  });

  test("holds back only what may be a beginning", () => {
    const scanner = new DetachScanner(parseDetachKeys("ctrl-p,ctrl-q"));
    expect([...scanner.push(Uint8Array.of(65, 16)).pass]).toEqual([65]);
    expect([...scanner.push(Uint8Array.of(66)).pass]).toEqual([16, 66]);
  });
});
