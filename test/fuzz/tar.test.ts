/**
 * Fuzzing what parses bytes from outside: whatever comes, the reader either tells a consistent story or throws
 * an EngineError, soon and in bounded memory. BERTH_FUZZ_RUNS raises the number of runs.
 */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { decompress } from "../../src/archive/compress.ts";
import { ZstdFrames } from "../../src/archive/zstd-frames.ts";
import { TarReader } from "../../src/archive/tar-reader.ts";
import { EngineError } from "../../src/core/error.ts";
import { archiveOf, bombs, hostileLayers } from "../fixtures/tar.ts";
import { streamOf } from "../fixtures/unpack.ts";

const RUNS = Number(process.env["BERTH_FUZZ_RUNS"] ?? 300);

interface Told {
  entries: number;
  bytes: number;
  error?: EngineError;
  story: string;
}

/** Reads it and checks that the sink is called in order: entry, data within the size and forwards, endEntry. */
function tell(archive: Uint8Array, chunk: number): Told {
  const told: Told = { entries: 0, bytes: 0, story: "" };
  let open: { size: number; at: number } | undefined;
  const reader = new TarReader({
    entry: (entry) => {
      if (open !== undefined) throw new Error("entry inside an entry");
      if (entry.size < 0 || !Number.isSafeInteger(entry.size)) throw new Error(`size ${entry.size}`);
      if (entry.type !== "file" && entry.size !== 0) throw new Error(`${entry.type} of size ${entry.size}`);
      open = { size: entry.size, at: 0 };
      told.entries++;
      told.story += `${Buffer.from(entry.name).toString("hex")} ${entry.type} ${entry.size}\n`;
    },
    data: (bytes, offset) => {
      if (open === undefined || offset < open.at || offset + bytes.length > open.size)
        throw new Error("data out of place");
      open.at = offset + bytes.length;
      told.bytes += bytes.length;
    },
    endEntry: () => {
      if (open === undefined) throw new Error("end without an entry");
      open = undefined;
    },
  });
  try {
    for (let at = 0; at < archive.length; at += chunk) reader.write(archive.subarray(at, at + chunk));
    reader.end();
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    told.error = error;
  }
  return told;
}

function corpus(): Uint8Array[] {
  const dir = mkdtempSync("/tmp/berth-fuzz-");
  try {
    writeFileSync(`${dir}/${"long".repeat(40)}`, "content");
    writeFileSync(`${dir}/holes`, "begin");
    truncateSync(`${dir}/holes`, 1 << 20);
    writeFileSync(`${dir}/tail`, "tail");
    const gnu = ["gnu", "oldgnu", "pax"].map((format) =>
      spawnSync("tar", ["-c", "--sparse", `--format=${format}`, "-C", dir, "."]).stdout.subarray(0, 20_480),
    );
    const own = archiveOf(
      { name: "dir/", mode: 0o755 },
      {
        name: "é".repeat(80),
        content: "x".repeat(1500),
        xattrs: new Map([["user.a", Uint8Array.of(0, 10, 61)]]),
      },
      { name: "link", linkName: "t".repeat(150), mtimeNs: 123_456_789n },
      { name: "dev", type: "char", device: { major: 1, minor: 3 }, uid: 3_000_000 },
    );
    const hostile = Object.values(hostileLayers("/canary")).flatMap((one) => one.layers);
    return [...gnu, own, ...hostile, ...Object.values(bombs()).filter((bomb) => bomb.length < 100_000)];
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const seeds = corpus();
const mutation = fc.oneof(
  fc.record({
    kind: fc.constant("set" as const),
    at: fc.nat(20_000),
    byte: fc.integer({ min: 0, max: 255 }),
  }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat(20_000), length: fc.nat(1200) }),
  fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(20_000), length: fc.nat(1200) }),
);

function mutate(
  bytes: Uint8Array,
  changes: { kind: "set" | "cut" | "repeat"; at: number; byte?: number; length?: number }[],
): Uint8Array {
  let out = Buffer.from(bytes);
  for (const { kind, at: anywhere, byte = 0, length = 0 } of changes) {
    const at = out.length === 0 ? 0 : anywhere % out.length;
    if (kind === "set") out[at] = byte;
    else if (kind === "cut") out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
    else out = Buffer.concat([out.subarray(0, at + length), out.subarray(at)]);
  }
  return out;
}

/** Puts right the checksum of every block that begins with a name: else mutations never get past it. */
function resum(bytes: Uint8Array): Uint8Array {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (Buffer.from(bytes.subarray(at + 257, at + 262)).toString() !== "ustar") continue;
    bytes.fill(0x20, at + 148, at + 156);
    let sum = 0;
    for (let i = at; i < at + 512; i++) sum += bytes[i] as number;
    bytes.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0`), at + 148);
  }
  return bytes;
}

describe("tar", () => {
  test("mutated archives, the same story whatever the chunks", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...seeds),
        fc.array(mutation, { maxLength: 8 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 3000 }),
        (seed, changes, isResummed, chunk) => {
          const mutated = mutate(seed, changes);
          const bytes = isResummed ? resum(mutated) : mutated;
          const [whole, pieces] = [tell(bytes, Math.max(bytes.length, 1)), tell(bytes, chunk)];
          expect(pieces.story).toBe(whole.story);
          expect([pieces.bytes, pieces.error?.message]).toEqual([whole.bytes, whole.error?.message]);
        },
      ),
      { numRuns: RUNS },
    );
  });

  test("random bytes behind a good checksum", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 512, maxLength: 512 }), { minLength: 1, maxLength: 5 }),
        (blocks) => {
          const bytes = Buffer.concat(blocks);
          for (let at = 0; at < bytes.length; at += 512) bytes.write("ustar", at + 257);
          tell(resum(bytes), bytes.length);
        },
      ),
      { numRuns: RUNS },
    );
  });
});

describe("zstd", () => {
  test("the frame follower agrees with the decoder, or is stricter", async () => {
    const frames = Bun.zstdCompressSync(Buffer.from("some text ".repeat(3000)));
    await fc.assert(
      fc.asyncProperty(
        fc.array(mutation, { maxLength: 4 }),
        fc.integer({ min: 1, max: 50 }),
        async (changes, chunk) => {
          const bytes = mutate(frames, changes);
          const follower = new ZstdFrames();
          let isWhole = true;
          try {
            for await (const piece of streamOf(bytes, chunk)) follower.write(piece);
            follower.end();
          } catch (error) {
            if (!(error instanceof EngineError)) throw error;
            isWhole = false;
          }
          let isRead = true;
          try {
            for await (const piece of decompress(streamOf(bytes, chunk)))
              if (piece.length === 0) throw new Error("empty chunk");
          } catch (error) {
            if (!(error instanceof EngineError)) throw error;
            isRead = false;
          }
          // What no longer begins as zstd is passed through as it is.
          const isZstd = Buffer.from(bytes.subarray(0, 4)).equals(Buffer.from(frames.subarray(0, 4)));
          if (isZstd && isRead) expect(isWhole).toBe(true);
        },
      ),
      { numRuns: RUNS / 3 },
    );
  });
});
