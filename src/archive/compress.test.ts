import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { rejection } from "../../test/fixtures/collect.ts";
import zlib from "node:zlib";
import { EngineError } from "../core/error.ts";
import { decompress, detectCompression, gzip, hostDecoder, zstd } from "./compress.ts";

async function* inChunks(bytes: Uint8Array, size = bytes.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function failure(source: AsyncIterable<Uint8Array>): Promise<EngineError> {
  try {
    await all(source);
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const text = Buffer.from(Array.from({ length: 30_000 }, (_, i) => `line ${i * 7919}\n`).join(""));
const skippable = Buffer.concat([Buffer.from([0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from("skip!")]);
const checked = { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } };

const whole: Record<string, [Buffer, Buffer]> = {
  none: [text, text],
  "none, shorter than any magic": [Buffer.from("ab"), Buffer.from("ab")],
  nothing: [Buffer.alloc(0), Buffer.alloc(0)],
  gzip: [zlib.gzipSync(text), text],
  "gzip of many members": [
    Buffer.concat([zlib.gzipSync(text), zlib.gzipSync("two"), zlib.gzipSync("")]),
    Buffer.concat([text, Buffer.from("two")]),
  ],
  "gzip and zeros": [Buffer.concat([zlib.gzipSync(text), Buffer.alloc(5000)]), text],
  zstd: [zlib.zstdCompressSync(text), text],
  "zstd with a checksum": [zlib.zstdCompressSync(text, checked), text],
  "zstd of an empty file": [zlib.zstdCompressSync(Buffer.alloc(0)), Buffer.alloc(0)],
  "zstd of runs": [zlib.zstdCompressSync(Buffer.alloc(1_000_000)), Buffer.alloc(1_000_000)],
  "zstd frames and skippable ones": [
    Buffer.concat([
      skippable,
      zlib.zstdCompressSync(text),
      skippable,
      zlib.zstdCompressSync("two"),
      skippable,
    ]),
    Buffer.concat([text, Buffer.from("two")]),
  ],
  "zstd and zeros": [Buffer.concat([zlib.zstdCompressSync(text), Buffer.alloc(100)]), text],
};

describe("decompress", () => {
  for (const [name, [packed, plain]] of Object.entries(whole)) {
    test(name, async () => {
      for (const size of [packed.length, 1000, 7].filter((n) => n * 20_000 >= packed.length)) {
        expect(Buffer.compare(await all(decompress(inChunks(packed, Math.max(size, 1)))), plain)).toBe(0);
      }
    });
  }

  for (const name of ["gzip", "zstd", "zstd with a checksum", "zstd of runs"]) {
    test(`${name}, cut off anywhere`, async () => {
      const [packed] = whole[name] as [Buffer, Buffer];
      const step = Math.max(1, Math.floor(packed.length / 40));
      for (let cut = 6; cut < packed.length; cut += step) {
        const error = await failure(decompress(inChunks(packed.subarray(0, cut), 5000)));
        expect([cut, error.kind, error.reason]).toEqual([cut, "data-loss", "truncated"]);
      }
    });
  }

  test("corrupt input is data loss", async () => {
    for (const name of ["gzip", "zstd with a checksum"]) {
      const packed = Buffer.from((whole[name] as [Buffer, Buffer])[0]);
      packed[packed.length - 3] = (packed.at(-3) as number) ^ 0x55;
      expect((await failure(decompress(inChunks(packed)))).kind).toBe("data-loss");
    }
    const garbage = Buffer.concat([zlib.zstdCompressSync(text), Buffer.from("garbage")]);
    expect((await failure(decompress(inChunks(garbage)))).kind).toBe("data-loss");
  });

  test("a limit on what comes out", async () => {
    const bomb = zlib.gzipSync(Buffer.alloc(50_000_000));
    expect((await failure(decompress(inChunks(bomb), { maxBytes: 1_000_000 }))).kind).toBe(
      "resource-exhausted",
    );
  });

  test("a limit on zstd's window", async () => {
    const params = {
      [zlib.constants.ZSTD_c_windowLog]: 28,
      [zlib.constants.ZSTD_c_enableLongDistanceMatching]: 1,
    };
    const compressor = zlib.createZstdCompress({ params });
    compressor.end(text);
    const packed = await all(compressor as AsyncIterable<Uint8Array>);
    expect((await failure(decompress(inChunks(packed)))).reason).toBe("window");
    expect(Buffer.compare(await all(decompress(inChunks(packed), { windowLog: 28 })), text)).toBe(0);
  });

  test("bzip2 and xz are named, with a way out", async () => {
    for (const compression of ["bzip2", "xz"] as const) {
      const decoder = hostDecoder(compression) as string[];
      const packed = spawnSync(decoder[0] as string, ["-c"], { input: text }).stdout;
      expect(detectCompression(packed)).toBe(compression);
      const error = await failure(decompress(inChunks(packed)));
      expect([error.kind, error.hint]).toEqual([
        "unimplemented",
        `decompress it first: ${decoder.join(" ")}`,
      ]);
      const back = spawnSync(decoder[0] as string, decoder.slice(1), { input: packed, maxBuffer: 1 << 24 });
      expect(Buffer.compare(back.stdout, text)).toBe(0);
    }
    expect(hostDecoder("gzip")).toBeUndefined();
  });

  test("the source's own error comes through, and a consumer that stops ends the source", async () => {
    const broken = (async function* (): AsyncGenerator<Uint8Array> {
      yield zlib.gzipSync(text).subarray(0, 100);
      throw new Error("the network is gone");
    })();
    expect(await rejection(all(decompress(broken)))).toContain("the network is gone");
    let isEnded = false;
    const packed = zlib.gzipSync(Buffer.alloc(30_000_000));
    const source = (async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* inChunks(packed, 1000);
      } finally {
        isEnded = true;
      }
    })();
    for await (const chunk of decompress(source)) if (chunk.length > 0) break;
    await Bun.sleep(10);
    expect(isEnded).toBe(true);
  });
});

describe("compress", () => {
  test("gzip is deterministic and others read it", async () => {
    const packed = await all(gzip(inChunks(text, 10_000), 6));
    expect([...packed.subarray(0, 9)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0]);
    expect(await all(gzip(inChunks(text, 3333), 6))).toEqual(packed);
    expect(Buffer.compare(spawnSync("gzip", ["-dc"], { input: packed }).stdout, text)).toBe(0);
  });

  test("zstd is whole and is read back", async () => {
    const big = Buffer.concat(Array.from({ length: 20 }, () => text));
    const packed = await all(zstd(inChunks(big, 100_000), 3));
    expect(await all(zstd(inChunks(big, 100_000), 3))).toEqual(packed);
    expect(Buffer.compare(await all(decompress(inChunks(packed, 9999))), big)).toBe(0);
    expect(
      Buffer.compare(spawnSync("zstd", ["-dc"], { input: packed, maxBuffer: 1 << 26 }).stdout, big),
    ).toBe(0);
  });
});
