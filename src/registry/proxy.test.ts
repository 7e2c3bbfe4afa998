// Proxies of the environment: whom they are for, by table; and a real one that sees all the traffic of a pull.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { makeCertificate } from "../../test/fake/docker-registry.ts";
import { failure } from "../../test/fake/failure.ts";
import { ForwardProxy } from "../../test/fake/proxy.ts";
import { digestOf, FakeRegistry, problem } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { createLog } from "../core/log.ts";
import { parseReference } from "../image/reference.ts";
import { openRegistry } from "./client.ts";
import { proxyFor } from "./proxy.ts";

describe("NO_PROXY", () => {
  const asks = (url: string, exceptions: string): boolean =>
    proxyFor(new URL(url), { HTTPS_PROXY: "p:1", HTTP_PROXY: "p:1", NO_PROXY: exceptions }) !== undefined;
  test.each([
    ["https://a.example.com", "", true],
    ["https://a.example.com", "*", false],
    ["https://a.example.com", "example.com", false],
    ["https://example.com", "example.com", false],
    ["https://example.com.", "example.com", false],
    ["https://badexample.com", "example.com", true],
    ["https://example.com", ".example.com", true],
    ["https://a.example.com", ".example.com", false],
    ["https://a.example.com", "*.example.com", false],
    ["https://example.com", "*.example.com", true],
    ["https://A.Example.COM", "eXample.com", false],
    ["https://example.com:5000", "example.com:5000", false],
    ["https://example.com:5001", "example.com:5000", true],
    ["https://example.com", "example.com:443", false],
    ["http://example.com", "example.com:443", true],
    ["http://example.com", "example.com:80", false],
    ["https://10.1.2.3", "10.0.0.0/8", false],
    ["https://11.1.2.3", "10.0.0.0/8", true],
    ["https://10.1.2.3:5000", "10.1.2.0/23", false],
    ["https://10.1.4.3", "10.1.2.0/23", true],
    ["https://10.1.2.3", "10.1.2.3", false],
    ["https://10.1.2.30", "10.1.2.3", true],
    ["https://10.1.2.3:99", "10.1.2.3:98", true],
    ["https://[2001:db8::1]", "2001:db8::/32", false],
    ["https://[2001:db9::1]", "2001:db8::/32", true],
    ["https://[2001:db8:0:0::1]:5000", "[2001:db8::1]:5000", false],
    ["https://[2001:db8::1]", "2001:db8::1", false],
    ["https://[2001:db8::1]", "10.0.0.0/0", true],
    ["https://a.example.com", "x.test, ,example.com", false],
    ["https://10.1.2.3", "10.0.0.0/99", true],
    ["https://example.com", "10.0.0.0/8,::/0", true],
    // This machine, whatever is said.
    ["https://127.0.0.1:5000", "", false],
    ["http://localhost", "", false],
    ["https://[::1]:5000", "", false],
  ])("%s with %p: %p", (url, exceptions, expected) => {
    expect(asks(url, exceptions)).toBe(expected);
  });
});

describe("the proxy's address", () => {
  const of = (url: string, env: Record<string, string>) => proxyFor(new URL(url), env)?.href;
  test("by scheme, capitals first, http where it says nothing", () => {
    expect(of("https://a.test", { HTTPS_PROXY: "one:1", https_proxy: "two:2" })).toBe("http://one:1/");
    expect(of("https://a.test", { https_proxy: "https://u:p@two:2" })).toBe("https://u:p@two:2/");
    expect(of("http://a.test", { HTTPS_PROXY: "one:1" })).toBeUndefined();
    expect(of("http://a.test", { http_proxy: "http://one" })).toBe("http://one/");
    expect(of("https://a.test", { HTTPS_PROXY: "  " })).toBeUndefined();
    // A web server's word for a header of the request.
    expect(of("http://a.test", { HTTP_PROXY: "one:1", REQUEST_METHOD: "GET" })).toBeUndefined();
  });

  test.each(["socks5://user:s3cret@h:1", "http://user:s3cret@", "http://user:s3cret@h:99999"])(
    "%s is refused without its password",
    (proxy) => {
      expect(() => of("https://a.test", { HTTPS_PROXY: proxy })).toThrow(
        /^the environment variable HTTPS_PROXY /,
      );
      expect(() => of("https://a.test", { HTTPS_PROXY: proxy })).not.toThrow(/s3cret/);
    },
  );
});

describe("a real proxy", () => {
  const temporary = tempDir("proxy");
  const saved = { ...process.env };
  const pem = (name: string): string => readFileSync(`${temporary.path}/${name}`, "utf8");
  const body = "x".repeat(100_000);
  let proxy: ForwardProxy;
  let registry: FakeRegistry;
  let tokens: FakeRegistry;
  let blobs: FakeRegistry;
  let lines = "";
  const ctx = createCtx({
    log: createLog({ level: "debug", trace: true, write: (line) => void (lines += line) }),
  });

  beforeAll(async () => {
    const names = ["registry.test", "auth.test", "blobs.test"];
    await makeCertificate(temporary.path, names);
    mkdirSync(`${temporary.path}/none`);
    writeFileSync(`${temporary.path}/empty.conf`, "");
    const tls = { key: pem("server.key"), cert: pem("server.crt") };
    [registry, tokens, blobs] = [new FakeRegistry(tls), new FakeRegistry(tls), new FakeRegistry(tls)];
    proxy = await ForwardProxy.start("us:prox%y");
    proxy.routes.set("registry.test:443", registry.host);
    proxy.routes.set("auth.test:443", tokens.host);
    proxy.routes.set("blobs.test:443", blobs.host);
    registry.addManifest("v1", { a: 1 });
    const { digest } = blobs.addBlob(body);
    registry.fault = ({ path, headers }) => {
      if (headers.get("authorization") !== "Bearer t0ken")
        return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": 'Bearer realm="https://auth.test/t"' });
      return path.includes("/blobs/")
        ? new Response(null, {
            status: 307,
            headers: { Location: `https://blobs.test/v2/x/blobs/${digest}` },
          })
        : undefined;
    };
    tokens.fault = () => Response.json({ token: "t0ken", expires_in: 60 });
    delete process.env["NO_PROXY"];
    delete process.env["no_proxy"];
  });
  afterAll(async () => {
    process.env = saved;
    for (const one of [registry, tokens, blobs]) one[Symbol.dispose]();
    await proxy[Symbol.asyncDispose]();
    temporary[Symbol.dispose]();
  });

  const open = () =>
    openRegistry(parseReference("registry.test/x"), {
      registriesConf: `${temporary.path}/empty.conf`,
      certDir: `${temporary.path}/ca`,
      credentials: { username: "me", password: "s3cret" },
      retry: { retries: 0, baseMs: 1, stallMs: 5000 },
    });

  test("registry, token service and blob host are all asked through it, and it learns nothing", async () => {
    process.env["HTTPS_PROXY"] = `http://us:prox%25y@${proxy.host}`;
    const client = open();
    await client.manifest(ctx, "v1");
    let got = "";
    const descriptor = { mediaType: "a/b", digest: digestOf(body) as never, size: body.length };
    for await (const chunk of client.blob(ctx, descriptor)) got += Buffer.from(chunk).toString();
    expect(got).toBe(body);
    expect([...new Set(proxy.seen)].toSorted()).toEqual([
      "CONNECT auth.test:443",
      "CONNECT blobs.test:443",
      "CONNECT registry.test:443",
    ]);
    expect(proxy.heard).not.toContain("t0ken");
    expect(proxy.heard).not.toContain(btoa("me:s3cret"));
    // The proxy's own password is for the proxy alone.
    for (const one of [registry, tokens, blobs]) {
      expect(one.seen.length).toBeGreaterThan(0);
      for (const { headers } of one.seen) expect(headers.get("proxy-authorization")).toBeNull();
    }
    for (const { headers } of blobs.seen) expect(headers.get("authorization")).toBeNull();
    for (const { headers } of tokens.seen)
      expect(headers.get("authorization")).toBe(`Basic ${btoa("me:s3cret")}`);
    expect(lines).not.toMatch(/s3cret|t0ken|prox%|bWU6/);
  });

  test("a wrong password is told, without it", async () => {
    process.env["HTTPS_PROXY"] = `http://us:wr0ng@${proxy.host}`;
    const error = await failure(open().manifest(ctx, "v1"));
    expect(error).toMatchObject({ kind: "unavailable", reason: "proxy" });
    expect(error.message).toBe(
      `cannot reach "registry.test" through the proxy "${proxy.host}": it wants other credentials`,
    );
  });

  test("one that is not there is named", async () => {
    process.env["HTTPS_PROXY"] = "http://us:wr0ng@127.0.0.1:1";
    const error = await failure(open().manifest(ctx, "v1"));
    expect(error.message).toBe(
      'cannot reach "registry.test" through the proxy "127.0.0.1:1": connection refused',
    );
    expect(Bun.inspect(error)).not.toContain("wr0ng");
  });

  test("one that cannot reach the host, and one that is not asked", async () => {
    process.env["HTTPS_PROXY"] = `http://us:prox%25y@${proxy.host}`;
    const other = openRegistry(parseReference("elsewhere.test/x"), {
      registriesConf: `${temporary.path}/empty.conf`,
      retry: { retries: 0, baseMs: 1, stallMs: 5000 },
    });
    expect((await failure(other.manifest(ctx, "v1"))).message).toContain("it answered 502");
    process.env["NO_PROXY"] = "elsewhere.test";
    expect((await failure(other.manifest(ctx, "v1"))).message).toBe(
      'cannot reach "elsewhere.test": the host name cannot be resolved',
    );
  });
});
