import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { binarySize, humanSize, parseSize } from "./units.ts";

describe("parseSize", () => {
  const cases: [string, number][] = [
    ["0", 0],
    ["512", 512],
    ["512b", 512],
    ["1k", 1024],
    ["1K", 1024],
    ["64m", 67108864],
    ["64MB", 67108864],
    ["64MiB", 67108864],
    ["1.5g", 1610612736],
    [".5k", 512],
    ["2 t", 2199023255552],
    ["-1", -1],
  ];
  for (const [text, want] of cases) test(text, () => expect(parseSize(text)).toBe(want));
  for (const text of ["", "m", "1x", "-5", "1 m b", "1e3", "ten"]) {
    test(`refuses "${text}"`, () => expect(() => parseSize(text)).toThrow(`invalid size "${text}"`));
  }
});

describe("sizes for people", () => {
  // From docker/go-units' own behaviour.
  const decimal: [number, string][] = [
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [1024, "1.024kB"],
    [1000000, "1MB"],
    [1048576, "1.049MB"],
    [13631488, "13.63MB"],
    [2 * 1000 ** 3, "2GB"],
    [3.42 * 1000 ** 4, "3.42TB"],
    [2.22 * 1000 ** 8, "2.22YB"],
  ];
  for (const [bytes, want] of decimal) test(String(bytes), () => expect(humanSize(bytes)).toBe(want));
  const binary: [number, string][] = [
    [1024, "1KiB"],
    [1024 ** 2, "1MiB"],
    [67108864, "64MiB"],
    [3.42 * 1024 ** 3, "3.42GiB"],
  ];
  for (const [bytes, want] of binary) test(String(bytes), () => expect(binarySize(bytes)).toBe(want));

  test("three digits and a gap, as podman writes them", () => {
    expect(humanSize(13631488, { digits: 3, gap: " " })).toBe("13.6 MB");
  });

  test("never has an exponent, never more than four digits", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e26, noNaN: true }), (bytes) => {
        expect(humanSize(Math.floor(bytes))).toMatch(/^\d{1,4}(\.\d{1,3})?(B|kB|MB|GB|TB|PB|EB|ZB|YB)$/);
      }),
    );
  });
});
