// The quick way gives what the streams give, for every shape of input, however it is cut.
import { describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { deflateRawSync, gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { failure } from "../../test/fake/failure.ts";
import { hasHandle, inflate, type ReadInto } from "./inflate.ts";

/** Gives pieces of at most `step` bytes. */
function reader(bytes: Uint8Array, step: number): ReadInto {
  let at = 0;
  return (into) => {
    const length = Math.min(step, into.length, bytes.length - at);
    into.set(bytes.subarray(at, at + length));
    at += length;
    return length;
  };
}

async function all(bytes: Uint8Array, step = 1 << 20): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of inflate(reader(bytes, step))) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

function sha(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Larger than both buffers, and compressible in parts. */
const big = Buffer.concat(
  Array.from({ length: 40 }, (_, i) => (i % 3 === 0 ? randomBytes(60_000) : Buffer.alloc(70_000, i))),
);

test("the run-time has the handles", async () => {
  expect(await hasHandle("gzip")).toBe(true);
  expect(await hasHandle("zstd")).toBe(true);
});

const shapes: Record<string, { bytes: Buffer; expected: Buffer }> = {
  gzip: { bytes: gzipSync(big), expected: big },
  "gzip of nothing": { bytes: gzipSync(""), expected: Buffer.alloc(0) },
  "gzip with members": {
    bytes: Buffer.concat([gzipSync(big), gzipSync("middle"), gzipSync(""), gzipSync(big)]),
    expected: Buffer.concat([big, Buffer.from("middle"), big]),
  },
  "gzip with zeros after it": { bytes: Buffer.concat([gzipSync(big), Buffer.alloc(700_000)]), expected: big },
  "gzip with a thousand members": {
    bytes: Buffer.concat(Array.from({ length: 1000 }, (_, i) => gzipSync(`member ${i};`))),
    expected: Buffer.from(Array.from({ length: 1000 }, (_, i) => `member ${i};`).join("")),
  },
  zstd: { bytes: zstdCompressSync(big), expected: big },
  "zstd with frames": {
    bytes: Buffer.concat([
      zstdCompressSync(big),
      skippable(70_000),
      zstdCompressSync("x"),
      zstdCompressSync(big),
    ]),
    expected: Buffer.concat([big, Buffer.from("x"), big]),
  },
  "zstd that begins with a skippable frame": {
    bytes: Buffer.concat([skippable(3), zstdCompressSync(big)]),
    expected: big,
  },
  "nothing compressed": { bytes: big, expected: big },
  nothing: { bytes: Buffer.alloc(0), expected: Buffer.alloc(0) },
  "three bytes": { bytes: Buffer.from("abc"), expected: Buffer.from("abc") },
};

function skippable(length: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50, 0);
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, randomBytes(length)]);
}

describe("in pieces of", () => {
  for (const step of [1 << 20, 65_536, 4099]) {
    test.each(Object.keys(shapes))(`${step} bytes: %s`, async (name) => {
      const { bytes, expected } = shapes[name] as (typeof shapes)[string];
      expect(sha(await all(bytes, step))).toBe(sha(expected));
    });
  }
  test("one byte", async () => {
    const text = Buffer.from("a little text, a little more text");
    expect(await all(gzipSync(text), 1)).toEqual(text);
    expect(await all(zstdCompressSync(text), 1)).toEqual(text);
  });
});

test("an output that ends exactly with a buffer", async () => {
  for (const length of [512 * 1024, 1024 * 1024, 512 * 1024 - 1, 512 * 1024 + 1]) {
    const bytes = Buffer.alloc(length, "ab");
    expect((await all(gzipSync(bytes))).equals(bytes)).toBe(true);
    expect((await all(zstdCompressSync(bytes))).equals(bytes)).toBe(true);
  }
});

test("any members of any content, cut anywhere", async () => {
  const member = fc.record({
    bytes: fc.uint8Array({ maxLength: 3000 }),
    level: fc.integer({ min: 0, max: 9 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(member, { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 4000 }),
      async (members, step) => {
        const expected = Buffer.concat(members.map(({ bytes }) => bytes));
        const gz = Buffer.concat(members.map(({ bytes, level }) => gzipSync(bytes, { level })));
        expect((await all(gz, step)).equals(expected)).toBe(true);
        const zs = Buffer.concat(members.map(({ bytes }) => zstdCompressSync(bytes)));
        expect((await all(zs, step)).equals(expected)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

describe("refuses", () => {
  const gz = gzipSync(big);
  const zs = zstdCompressSync(big);
  const flipped = (bytes: Buffer, at: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] = (copy[at] as number) ^ 0x55;
    return copy;
  };
  test.each([
    ["a gzip that is cut", gz.subarray(0, gz.length / 2), "truncated"],
    ["a gzip without its last byte", gz.subarray(0, -1), "truncated"],
    ["a gzip header alone", gz.subarray(0, 10), "truncated"],
    ["a second member that is cut", Buffer.concat([gz, gz.subarray(0, 1000)]), "truncated"],
    ["a gzip with a wrong byte", flipped(gz, gz.length >> 1), "corrupt"],
    ["a gzip with a wrong checksum", flipped(gz, gz.length - 6), "corrupt"],
    ["a second member that is none", Buffer.concat([gz, Buffer.from("rubbish rubbish")]), "corrupt"],
    ["a zstd that is cut", zs.subarray(0, zs.length / 2), "truncated"],
    ["a zstd without its last byte", zs.subarray(0, -1), "truncated"],
    ["a gzip header before rubbish", Buffer.concat([gz.subarray(0, 10), randomBytes(5000)]), "corrupt"],
  ])("%s", async (_, bytes, reason) => {
    const found = await failure(all(Buffer.from(bytes), 50_000));
    expect(found).toMatchObject({ kind: "data-loss" });
    if (reason === "truncated") expect(found).toMatchObject({ reason });
  });

  test("a zstd window of gigabytes", async () => {
    // A frame header that asks for 2 GiB, then an empty last block.
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
    expect(await failure(all(frame))).toMatchObject({ kind: "invalid-argument" });
  });

  test("raw deflate is not taken for anything", async () => {
    const raw = deflateRawSync("x");
    expect(await all(raw)).toEqual(raw);
  });
});

test("memory stays small and nothing is left running when the consumer stops", async () => {
  const bomb = gzipSync(Buffer.alloc(64 << 20));
  let length = 0;
  for await (const chunk of inflate(reader(bomb, 65_536))) {
    length += chunk.length;
    if (length > 4 << 20) break;
  }
  expect(length).toBeLessThan(6 << 20);
});
