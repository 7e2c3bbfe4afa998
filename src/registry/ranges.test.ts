// Several connections for one blob: where one is slow, only there, and what becomes of it when answers lie.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry, type Seen } from "../../test/fake/registry.ts";
import { createCtx } from "../core/ctx.ts";
import type { Descriptor } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";

const MIB = 1024 * 1024;
const bytes = crypto.getRandomValues(new Uint8Array(65_536));
const big = new Uint8Array(24 * MIB);
for (let at = 0; at < big.length; at += bytes.length) {
  big.set(bytes, at);
  big[at] = at / bytes.length;
}

let registry: FakeRegistry;
let blob: Descriptor;
beforeEach(() => {
  registry = new FakeRegistry();
  blob = registry.addBlob(big) as Descriptor;
});
afterEach(() => registry[Symbol.dispose]());

function open() {
  const retry = { retries: 2, baseMs: 5, stallMs: 5000 };
  return openRegistry(parseReference(`${registry.host}/team/app:1`), { retry });
}

async function read(offset = 0, pace = 0): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of open().blob(createCtx(), blob, offset)) {
    parts.push(chunk.slice());
    if (pace > 0) await Bun.sleep(pace);
  }
  return Buffer.concat(parts);
}

function isPiece({ headers }: Seen): boolean {
  return /^bytes=\d+-\d+$/.test(headers.get("range") ?? "");
}

function pieces(): string[] {
  return registry.seen.filter(isPiece).map(({ headers }) => headers.get("range") as string);
}

function equal(found: Buffer, offset = 0): boolean {
  return found.equals(big.subarray(offset));
}

describe("a connection that gives 8 MiB a second", () => {
  beforeEach(() => (registry.rate = 8 * MIB));

  test("is joined by others, and the bytes come in order, each asked for about once", async () => {
    const began = performance.now();
    expect(equal(await read())).toBe(true);
    // 3 s over one connection.
    expect(performance.now() - began).toBeLessThan(2200);
    expect(pieces().length).toBeGreaterThan(5);
    expect(new Set(pieces()).size).toBe(pieces().length);
  });

  test("at an offset", async () => {
    expect(equal(await read(5 * MIB + 17), 5 * MIB + 17)).toBe(true);
    expect(pieces().length).toBeGreaterThan(2);
  });

  test("that breaks in the middle of pieces is resumed", async () => {
    let broken = 0;
    registry.fault = (request) => {
      const [, first, end] = /(\d+)-(\d+)/.exec(request.headers.get("range") ?? "") ?? [];
      const [from, last] = [Number(first), Number(end)];
      // What is asked for after a break is less than a whole piece.
      if (!isPiece(request) || last - from + 1 < 2 * MIB) return undefined;
      broken++;
      const half = big.slice(from, from + (last - from) / 2);
      const stream = new ReadableStream({
        async pull(controller) {
          controller.enqueue(half);
          await Bun.sleep(20);
          controller.error(new Error("cut"));
        },
      });
      const headers = {
        "Content-Range": `bytes ${from}-${last}/${big.length}`,
        "Content-Length": String(last - from + 1),
      };
      return new Response(stream, { status: 206, headers });
    };
    expect(equal(await read())).toBe(true);
    expect(broken).toBeGreaterThan(2);
  });

  test.each([
    ["all of it", () => new Response(big)],
    ["other bytes", () => piece(0, 9)],
    ["less than asked for", () => piece(4 * MIB, 9)],
    ["that there is no such byte", () => new Response(null, { status: 416 })],
  ])("and answers %s when asked for a piece, goes on alone", async (_, answer) => {
    registry.fault = (request) => (isPiece(request) ? answer() : undefined);
    registry.rate = 16 * MIB;
    expect(equal(await read())).toBe(true);
    expect(pieces().length).toBeLessThan(8);
    expect(registry.count("GET", "/blobs/") - pieces().length).toBeLessThanOrEqual(2);
  });

  test("a registry that lies from some piece on is read as one stream from there", async () => {
    let seen = 0;
    registry.fault = (request) => (isPiece(request) && ++seen > 4 ? piece(0, 9) : undefined);
    expect(equal(await read())).toBe(true);
  });

  test("a caller who stops leaves no request behind", async () => {
    let length = 0;
    for await (const chunk of open().blob(createCtx(), blob)) {
      length += chunk.length;
      if (length > 8 * MIB) break;
    }
    await Bun.sleep(300);
    const { length: asked } = registry.seen;
    await Bun.sleep(500);
    expect(registry.seen.length).toBe(asked);
  });

  test("a caller who gives up gets no more bytes", async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 700);
    const drain = async (): Promise<void> => {
      for await (const _ of open().blob(createCtx({ signal: stop.signal }), blob));
    };
    expect(await failure(drain())).toMatchObject({ kind: "canceled" });
  });
});

describe("one connection stays alone", () => {
  test("where it is fast", async () => {
    expect(equal(await read())).toBe(true);
    expect(pieces()).toEqual([]);
  });

  test("where the receiver is what takes the time", async () => {
    registry.rate = 60 * MIB;
    expect(equal(await read(0, 8))).toBe(true);
    expect(pieces()).toEqual([]);
  });
});

function piece(from: number, length: number): Response {
  const headers = { "Content-Range": `bytes ${from}-${from + length - 1}/${big.length}` };
  return new Response(big.slice(from, from + length), { status: 206, headers });
}
