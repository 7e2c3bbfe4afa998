import { describe, expect, test } from "bun:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { parallelCompress } from "./compress-parallel.ts";

async function* streamOf(bytes: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) {
    await Promise.resolve();
    yield bytes.slice(at, at + step);
  }
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

const READERS = { gzip: gunzipSync, zstd: zstdDecompressSync };
const SIZES = [0, 1, 4 * 1024 * 1024, 4 * 1024 * 1024 + 1, 30_000_000];

describe.each(["gzip", "zstd"] as const)("parallel %s", (format) => {
  test.each(SIZES)("%d bytes come back, always as the same bytes", async (size) => {
    const bytes = Buffer.alloc(size);
    for (let i = 0; i < size; i += 7) bytes[i] = i % 251;
    const once = await collect(parallelCompress(streamOf(bytes, 1_000_003), { format }));
    expect(READERS[format](once).equals(bytes)).toBe(true);
    expect((await collect(parallelCompress(streamOf(bytes, 77_777), { format }))).equals(once)).toBe(true);
  });

  test("a higher level gives fewer bytes", async () => {
    const bytes = new Uint8Array(await Bun.file("/proc/self/exe").slice(0, 6_000_000).arrayBuffer());
    const sizes = [];
    for (const level of [1, 9])
      sizes.push((await collect(parallelCompress(streamOf(bytes, 100_000), { format, level }))).length);
    expect(sizes[1]).toBeLessThan(sizes[0] as number);
  });

  test("the program of the host reads it", async () => {
    const bytes = Buffer.alloc(9_000_000, "some text ");
    const packed = await collect(parallelCompress(streamOf(bytes, 500_000), { format }));
    const program = Bun.which(format);
    if (program === null) return console.warn(`skip: ${format} is not installed`);
    const { stdout, exitCode } = Bun.spawnSync([program, "-dc"], { stdin: packed });
    expect([exitCode, stdout.equals(bytes)]).toEqual([0, true]);
  });

  test("several streams at a time share the threads and give what each alone gives", async () => {
    const inputs = Array.from({ length: 4 }, (_, i) => Buffer.alloc(9_000_000 + i, `text ${i} `));
    const alone: Buffer[] = [];
    for (const bytes of inputs)
      alone.push(await collect(parallelCompress(streamOf(bytes, 500_000), { format })));
    const together = await Promise.all(
      inputs.map((bytes) => collect(parallelCompress(streamOf(bytes, 500_000), { format }))),
    );
    expect(together.map((packed, i) => packed.equals(alone[i] as Buffer))).toEqual(Array(4).fill(true));
    expect(together.map((packed, i) => READERS[format](packed).equals(inputs[i] as Buffer))).toEqual(
      Array(4).fill(true),
    );
  });

  test("an error of the source ends it", async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(9_000_000);
      await Promise.resolve();
      throw new Error("broken");
    };
    let message = "";
    try {
      await collect(parallelCompress(broken(), { format }));
    } catch (error) {
      ({ message } = error as Error);
    }
    expect(message).toBe("broken");
  });

  test("who stops reading stops it", async () => {
    let read = 0;
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      for (; ; read++) {
        await Promise.resolve();
        yield new Uint8Array(1_000_000);
      }
    };
    for await (const part of parallelCompress(endless(), { format })) {
      expect(part.length).toBeGreaterThan(0);
      break;
    }
    expect(read).toBeLessThan(500);
  });
});
