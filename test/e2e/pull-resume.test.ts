// Pulls that break off, and what the next one makes of what they have brought.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { tarOf } from "../fake/engine.ts";
import { FakeRegistry, problem, type Seen } from "../fake/registry.ts";
import { Box, type Outcome } from "./box.ts";
import { putImage, type Stored } from "./registry.ts";

const MIB = 1024 * 1024;
const noise = crypto.getRandomValues(new Uint8Array(65_536));
/** Does not deflate: the layer is as long as this. */
const content = new Uint8Array(6 * MIB);
for (let at = 0; at < content.length; at += noise.length) {
  content.set(
    noise.map((byte) => byte ^ (at >> 16)),
    at,
  );
}

let box: Box;
let registry: FakeRegistry;
let image: Stored;
let size: number;
beforeAll(() => {
  box = new Box("resume");
  box.ok(["ps"]);
  box.mark();
});
afterAll(() => box.close());
beforeEach(() => {
  registry = new FakeRegistry();
  image = putImage(registry, "1", { tar: new Uint8Array(tarOf({ "data/noise": content })) });
  size = (registry.blobs.get(image.layer) as Uint8Array).length;
});
afterEach(async () => {
  registry[Symbol.dispose]();
  box.berth(["rmi", "-f", "-a"]);
  box.ok(["image", "prune", "-f"]);
  expect(ingest()).toEqual([]);
  expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
  expect(await box.leaks()).toEqual([]);
});

const name = (): string => `${registry.host}/team/app:1`;
const partial = (): string => join(box.root, "ingest", `${image.layer.replace(":", "-")}.part`);

function ingest(): string[] {
  return readdirSync(join(box.root, "ingest"));
}

function layerRequests(): Seen[] {
  return registry.seen.filter(({ path }) => path.endsWith(image.layer));
}

function ranges(): (string | null)[] {
  return layerRequests().map(({ headers }) => headers.get("range"));
}

/** Bytes of the layer that are there, however the pull that brought them has ended. */
function kept(): number {
  return statSync(partial(), { throwIfNoEntry: false })?.size ?? 0;
}

async function pull(): Promise<Outcome> {
  return await box.async(["pull", "-q", name()]);
}

async function expectPulled(): Promise<void> {
  const outcome = await pull();
  expect(outcome).toMatchObject({ code: 0, stdout: `${image.config.slice(7)}\n` });
  const [layer = ""] = readdirSync(join(box.root, "layers"));
  expect(readFileSync(join(box.root, "layers", layer, "diff/data/noise")).equals(content)).toBe(true);
  expect(ingest()).toEqual([]);
}

/** Starts a pull over a slow connection and ends it in the middle of the layer. */
async function interrupt(signal: "SIGKILL" | "SIGINT" | "SIGTERM"): Promise<number> {
  registry.rate = 4 * MIB;
  const child = box.spawn(["pull", "-q", name()]);
  await box.until("there is a part of the layer", () => kept() > MIB);
  child.kill(signal);
  await child.exited;
  registry.rate = undefined;
  registry.seen.length = 0;
  return kept();
}

for (const signal of ["SIGKILL", "SIGTERM", "SIGINT"] as const) {
  test(`${signal} in the middle of a layer: the next pull asks for the rest only`, async () => {
    const bytes = await interrupt(signal);
    expect(bytes).toBeGreaterThan(MIB);
    expect(bytes).toBeLessThan(size);
    expect(box.berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
    expect(kept()).toBe(bytes);
    await expectPulled();
    expect(ranges()).toEqual([`bytes=${bytes}-`]);
  });
}

test("an error that ends the command leaves what it brought", async () => {
  // The first answer breaks off, and then the registry wants to see other credentials.
  registry.fault = ({ path, headers }) => {
    if (!path.endsWith(image.layer)) return undefined;
    if (headers.has("range")) return problem(403, "DENIED", "not today");
    return cut(registry.blobs.get(image.layer) as Uint8Array<ArrayBuffer>, 3 * MIB);
  };
  const outcome = await pull();
  expect(outcome.code).toBe(125);
  expect(outcome.stderr).toContain("not today");
  expect(kept()).toBe(3 * MIB);
  registry.fault = () => undefined;
  registry.seen.length = 0;
  await expectPulled();
  expect(ranges()).toEqual([`bytes=${3 * MIB}-`]);
});

test("a registry that does not know Range is read from the start, and nothing is doubled", async () => {
  await interrupt("SIGKILL");
  registry.fault = ({ path }) =>
    path.endsWith(image.layer) ? new Response(registry.blobs.get(image.layer)) : undefined;
  await expectPulled();
});

test("parts that were damaged meanwhile are found out", async () => {
  const bytes = await interrupt("SIGKILL");
  await Bun.write(partial(), new Uint8Array(bytes));
  await expectPulled();
  expect(ranges()).toEqual([`bytes=${bytes}-`, null]);
});

test("the same blob for another image, from another registry, goes on as well", async () => {
  const bytes = await interrupt("SIGKILL");
  using other = new FakeRegistry();
  for (const [digest, blob] of registry.blobs) other.blobs.set(digest, blob);
  const again = putImage(other, "2", { tar: new Uint8Array(tarOf({ "data/noise": content })) });
  expect(again.layer).toBe(image.layer);
  expect(await box.async(["pull", "-q", `${other.host}/else/where:2`])).toMatchObject({ code: 0 });
  const asked = other.seen.filter(({ path }) => path.endsWith(image.layer));
  expect(asked.map(({ headers }) => headers.get("range"))).toEqual([`bytes=${bytes}-`]);
});

test("two pulls at once after a kill: one goes on, the other has nothing to do", async () => {
  const bytes = await interrupt("SIGKILL");
  const both = await Promise.all([pull(), pull()]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(ranges()).toEqual([`bytes=${bytes}-`]);
});

describe("the parts are seen", () => {
  test("by system df and freed by image prune", async () => {
    const before = imageBytes();
    const bytes = await interrupt("SIGKILL");
    expect(imageBytes() - before).toBeGreaterThanOrEqual(bytes);
    box.ok(["image", "prune", "-f"]);
    expect(kept()).toBe(0);
    expect(imageBytes()).toBeLessThanOrEqual(before + 4096);
  });

  test("not freed under the hands of who writes them", async () => {
    registry.rate = 8 * MIB;
    const running = pull();
    await box.until("there is a part of the layer", () => kept() > MIB);
    box.ok(["system", "prune", "-f"]);
    expect((await running).code).toBe(0);
    expect(layerRequests().filter(({ headers }) => !headers.has("range")).length).toBe(1);
  });
});

test("wrong bytes leave no part", async () => {
  registry.fault = ({ path }) => {
    if (!path.endsWith(image.layer)) return undefined;
    const wrong = Uint8Array.from(registry.blobs.get(image.layer) as Uint8Array);
    wrong[size - 100] = (wrong[size - 100] as number) ^ 1;
    return new Response(wrong);
  };
  expect(await pull()).toMatchObject({ code: 125 });
  expect(ingest()).toEqual([]);
});

function imageBytes(): number {
  const rows = JSON.parse(box.ok(["system", "df", "--format", "json"])) as {
    Type: string;
    RawSize: number;
  }[];
  return rows.find(({ Type }) => Type === "Images")?.RawSize as number;
}

/** Announces all of it, sends the first `length` bytes and breaks the connection. */
function cut(bytes: Uint8Array<ArrayBuffer>, length: number): Response {
  let sent = 0;
  const body = new ReadableStream({
    async pull(controller) {
      if (sent === length) {
        // What was sent must be on its way first.
        await Bun.sleep(200);
        return controller.error(new Error("cut"));
      }
      const next = Math.min(sent + 65_536, length);
      controller.enqueue(bytes.slice(sent, next));
      sent = next;
    },
  });
  return new Response(body, { headers: { "Content-Length": String(bytes.length) } });
}
