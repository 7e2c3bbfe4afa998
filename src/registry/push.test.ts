// Uploads to registries that do it their own way, or wrong.
import { afterEach, describe, expect, test } from "bun:test";
import { createServer, connect, type Socket } from "node:net";
import { createCtx } from "../core/ctx.ts";
import { haveDockerRegistry, startDockerRegistry } from "../../test/fake/docker-registry.ts";
import { failure } from "../../test/fake/failure.ts";
import { digestOf, FakeRegistry, problem } from "../../test/fake/registry.ts";
import type { Descriptor } from "../image/image.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import type { RegistryClient } from "./registry.ts";

const ctx = createCtx();
const quick = { retries: 3, baseMs: 5, stallMs: 2000 };
const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)));
const MiB = 1024 * 1024;
const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
});

function fake(): FakeRegistry {
  const registry = new FakeRegistry();
  open.push(registry);
  return registry;
}

function clientOf({ host }: { host: string }, repository = "x"): RegistryClient {
  const registriesConf = "/dev/null";
  return openRegistry(parseReference(`${host}/${repository}`), {
    registriesConf,
    authFile: "/nonexistent/auth.json",
    retry: quick,
  });
}

function described(of: Uint8Array): Descriptor {
  return { mediaType: "", digest: digestOf(of), size: of.length };
}

async function* stream(from: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < from.length; at += MiB) yield from.subarray(at, at + MiB);
}

function push(registry: { host: string }, of: Uint8Array, from: string[] = []) {
  return clientOf(registry).pushBlob(ctx, described(of), () => stream(of), from);
}

function ranges(registry: FakeRegistry): (string | null)[] {
  return registry.seen.filter((s) => s.method === "PATCH").map((s) => s.headers.get("content-range"));
}

function large(length: number): Buffer {
  const of = Buffer.alloc(length);
  for (let i = 0; i < length; i += 4096) of.writeUInt32LE(i, i);
  return of;
}

function expectThere(registry: FakeRegistry, of: Uint8Array): void {
  expect(digestOf(registry.blobs.get(digestOf(of)) ?? new Uint8Array())).toBe(digestOf(of));
  expect(registry.openUploads).toBe(0);
}

test("the query of the Location is kept and the session ends", async () => {
  const registry = fake();
  expect(await push(registry, bytes)).toBe("uploaded");
  expectThere(registry, bytes);
  const put = registry.seen.find((s) => s.method === "PUT");
  expect(put?.query).toStartWith("?state=a%2Fb&digest=sha256%3A");
  expect(put?.headers.get("content-length")).toBe(String(bytes.length));
  expect(await push(registry, bytes)).toBe("exists");
  expect(registry.count("POST", "uploads")).toBe(1);
});

test("blobs of no bytes and of one, as a whole and in chunks", async () => {
  for (const of of [new Uint8Array(), new Uint8Array([7])]) {
    const registry = fake();
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    const picky = fake();
    picky.fault = ({ method }) =>
      method === "PUT" && ranges(picky).length === 0 && of.length > 0
        ? problem(405, "UNSUPPORTED")
        : undefined;
    expect(await push(picky, of)).toBe("uploaded");
    expectThere(picky, of);
  }
});

describe("chunks", () => {
  test("are taken where the body as a whole is refused", async () => {
    const registry = fake();
    const of = large(20 * MiB);
    registry.maxBody = 9 * MiB;
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    expect(ranges(registry)).toEqual(["0-8388607", "8388608-16777215", "16777216-20971519"]);
  });

  test("get smaller where they are refused too, and 413 for all of them is the answer", async () => {
    const registry = fake();
    const of = large(3 * MiB);
    registry.maxBody = 1.5 * MiB;
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    expect(ranges(registry).at(-1)).toBe("2097152-3145727");
    const closed = fake();
    closed.maxBody = 1000;
    const error = await failure(push(closed, of));
    expect([error.data["status"], closed.openUploads, closed.blobs.size]).toEqual([413, 0, 0]);
  });

  test("are as large as the registry wants them", async () => {
    const registry = fake();
    const of = large(25 * MiB);
    registry.minChunk = 10 * MiB;
    registry.fault = ({ method, headers }) =>
      method === "PUT" && Number(headers.get("content-length")) > 0 ? problem(400, "UNSUPPORTED") : undefined;
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    expect(ranges(registry)).toEqual(["0-10485759", "10485760-20971519", "20971520-26214399"]);
  });
});

describe("a broken upload", () => {
  test("goes on where the registry has come to, as a whole or in chunks", async () => {
    const registry = fake();
    const of = large(20 * MiB);
    registry.cutBodies = [5 * MiB, 3 * MiB, 1000];
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    expect(ranges(registry).map((range) => range?.split("-")[0])).toEqual(
      [5 * MiB, 8 * MiB, 8 * MiB + 1000, 16 * MiB + 1000].map(String),
    );
    expect(registry.count("POST", "uploads")).toBe(1);
  });

  test("that is ever making progress is not given up", async () => {
    const registry = fake();
    const of = large(2 * MiB);
    registry.cutBodies = Array.from({ length: 12 }, () => 100_000);
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
  });

  test("begins again where the session is gone", async () => {
    const registry = fake();
    registry.cutBodies = [20_000];
    let dropped = false;
    registry.fault = ({ method }) => {
      if (method === "GET" && !dropped) {
        dropped = true;
        registry.dropUploads();
      }
      return undefined;
    };
    expect(await push(registry, bytes)).toBe("uploaded");
    expectThere(registry, bytes);
    expect([dropped, registry.count("POST", "uploads")]).toEqual([true, 2]);
  });

  test("asks for the range after 416, and is not put together wrongly", async () => {
    const registry = fake();
    const of = large(20 * MiB);
    registry.maxBody = 9 * MiB;
    let lied = false;
    registry.fault = ({ method, headers }) => {
      if (method !== "PATCH" || lied || !headers.get("content-range")?.startsWith("8388608-"))
        return undefined;
      lied = true;
      return new Response(null, { status: 416 });
    };
    expect(await push(registry, of)).toBe("uploaded");
    expectThere(registry, of);
    expect([lied, registry.count("POST", "uploads")]).toEqual([true, 2]);
  });

  test("whose parts do not give the blob is sent once more from the beginning", async () => {
    const registry = fake();
    registry.cutBodies = [20_000];
    let lied = false;
    // Says that more has arrived than has.
    registry.fault = ({ method, path }) => {
      if (method !== "GET" || lied || !path.includes("uploads")) return undefined;
      lied = true;
      registry.cutBodies = [];
      return new Response(null, { status: 204, headers: { Range: "0-29999" } });
    };
    expect(await push(registry, bytes)).toBe("uploaded");
    expectThere(registry, bytes);
  });

  test("without any progress ends with the registry's answer, and its sessions are deleted", async () => {
    const registry = fake();
    let tries = 0;
    registry.fault = ({ method }) => (method === "PUT" && ++tries > 0 ? problem(500, "UNKNOWN") : undefined);
    expect(await failure(push(registry, bytes))).toMatchObject({ kind: "unavailable" });
    expect([tries, registry.openUploads, registry.blobs.size]).toEqual([4, 0, 0]);
  });

  test("that the caller gives up leaves no session", async () => {
    const registry = fake();
    const stop = new AbortController();
    registry.fault = ({ method }) => {
      if (method === "PUT") stop.abort(new Error("enough"));
      return undefined;
    };
    const slow = async function* (): AsyncIterable<Uint8Array> {
      for (let i = 0; i < 60; i++) {
        yield bytes.subarray(i * 1000, (i + 1) * 1000);
        await Bun.sleep(20);
      }
    };
    const error = await failure(
      clientOf(registry).pushBlob(createCtx({ signal: stop.signal }), described(bytes), slow),
    );
    expect([error.kind, registry.blobs.size]).toEqual(["canceled", 0]);
    expect(registry.openUploads).toBe(0);
  });
});

describe("mounting", () => {
  test("is tried from every repository that may have it", async () => {
    const registry = fake();
    registry.addBlob(bytes);
    registry.absent.add(digestOf(bytes));
    registry.mountable.add("lib/base");
    expect(await push(registry, bytes, ["other/gone", "x", "lib/base"])).toBe("mounted");
    const posts = registry.seen.filter((s) => s.method === "POST").map((s) => s.query);
    expect(posts.map((query) => new URLSearchParams(query).get("from"))).toEqual(["other/gone", "lib/base"]);
    expect([registry.openUploads, registry.count("PUT", "uploads")]).toEqual([0, 0]);
  });

  test("that is refused or forbidden becomes an upload", async () => {
    const registry = fake();
    registry.fault = ({ method, query }) =>
      method === "POST" && query.includes("from=secret") ? problem(403, "DENIED") : undefined;
    expect(await push(registry, bytes, ["secret", "other"])).toBe("uploaded");
    expectThere(registry, bytes);
    expect(registry.count("POST", "uploads")).toBe(2);
  });

  test("of a blob that is not at hand sends nothing and leaves no session", async () => {
    const registry = fake();
    expect(await clientOf(registry).mountBlob(ctx, digestOf(bytes), ["other"])).toBeUndefined();
    expect([registry.openUploads, registry.count("PUT", "")]).toEqual([0, 0]);
    registry.addBlob(bytes);
    expect(await clientOf(registry).mountBlob(ctx, digestOf(bytes))).toBe("exists");
  });
});

describe("answers in the middle", () => {
  test.each([400, 403, 451])("%d is what the error says", async (status) => {
    const registry = fake();
    registry.fault = ({ method }) =>
      method === "PUT" || method === "PATCH" ? problem(status, "DENIED", "no more of this") : undefined;
    const error = await failure(push(registry, bytes));
    expect(error.message).toContain(`registry answered ${status}: denied: no more of this`);
    expect([registry.openUploads, registry.blobs.size]).toEqual([0, 0]);
  });

  test("401 for a token that has run out is answered with a new one, and the body sent again", async () => {
    const registry = fake();
    let token = 0;
    let expired = false;
    registry.fault = ({ method, path, headers }) => {
      if (path === "/token") return Response.json({ token: `t${++token}`, expires_in: 300 });
      if (method === "PUT" && !expired) {
        expired = true;
        token++;
      }
      if (headers.get("authorization") === `Bearer t${token}` && token > 0) return undefined;
      const challenge = `Bearer realm="http://${registry.host}/token",service="s"`;
      return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": challenge });
    };
    expect(await push(registry, bytes)).toBe("uploaded");
    expectThere(registry, bytes);
    expect(expired).toBe(true);
  });

  test("a redirect of the upload is followed, to another host without our credentials", async () => {
    const registry = fake();
    const storage = fake();
    registry.fault = ({ method, path, query, headers }) => {
      if (headers.get("authorization") === null)
        return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": 'Basic realm="r"' });
      if (method !== "PUT") return undefined;
      const Location = `http://${storage.host}${path}${query}`;
      return new Response(null, { status: 307, headers: { Location } });
    };
    storage.fault = ({ headers }, server) => {
      expect(headers.get("authorization")).toBeNull();
      server.addBlob(bytes);
      return new Response(null, { status: 201 });
    };
    const client = openRegistry(parseReference(`${registry.host}/x`), {
      registriesConf: "/dev/null",
      credentials: { username: "u", password: "p" },
      retry: quick,
    });
    expect(await client.pushBlob(ctx, described(bytes), () => stream(bytes))).toBe("uploaded");
    expect(storage.count("PUT", "uploads")).toBe(1);
  });

  test("another digest than the one that was sent", async () => {
    const registry = fake();
    const headers = { "Docker-Content-Digest": digestOf("other") };
    registry.fault = ({ method }) =>
      method === "PUT" ? new Response(null, { status: 201, headers }) : undefined;
    expect(await failure(push(registry, bytes))).toMatchObject({ kind: "data-loss", reason: "push-digest" });
    const manifest = clientOf(registry).pushManifest(ctx, "v1", "x/y", new Uint8Array(3));
    expect(await failure(manifest)).toMatchObject({ kind: "data-loss" });
  });

  test("a registry without a Location", async () => {
    const registry = fake();
    registry.fault = ({ method }) => (method === "POST" ? new Response(null, { status: 202 }) : undefined);
    expect(await failure(push(registry, bytes))).toMatchObject({ reason: "push-location" });
  });

  test("a registry that takes its time to store what it has taken", async () => {
    const of = large(8 * MiB);
    let taken = 0;
    using registry = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        if (request.method === "HEAD") return new Response(null, { status: 404 });
        if (request.method === "POST")
          return new Response(null, { status: 202, headers: { Location: "/upload" } });
        if (request.method !== "PUT") return new Response("{}");
        taken = (await request.arrayBuffer()).byteLength;
        await Bun.sleep(400);
        return new Response(null, { status: 201 });
      },
    });
    const client = openRegistry(parseReference(`127.0.0.1:${registry.port}/x`), {
      registriesConf: "/dev/null",
      retry: { ...quick, retries: 0, stallMs: 100 },
    });
    expect(await client.pushBlob(ctx, described(of), () => stream(of))).toBe("uploaded");
    expect(taken).toBe(8 * MiB);
  });
});

/** Forwards to a port; connections that have sent `cut` bytes are reset, as many as there are numbers. */
async function cuttingProxy(port: number, cuts: number[]) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const up = connect(port, "127.0.0.1");
    let sent = 0;
    for (const socket of [client, up]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        client.destroy();
        up.destroy();
        sockets.delete(socket);
      });
    }
    client.on("data", (data) => {
      sent += data.length;
      up.write(data);
      if (cuts[0] === undefined || sent < cuts[0]) return;
      cuts.shift();
      client.resetAndDestroy();
      up.end();
    });
    up.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push({
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  });
  return { host: `127.0.0.1:${(server.address() as { port: number }).port}` };
}

if (!haveDockerRegistry) console.warn("skip: docker-registry is not installed");

describe.skipIf(!haveDockerRegistry)("docker-registry", () => {
  test("goes on with an upload whose connection was cut, and mounts across repositories", async () => {
    await using registry = await startDockerRegistry();
    const of = new Uint8Array(
      await Bun.file(process.execPath)
        .slice(0, 30 * MiB)
        .arrayBuffer(),
    );
    const cuts = [6 * MiB, 5 * MiB, 4 * MiB];
    const proxy = await cuttingProxy(Number(registry.host.split(":")[1]), cuts);
    let opened = 0;
    const count = (): AsyncIterable<Uint8Array> => {
      opened++;
      return stream(of);
    };
    expect(await clientOf(proxy).pushBlob(ctx, described(of), count)).toBe("uploaded");
    expect([cuts.length, opened]).toEqual([0, 4]);
    const parts: Uint8Array[] = [];
    for await (const part of clientOf(registry).blob(ctx, described(of))) parts.push(part);
    expect(digestOf(Buffer.concat(parts))).toBe(digestOf(of));
    const other = clientOf(registry, "y/z");
    expect(await other.mountBlob(ctx, digestOf(of), ["nosuch", "x"])).toBe("mounted");
    expect(await other.hasBlob(ctx, digestOf(of))).toBe(true);
  });
});
