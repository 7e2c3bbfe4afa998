// What registries do wrong, one at a time, and what comes of it.
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import type { Descriptor } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import { BrokenServer, digestOf, FakeRegistry, problem } from "../../test/fake/registry.ts";
import { failure } from "../../test/fake/failure.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { openRegistry } from "./client.ts";
import type { RegistryClient, RegistryOptions } from "./registry.ts";

const ctx = createCtx();
const temporary = tempDir("faults");
afterAll(() => temporary[Symbol.dispose]());
function textFile(name: string, text: string): string {
  writeFileSync(join(temporary.path, name), text);
  return join(temporary.path, name);
}
const conf = textFile("registries.conf", "");
const quick = { retries: 3, baseMs: 5, stallMs: 400 };
const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
});

function fake(): FakeRegistry {
  const registry = new FakeRegistry();
  open.push(registry);
  return registry;
}

function clientOf(registry: { host: string }, options: RegistryOptions = {}): RegistryClient {
  const authFile = "/nonexistent/auth.json";
  return openRegistry(parseReference(`${registry.host}/x`), {
    registriesConf: conf,
    authFile,
    retry: quick,
    ...options,
  });
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part.slice());
  return Buffer.concat(parts);
}

const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)));

/** Sends the first `length` bytes from where the request starts and then breaks the connection. */
function cutAfter(length: number, range: string | null): Response {
  const from = Number(/(\d+)-/.exec(range ?? "")?.[1] ?? 0);
  let sent = false;
  const body = new ReadableStream({
    async pull(controller) {
      if (sent) {
        await Bun.sleep(20);
        controller.error(new Error("cut"));
      } else controller.enqueue(bytes.subarray(from, from + length));
      sent = true;
    },
  });
  const headers = { "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
  return new Response(body, from === 0 ? {} : { status: 206, headers });
}

describe("blobs", () => {
  test("a broken connection is resumed where it stopped", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    const ranges: (string | null)[] = [];
    registry.fault = ({ path, headers }) => {
      if (!path.includes("/blobs/")) return undefined;
      ranges.push(headers.get("range"));
      return ranges.length <= 2 ? cutAfter(20_000, headers.get("range")) : undefined;
    };
    expect(await collect(clientOf(registry).blob(ctx, descriptor))).toEqual(bytes);
    expect(ranges).toEqual([null, "bytes=20000-", "bytes=40000-"]);
  });

  test("a registry that ignores Range is read again and nothing is doubled", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    let tries = 0;
    registry.fault = ({ path }) => {
      if (!path.includes("/blobs/")) return undefined;
      return ++tries === 1 ? cutAfter(20_000, null) : new Response(bytes);
    };
    expect(await collect(clientOf(registry).blob(ctx, descriptor))).toEqual(bytes);
    expect(tries).toBe(2);
  });

  test("patience ends when nothing moves any more", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    registry.fault = ({ path, headers }) =>
      path.includes("/blobs/") ? cutAfter(10, headers.get("range")) : undefined;
    expect(await failure(collect(clientOf(registry).blob(ctx, descriptor)))).toMatchObject({
      kind: "unavailable",
    });
    expect(registry.count("GET", "/blobs/")).toBe(1 + quick.retries);
  });

  test("patience is the same where nothing comes at all", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    registry.fault = ({ path }) => (path.includes("/blobs/") ? problem(503, "UNAVAILABLE") : undefined);
    const error = await failure(collect(clientOf(registry).blob(ctx, descriptor)));
    expect(error).toMatchObject({ kind: "unavailable" });
    expect(registry.count("GET", "/blobs/")).toBe(1 + quick.retries);
  });

  test("a wrong range in the answer is refused", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    registry.fault = ({ path }) => {
      if (!path.includes("/blobs/")) return undefined;
      return new Response("abc", { status: 206, headers: { "Content-Range": "bytes 7-9/60000" } });
    };
    const result = collect(clientOf(registry).blob(ctx, descriptor, 20));
    expect(await failure(result)).toMatchObject({ reason: "blob-range" });
  });

  test.each([
    ["shorter than announced by the manifest", bytes.subarray(0, 100)],
    ["longer than announced by the manifest", Buffer.concat([bytes, bytes])],
  ])("%s", async (_name, body) => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    registry.fault = ({ path }) => (path.includes("/blobs/") ? new Response(body) : undefined);
    expect(await failure(collect(clientOf(registry).blob(ctx, descriptor)))).toMatchObject({
      kind: "data-loss",
      reason: "blob-size",
    });
  });

  test("an endless body stops at the size of the descriptor", async () => {
    const registry = fake();
    const descriptor = registry.addBlob(bytes);
    const endless = () => new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(50_000)) });
    registry.fault = ({ path }) => (path.includes("/blobs/") ? new Response(endless()) : undefined);
    let received = 0;
    const read = async () => {
      for await (const chunk of clientOf(registry).blob(ctx, descriptor)) received += chunk.length;
    };
    expect(await failure(read())).toMatchObject({ kind: "data-loss", reason: "blob-size" });
    expect(received).toBeLessThanOrEqual(descriptor.size);
  });

  test("a standstill is noticed", async () => {
    const held = new BrokenServer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc", true);
    open.push(held);
    const options = { retry: { ...quick, retries: 0, stallMs: 150 }, tlsVerify: false };
    const text = `[[registry]]\nlocation = "${held.host}"\ninsecure = true\n`;
    const client = clientOf(held, { ...options, registriesConf: textFile("held.conf", text) });
    const descriptor: Descriptor = { mediaType: "", digest: digestOf("a"), size: 1000 };
    expect(await failure(collect(client.blob(ctx, descriptor)))).toMatchObject({ kind: "unavailable" });
  });

  test("an empty blob", async () => {
    const registry = fake();
    const descriptor = registry.addBlob("");
    expect(await collect(clientOf(registry).blob(ctx, descriptor))).toHaveLength(0);
  });

  test("data inside the descriptor is used only if it is what the digest says", async () => {
    const registry = fake();
    const descriptor = registry.addBlob("hello");
    const good = { ...descriptor, data: Buffer.from("hello").toString("base64") };
    expect((await collect(clientOf(registry).blob(ctx, good))).toString()).toBe("hello");
    expect(registry.count("GET", "/blobs/")).toBe(0);
    const bad = { ...descriptor, data: Buffer.from("hullo").toString("base64") };
    expect((await collect(clientOf(registry).blob(ctx, bad))).toString()).toBe("hello");
    expect(registry.count("GET", "/blobs/")).toBe(1);
  });
});

describe("statuses", () => {
  test("429 with Retry-After, then 503, then the answer", async () => {
    const registry = fake();
    registry.addManifest("v1", { a: 1 });
    let tries = 0;
    registry.fault = ({ path }) => {
      if (!path.includes("/manifests/")) return undefined;
      tries++;
      if (tries === 1) return problem(429, "TOOMANYREQUESTS", "slow down", { "Retry-After": "1" });
      return tries === 2 ? problem(503, "UNAVAILABLE") : undefined;
    };
    const begun = performance.now();
    expect((await clientOf(registry).manifest(ctx, "v1")).bytes.toString()).toBe('{"a":1}');
    expect(performance.now() - begun).toBeGreaterThan(990);
  });

  test.each([
    [429, "resource-exhausted", 4],
    [500, "unavailable", 4],
    [502, "unavailable", 4],
    [403, "permission-denied", 1],
    [404, "not-found", 1],
    [400, "invalid-argument", 1],
  ])("%d is %s after %d tries", async (status, kind, tries) => {
    const registry = fake();
    registry.fault = ({ path }) =>
      path.includes("/manifests/") ? problem(status, "X_Y", "some\u001b[31m text") : undefined;
    const error = await failure(clientOf(registry).manifest(ctx, "v1"));
    expect(error).toMatchObject({ kind, reason: "x-y" });
    expect(error.message).toContain("x y: some [31m text");
    expect(registry.count("GET", "/manifests/")).toBe(tries);
  });

  test("waiting for a retry ends when the caller gives up", async () => {
    const registry = fake();
    registry.fault = ({ path }) =>
      path.includes("/manifests/") ? problem(429, "X", "", { "Retry-After": "50" }) : undefined;
    const signal = AbortSignal.timeout(100);
    expect(await failure(clientOf(registry).manifest(createCtx({ signal }), "v1"))).toMatchObject({
      kind: "canceled",
    });
  });

  test("a refused connection is not retried", async () => {
    const client = clientOf({ host: "127.0.0.1:1" }, { retry: { ...quick, baseMs: 10_000 } });
    expect(await failure(client.manifest(ctx, "v1"))).toMatchObject({
      kind: "unavailable",
      reason: "network",
    });
  });

  test("a warning is shown once, without control characters", async () => {
    const registry = fake();
    registry.addManifest("v1", {});
    registry.fault = ({ path }) =>
      path.endsWith("v1") ? new Response("{}", { headers: { Warning: '299 - "going\taway"' } }) : undefined;
    const lines: string[] = [];
    const log = createLog({ level: "warn", write: (line) => lines.push(line) });
    const client = clientOf(registry);
    await client.manifest(createCtx({ log }), "v1");
    await client.manifest(createCtx({ log }), "v1");
    expect(lines).toEqual([`berth: warn: registry "${registry.host}" says: going?away\n`]);
  });
});

describe("manifests", () => {
  test("the digest is checked when asked by digest and when the registry names one", async () => {
    const registry = fake();
    const digest = registry.addManifest("v1", { a: 1 });
    registry.fault = ({ path }) =>
      path.includes("/manifests/")
        ? new Response("other", { headers: { "Docker-Content-Digest": digest } })
        : undefined;
    for (const name of ["v1", digest]) {
      expect(await failure(clientOf(registry).manifest(ctx, name))).toMatchObject({
        kind: "data-loss",
        reason: "manifest-digest",
      });
    }
  });

  test("a registry that names no digest", async () => {
    const registry = fake();
    registry.namesDigests = false;
    const digest = registry.addManifest("v1", { a: 1 });
    expect((await clientOf(registry).manifest(ctx, "v1")).descriptor.digest).toBe(digest);
  });

  test("more than 4 MiB is not read, announced or not", async () => {
    const registry = fake();
    const big = new Uint8Array(5 * 1024 * 1024);
    const stream = () => new ReadableStream({ start: (c) => (c.enqueue(big), c.close()) });
    for (const make of [() => new Response(big), () => new Response(stream())]) {
      registry.fault = ({ path }) => (path.includes("/manifests/") ? make() : undefined);
      expect(await failure(clientOf(registry).manifest(ctx, "v1"))).toMatchObject({
        reason: "answer-too-large",
      });
    }
  });

  test("parameters of the Content-Type are dropped", async () => {
    const registry = fake();
    registry.addManifest("v1", {}, "Application/vnd.oci.image.index.v1+json; charset=utf-8");
    const { descriptor } = await clientOf(registry).manifest(ctx, "v1");
    expect(descriptor.mediaType).toBe("application/vnd.oci.image.index.v1+json");
  });

  test("tags come in pages by Link", async () => {
    const registry = fake();
    registry.fault = ({ path, query }) => {
      if (!path.endsWith("/tags/list")) return undefined;
      if (query.includes("last=b")) return Response.json({ tags: ["c", "../x", 7] });
      return Response.json(
        { tags: ["a", "b"] },
        { headers: { Link: '</v2/x/tags/list?last=b>; rel="next"' } },
      );
    };
    expect(await clientOf(registry).tags(ctx)).toEqual(["a", "b", "c"]);
  });

  test.each<[string, (page: number) => [link: string, body: string], object]>([
    ["round and round", (n) => [`/v2/x/tags/list?n=${n % 3}`, '{"tags":["a"]}'], { reason: "endless-list" }],
    ["on and on", (n) => [`?last=${n}`, `{"tags":["t${n}"]}`], { reason: "endless-list" }],
    [
      "on and on with large pages",
      (n) => [`?last=${n}`, `{"tags":["t${n}"]${" ".repeat(3_000_000)}}`],
      { reason: "endless-list" },
    ],
    ["with one page that is too large", () => ["?", " ".repeat(5_000_000)], { reason: "answer-too-large" }],
    ["to another host", () => ["http://192.0.2.1/v2/x/tags/list", "{}"], { reason: "list-link" }],
    ["to an address that is none", () => ["http://[/", "{}"], { reason: "list-link" }],
  ])("tags that go %s", async (_what, page, expected) => {
    const registry = fake();
    let n = 0;
    registry.fault = ({ path }) => {
      if (!path.endsWith("/tags/list")) return undefined;
      const [link, body] = page(++n);
      return new Response(body, { headers: { Link: `<${link}>; rel="next"` } });
    };
    expect(await failure(clientOf(registry).tags(ctx))).toMatchObject(expected);
    expect(n).toBeLessThanOrEqual(2000);
  });
});

test("a proxy of the environment is not asked for loopback", async () => {
  const registry = fake();
  registry.addManifest("v1", {});
  // The proxy is read when a process starts, so it takes one of its own.
  const script = `
    const { openRegistry } = await import("${import.meta.dir}/client.ts");
    const { createCtx } = await import("${import.meta.dir}/../core/ctx.ts");
    const [registry, repository] = ["${registry.host}", "x"];
    await openRegistry({ registry, repository }, { registriesConf: "${conf}" }).manifest(createCtx(), "v1");`;
  const proxy = "http://127.0.0.1:9";
  const env = {
    ...process.env,
    HTTP_PROXY: proxy,
    http_proxy: proxy,
    HTTPS_PROXY: proxy,
    https_proxy: proxy,
  };
  const child = Bun.spawn([process.execPath, "-e", script], { env, stdio: ["ignore", "ignore", "pipe"] });
  const complaint = await new Response(child.stderr).text();
  expect([await child.exited, complaint]).toEqual([0, ""]);
});

describe("redirects", () => {
  test("the Authorization header stays with its host", async () => {
    const registry = fake();
    const storage = fake();
    const descriptor = registry.addBlob(bytes);
    storage.fault = () => new Response(bytes);
    registry.fault = ({ path, headers }) => {
      if (!path.includes("/blobs/")) return undefined;
      if (headers.get("authorization") === null) {
        return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": 'Basic realm="x"' });
      }
      const Location = `http://${storage.host}/signed?signature=s3cret`;
      return new Response(null, { status: 307, headers: { Location } });
    };
    const client = clientOf(registry, { credentials: { username: "u", password: "p" } });
    expect(await collect(client.blob(ctx, descriptor))).toEqual(bytes);
    expect(storage.seen.map((s) => s.headers.get("authorization"))).toEqual([null]);
    storage.fault = () => problem(403, "DENIED");
    const error = await failure(collect(client.blob(ctx, descriptor)));
    expect(JSON.stringify(error.data) + String(error)).not.toContain("s3cret");
  });

  test("a loop ends", async () => {
    const registry = fake();
    registry.fault = ({ path }) =>
      path.includes("/manifests/")
        ? new Response(null, { status: 302, headers: { Location: path } })
        : undefined;
    expect(await failure(clientOf(registry).manifest(ctx, "v1"))).toMatchObject({ reason: "redirects" });
    expect(registry.count("GET", "/manifests/")).toBe(11);
  });

  test("to plain HTTP elsewhere is refused", async () => {
    const registry = fake();
    registry.fault = ({ path }) =>
      path.includes("/manifests/")
        ? new Response(null, { status: 302, headers: { Location: "http://example.invalid/x" } })
        : undefined;
    expect(await failure(clientOf(registry).manifest(ctx, "v1"))).toMatchObject({ reason: "plain-http" });
  });
});
