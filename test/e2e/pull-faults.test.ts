// Disks that fill up under a pull, kills at each change of its state, and registries that misbehave, through the whole program.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createGzip } from "node:zlib";
import { tarOf } from "../fake/engine.ts";
import { FakeRegistry, problem, type Seen } from "../fake/registry.ts";
import { Box, type Outcome, runArgv } from "./box.ts";
import { OCI_MANIFEST, putImage, type Stored } from "./registry.ts";

const MIB = 1024 * 1024;
const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn("skip: mounting a small disk needs root");

let box: Box;
let registry: FakeRegistry;
beforeAll(() => {
  box = new Box("pull-faults");
  box.ok(["ps"]);
  box.mark();
});
afterAll(() => box.close());
beforeEach(() => (registry = new FakeRegistry()));
afterEach(async () => {
  registry[Symbol.dispose]();
  box.berth(["rmi", "-f", "-a"]);
  box.ok(["image", "prune", "-f"]);
  expect(await box.leaks()).toEqual([]);
});

const name = (): string => `${registry.host}/team/app:1`;

function noisy(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = seed | 1;
  for (let i = 0; i < length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[i] = x;
  }
  return bytes;
}

function putNoise(seed: number, length = 400_000): Stored {
  return putImage(registry, "1", { tar: new Uint8Array(tarOf({ "data/noise": noisy(seed, length) })) });
}

/** An image of one layer whose bytes are made as they are compressed. */
async function putStream(source: Iterable<Uint8Array>): Promise<void> {
  const gzip = createGzip({ level: 1 });
  const parts: Uint8Array[] = [];
  gzip.on("data", (part: Uint8Array) => parts.push(part));
  const diff = new Bun.CryptoHasher("sha256");
  for (const chunk of source) {
    diff.update(chunk);
    if (!gzip.write(chunk)) await new Promise((resolve) => gzip.once("drain", resolve));
  }
  await new Promise((resolve) => gzip.end(() => gzip.once("end", resolve)).once("end", resolve));
  const layer = registry.addBlob(Buffer.concat(parts));
  const config = registry.addBlob(
    JSON.stringify({
      os: "linux",
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      config: {},
      rootfs: { type: "layers", diff_ids: [`sha256:${diff.digest("hex")}`] },
    }),
  );
  registry.addManifest("1", {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: [{ ...layer, mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }],
  });
}

/** A tar of one file of zeros, `megabytes` long. */
function* zeros(megabytes: number): Generator<Uint8Array> {
  const header = Buffer.from(tarOf({ bomb: "" }).subarray(0, 512));
  header.write((megabytes * MIB).toString(8).padStart(11, "0"), 124);
  header.fill(" ", 148, 156);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  yield header;
  const block = new Uint8Array(MIB);
  for (let i = 0; i < megabytes; i++) yield block;
  yield new Uint8Array(1024);
}

function* manyFiles(count: number): Generator<Uint8Array> {
  for (let i = 0; i < count; i += 500) {
    const names = Array.from({ length: 500 }, (_, j) => [`many/${i + j}`, ""]);
    yield tarOf(Object.fromEntries(names) as Record<string, string>).subarray(0, -1024);
  }
  yield new Uint8Array(1024);
}

describe.skipIf(!isRoot)("a disk that fills up", () => {
  let small: string;
  /** A store on a file system of its own. */
  const at = (args: string[]): string[] => [
    box.argv[0] as string,
    "--root",
    join(small, "root"),
    "--run",
    join(box.dir, "small-run"),
    ...args,
  ];
  const berth = async (args: string[]): Promise<Outcome> => {
    const child = Bun.spawn(at(args), { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return { code: await child.exited, stdout, stderr };
  };

  const mount = (options: string): void => {
    small = join(box.dir, "small");
    mkdirSync(small, { recursive: true });
    expect(runArgv(["mount", "-t", "tmpfs", "-o", options, "berth-test", small]).code).toBe(0);
  };
  afterEach(() => {
    runArgv(at(["system", "reset", "--force"]));
    runArgv(["umount", small]);
  });

  /** What is left of the failed pull, and that the store is as good as before. */
  const expectRolledBack = async (outcome: Outcome): Promise<void> => {
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toMatch(/no space left|ENOSPC/i);
    expect(outcome.stderr).toContain("system prune");
    for (const dir of ["ingest", "layers", "trash"]) {
      expect([dir, readdirSync(join(small, "root", dir))]).toEqual([dir, []]);
    }
    expect(await berth(["system", "check"])).toMatchObject({ code: 0, stdout: "" });
    registry.fault = () => undefined;
    putNoise(1, 100_000);
    expect(await berth(["pull", "-q", name()])).toMatchObject({ code: 0 });
  };

  test("with the zeros of a bomb", async () => {
    mount("size=48m");
    await putStream(zeros(1024));
    await expectRolledBack(await berth(["pull", "-q", name()]));
  });

  test("with the bytes of the blob itself", async () => {
    mount("size=6m");
    putNoise(2, 8 * MIB);
    await expectRolledBack(await berth(["pull", "-q", name()]));
  });

  test("with files", async () => {
    mount("size=64m,nr_inodes=1500");
    await putStream(manyFiles(5000));
    await expectRolledBack(await berth(["pull", "-q", name()]));
  });
});

describe("killed at each change of state", () => {
  const points = [
    "storage.layer.start",
    "storage.blob.write",
    "storage.blob.write=3*off->",
    "storage.blob.synced",
    "storage.blob.renamed",
    "storage.blob.committed",
    "storage.blob.committed=1*off->",
    "storage.layer.unpacked",
    "storage.layer.synced",
    "storage.layer.renamed",
    "storage.layer.committed",
    "storage.image.blobs",
    "storage.image.put",
  ];

  test("leaves nothing but what the next pull goes on with", async () => {
    for (const [seed, point] of points.entries()) {
      const stored = putNoise(seed + 100);
      // So that it comes in several chunks.
      registry.rate = 2_000_000;
      const failpoints = `${point.includes("=") ? point : `${point}=`}exit`;
      const child = Bun.spawn([...box.argv, "pull", "-q", name()], {
        stdio: ["ignore", "ignore", "ignore"],
        env: { ...process.env, BERTH_FAILPOINTS: failpoints },
      });
      await child.exited;
      expect([point, child.signalCode]).toEqual([point, "SIGKILL"]);
      box.ok(["ps"]);
      const left = readdirSync(join(box.root, "ingest"));
      expect([point, left.filter((file) => !file.endsWith(".part"))]).toEqual([point, []]);
      expect([point, box.berth(["system", "check"]).stdout]).toEqual([point, ""]);
      registry.rate = undefined;
      registry.seen.length = 0;
      const kept = left[0] === undefined ? 0 : statSync(join(box.root, "ingest", left[0])).size;
      const outcome = await box.async(["pull", "-q", name()]);
      expect([point, outcome.code, outcome.stdout]).toEqual([point, 0, `${stored.config.slice(7)}\n`]);
      const asked = registry.seen.filter(({ path }) => path.endsWith(stored.layer));
      const range = asked[0]?.headers.get("range") ?? undefined;
      expect([point, range]).toEqual([point, kept === 0 ? undefined : `bytes=${kept}-`]);
      expect(readdirSync(join(box.root, "ingest"))).toEqual([]);
      box.ok(["rmi", "-f", name()]);
    }
  });
});

describe("a registry", () => {
  let stored: Stored;
  beforeEach(() => (stored = putNoise(77)));
  const isLayer = ({ path }: Seen): boolean => path.endsWith(stored.layer);
  const layer = (): Uint8Array<ArrayBuffer> => registry.blobs.get(stored.layer) as Uint8Array<ArrayBuffer>;
  const pull = (): Promise<Outcome> => box.async(["pull", "-q", name()]);
  const expectPulled = async (): Promise<void> => {
    expect(await pull()).toMatchObject({ code: 0, stdout: `${stored.config.slice(7)}\n` });
    const [dir = ""] = readdirSync(join(box.root, "layers"));
    expect(readFileSync(join(box.root, "layers", dir, "diff/data/noise")).length).toBe(400_000);
  };
  const expectRefused = async (said: RegExp): Promise<void> => {
    const outcome = await pull();
    expect(outcome.code).toBe(125);
    expect(outcome.stderr).toMatch(said);
    expect(readdirSync(join(box.root, "ingest"))).toEqual([]);
    expect(readdirSync(join(box.root, "layers"))).toEqual([]);
  };

  test("that is busy: 429 with Retry-After, then 503, then the layer", async () => {
    let tries = 0;
    registry.fault = (request) => {
      if (!isLayer(request) || ++tries > 2) return undefined;
      return tries === 1
        ? problem(429, "TOOMANYREQUESTS", "slowly", { "Retry-After": "1" })
        : new Response(null, { status: 503 });
    };
    await expectPulled();
    expect(tries).toBe(3);
  });

  test("that resets the connection twice is asked for the rest", async () => {
    let tries = 0;
    registry.fault = (request) => {
      if (!isLayer(request) || ++tries > 2) return undefined;
      const from = Number(/\d+/.exec(request.headers.get("range") ?? "0")?.[0]);
      const half = layer().slice(from, from + 100_000);
      const body = new ReadableStream({
        async pull(controller) {
          controller.enqueue(half);
          await Bun.sleep(50);
          controller.error(new Error("reset"));
        },
      });
      const range = `bytes ${from}-${layer().length - 1}/${layer().length}`;
      return new Response(body, from === 0 ? {} : { status: 206, headers: { "Content-Range": range } });
    };
    await expectPulled();
    expect(tries).toBe(3);
  });

  test("that sends the layer from another host gets no credentials there", async () => {
    using store = new FakeRegistry();
    store.blobs.set(stored.layer, layer());
    registry.fault = (request) =>
      isLayer(request)
        ? Response.redirect(`http://${store.host}/v2/x/blobs/${stored.layer}?signature=secret`, 307)
        : undefined;
    const outcome = await box.async(["pull", "-q", "--creds", "user:s3cret-word", name()]);
    expect(outcome.code).toBe(0);
    expect(store.seen.map(({ headers }) => headers.get("authorization"))).toEqual([null]);
  });

  test("that lies about the length", async () => {
    registry.fault = (request) => (isLayer(request) ? new Response(layer().slice(0, -1)) : undefined);
    await expectRefused(/bytes on the registry but should have/);
    registry.fault = (request) =>
      isLayer(request) ? new Response(Buffer.concat([layer(), Buffer.from("more")])) : undefined;
    await expectRefused(/bytes on the registry but should have/);
  });

  test("that sends other bytes of the right length", async () => {
    registry.fault = (request) => (isLayer(request) ? new Response(noisy(3, layer().length)) : undefined);
    await expectRefused(new RegExp(stored.layer));
  });

  test("that sends a manifest without end", async () => {
    registry.fault = ({ path }) => {
      if (!path.includes("/manifests/")) return undefined;
      const body = new ReadableStream({
        pull: (controller) => controller.enqueue(Buffer.alloc(65_536, '{"x": [')),
      });
      return new Response(body, { headers: { "Content-Type": OCI_MANIFEST } });
    };
    await expectRefused(/larger than 4194304 bytes/);
  });
});
