// Credentials go to the registry and the token service it names, and to nobody else, whatever anybody answers.
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { makeCertificate, makeClientCertificate } from "../../test/fake/docker-registry.ts";
import { failure } from "../../test/fake/failure.ts";
import { digestOf, FakeRegistry, problem } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import type { RegistryOptions } from "./registry.ts";

const temporary = tempDir("leaks");
afterAll(() => temporary[Symbol.dispose]());
writeFileSync(`${temporary.path}/empty.conf`, "");

const SECRETS = /s3cret|t0ken|r3fresh|bWU6czNjcmV0/;
let lines = "";
const ctx = createCtx({
  log: createLog({ level: "debug", trace: true, write: (line) => void (lines += line) }),
});
let registry: FakeRegistry;
let tokens: FakeRegistry;
let evil: FakeRegistry;

beforeEach(() => {
  [registry, tokens, evil] = [new FakeRegistry(), new FakeRegistry(), new FakeRegistry()];
  lines = "";
  tokens.fault = ({ path }) =>
    path === "/v2/" ? undefined : Response.json({ token: "t0ken", refresh_token: "r3fresh" });
  registry.fault = ({ path, headers }) =>
    path === "/v2/" || headers.get("authorization") === "Bearer t0ken" ? undefined : challenge(tokens.host);
  registry.addManifest("v1", { a: 1 });
});
afterEach(() => {
  for (const one of [registry, tokens, evil]) one[Symbol.dispose]();
  expect(lines).not.toMatch(SECRETS);
});

function challenge(host: string): Response {
  return problem(401, "UNAUTHORIZED", "", {
    "WWW-Authenticate": `Bearer realm="http://${host}/token",service="s", Basic realm="x"`,
  });
}

const open = (options: RegistryOptions = {}) =>
  openRegistry(parseReference(`${registry.host}/x`), {
    registriesConf: `${temporary.path}/empty.conf`,
    credentials: { username: "me", password: "s3cret" },
    retry: { retries: 0, baseMs: 1, stallMs: 2000 },
    ...options,
  });

async function readAll(source: AsyncIterable<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const chunk of source) length += chunk.length;
  return length;
}

/** Nobody but the registry and its token service has been told anything. */
function nothingLeaked(): void {
  for (const { headers, query } of evil.seen) {
    expect(headers.get("authorization")).toBeNull();
    expect(query).not.toMatch(SECRETS);
  }
}

const layer = { mediaType: "a/b", digest: digestOf("data") as never, size: 4 };

test("a redirect's target that asks who we are is not answered (CVE-2020-15157)", async () => {
  const { fault } = registry;
  registry.fault = (seen, server) =>
    seen.path.includes("/blobs/") && seen.headers.get("authorization") === "Bearer t0ken"
      ? new Response(null, { status: 307, headers: { Location: `http://${evil.host}/blob` } })
      : fault(seen, server);
  evil.fault = ({ path }) => (path === "/token" ? Response.json({ token: "x" }) : challenge(evil.host));
  const error = await failure(readAll(open().blob(ctx, layer)));
  expect(error.kind).toBe("unauthenticated");
  expect(evil.seen.map((s) => s.path)).toEqual(["/blob"]);
  nothingLeaked();
});

test("an address in a manifest that asks who we are is not answered", async () => {
  evil.fault = () => challenge(evil.host);
  const foreign = {
    ...layer,
    mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    urls: [`http://${evil.host}/layer`],
  };
  await failure(readAll(open().blob(ctx, foreign)));
  expect(evil.seen.map((s) => s.path)).toEqual(["/layer"]);
  nothingLeaked();
});

test("a token service that sends us elsewhere takes no password along", async () => {
  tokens.fault = () =>
    new Response(null, { status: 302, headers: { Location: `http://${evil.host}/token` } });
  evil.fault = () => Response.json({ token: "t0ken" });
  await open().manifest(ctx, "v1");
  expect(tokens.seen[0]?.headers.get("authorization")).toBe(`Basic ${btoa("me:s3cret")}`);
  expect(evil.seen.length).toBe(1);
  nothingLeaked();
});

test("a token service that sends us round and round is left", async () => {
  tokens.fault = () => new Response(null, { status: 302, headers: { Location: "/token" } });
  expect(await failure(open().manifest(ctx, "v1"))).toMatchObject({ reason: "token-service" });
  expect(tokens.seen.length).toBeLessThanOrEqual(6);
});

test("an identity token goes nowhere by a redirect", async () => {
  const auths = { [registry.host]: { identitytoken: "r3fresh" } };
  writeFileSync(`${temporary.path}/identity.json`, JSON.stringify({ auths }));
  tokens.fault = () =>
    new Response(null, { status: 307, headers: { Location: `http://${evil.host}/token` } });
  const client = openRegistry(parseReference(`${registry.host}/x`), {
    registriesConf: `${temporary.path}/empty.conf`,
    authFile: `${temporary.path}/identity.json`,
    retry: { retries: 0, baseMs: 1, stallMs: 2000 },
  });
  await failure(client.manifest(ctx, "v1"));
  expect(evil.seen).toEqual([]);
});

test("a name and password in a realm are not sent in place of ours", async () => {
  registry.fault = ({ headers }) =>
    headers.get("authorization") === "Bearer t0ken"
      ? undefined
      : problem(401, "UNAUTHORIZED", "", {
          "WWW-Authenticate": `Bearer realm="http://a:b@${tokens.host}/t"`,
        });
  await open().manifest(ctx, "v1");
  expect(tokens.seen.at(-1)?.headers.get("authorization")).toBe(`Basic ${btoa("me:s3cret")}`);
});

test("mirrors are not told what is for the registry", async () => {
  writeFileSync(
    `${temporary.path}/mirror.conf`,
    `[[registry]]\nlocation = "${registry.host}"\n[[registry.mirror]]\nlocation = "${evil.host}"\n`,
  );
  evil.fault = ({ path }) => (path === "/v2/" ? undefined : challenge(evil.host));
  await open({ registriesConf: `${temporary.path}/mirror.conf`, authFile: "/nonexistent" }).manifest(
    ctx,
    "v1",
  );
  expect(evil.seen.length).toBeGreaterThan(0);
  nothingLeaked();
});

describe("errors and logs", () => {
  test.each([
    ["refused by the token service", () => problem(401, "UNAUTHORIZED", "s0 no")],
    ["an answer that is no token", () => new Response("t0ken in plain text")],
    ["a token that is none", () => Response.json({ token: "t0ken\nwith a line" })],
  ])("%s", async (_, answer) => {
    tokens.fault = answer;
    const error = await failure(open().manifest(ctx, "v1"));
    expect(error.kind).toBe("unauthenticated");
    expect(Bun.inspect(error)).not.toMatch(SECRETS);
  });

  test("refused for ever: an error and an end", async () => {
    registry.fault = () => challenge(tokens.host);
    const client = open();
    for (let round = 0; round < 3; round++) {
      const error = await failure(client.manifest(ctx, "v1"));
      expect(error.kind).toBe("unauthenticated");
      expect(Bun.inspect(error)).not.toMatch(SECRETS);
    }
    expect(registry.seen.length).toBeLessThan(12);
    expect(tokens.seen.length).toBeLessThan(6);
  });

  test("a signed address that a redirect named", async () => {
    const { fault } = registry;
    registry.fault = (seen, server) =>
      seen.path.includes("/blobs/") && seen.headers.get("authorization") === "Bearer t0ken"
        ? new Response(null, { status: 307, headers: { Location: `http://${evil.host}/b?Signature=s3cret` } })
        : fault(seen, server);
    evil.fault = () => problem(403, "DENIED");
    const error = await failure(readAll(open().blob(ctx, layer)));
    expect(Bun.inspect(error)).not.toMatch(SECRETS);
  });
});

test("a token that has been good is replaced once, though nobody says why it is not any more", async () => {
  let good = "first";
  let given = 0;
  registry.fault = ({ path, headers }) =>
    path === "/v2/" || headers.get("authorization") === `Bearer ${good}` ? undefined : challenge(tokens.host);
  tokens.fault = () => {
    given++;
    return Response.json({ token: good, expires_in: 3600 });
  };
  const client = open();
  await client.manifest(ctx, "v1");
  await client.manifest(ctx, "v1");
  good = "second";
  await Promise.all([client.manifest(ctx, "v1"), client.manifest(ctx, "v1"), client.manifest(ctx, "v1")]);
  expect(given).toBe(2);
});

test("tokens are fetched again when they have expired", async () => {
  let given = 0;
  tokens.fault = () => {
    given++;
    return Response.json({ token: "t0ken", expires_in: 0.02 });
  };
  const client = open();
  await client.manifest(ctx, "v1");
  await Bun.sleep(40);
  await client.manifest(ctx, "v1");
  expect(given).toBe(2);
});

describe("client certificates", () => {
  const directory = tempDir("mtls");
  const pem = (name: string): string => readFileSync(`${directory.path}/${name}`, "utf8");
  afterAll(() => directory[Symbol.dispose]());

  test("are shown to the registry, and not to whom it sends us", async () => {
    await makeCertificate(directory.path, ["localhost"]);
    mkdirSync(`${directory.path}/both`);
    writeFileSync(`${directory.path}/both/ca.crt`, pem("ca/ca.crt"));
    await makeClientCertificate(directory.path, `${directory.path}/both`);
    const shown: string[] = [];
    let elsewhere = "";
    const server = (name: string) =>
      Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        development: false,
        tls: {
          key: pem("server.key"),
          cert: pem("server.crt"),
          ca: pem("ca/ca.crt"),
          requestCert: true,
          rejectUnauthorized: true,
        },
        fetch: (request) => {
          shown.push(name);
          return new URL(request.url).pathname.includes("/blobs/")
            ? new Response(null, { status: 307, headers: { Location: elsewhere } })
            : new Response("data");
        },
      });
    // The second one wants a certificate: it cannot be reached, because none is shown to it.
    const other = server("other");
    const home = server("home");
    elsewhere = `https://localhost:${other.port}/b`;
    const client = (certDir: string) =>
      openRegistry(parseReference(`127.0.0.1:${home.port}/x`), {
        registriesConf: `${temporary.path}/empty.conf`,
        certDir,
        tlsVerify: true,
        retry: { retries: 0, baseMs: 1, stallMs: 2000 },
      });
    try {
      expect((await client(`${directory.path}/both`).manifest(ctx, "v1")).bytes.length).toBe(4);
      await failure(client(`${directory.path}/ca`).manifest(ctx, "v1"));
      await failure(readAll(client(`${directory.path}/both`).blob(ctx, layer)));
      expect(shown).toEqual(["home", "home"]);
    } finally {
      await Promise.all([home.stop(true), other.stop(true)]);
    }
  });
});
