// Bearer tokens, challenges, and where credentials come from.
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { failure } from "../../test/fake/failure.ts";
import { FakeRegistry, problem, type Seen } from "../../test/fake/registry.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { parseReference } from "../image/reference.ts";
import { parseChallenges } from "./challenge.ts";
import { openRegistry } from "./client.ts";
import { findLogin } from "./credentials.ts";
import type { RegistryOptions } from "./registry.ts";

const ctx = createCtx();
const temporary = tempDir("auth");
afterAll(() => temporary[Symbol.dispose]());

function textFile(name: string, text: string): string {
  const path = join(temporary.path, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

describe("challenges", () => {
  test.each([
    [
      'Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a:pull,push"',
      [{ scheme: "bearer", realm: "https://a/t?x=1,2", service: "s", scope: "repository:a:pull,push" }],
    ],
    [
      'Basic realm="x", Bearer realm="https://a"',
      [
        { scheme: "bearer", realm: "https://a" },
        { scheme: "basic", realm: "x" },
      ],
    ],
    ["Basic", [{ scheme: "basic", realm: "" }]],
    [
      'bEaReR Realm="a\\"b" , error = insufficient_scope',
      [{ scheme: "bearer", realm: 'a"b', error: "insufficient_scope" }],
    ],
    ['Negotiate, Digest realm="x", Basic realm=y', [{ scheme: "basic", realm: "y" }]],
    ["", []],
    ['realm="x"', []],
  ])("%s", (header, expected) => {
    expect(parseChallenges(header)).toEqual(expected as ReturnType<typeof parseChallenges>);
  });
});

describe("bearer tokens", () => {
  let registry: FakeRegistry;
  let service: FakeRegistry;
  let tokens: { seen: Seen; answer: Response }[];
  let valid: string;
  let challenge: string;
  beforeEach(() => {
    registry = new FakeRegistry();
    service = new FakeRegistry();
    tokens = [];
    valid = "secret-token";
    challenge = `Bearer realm="http://${service.host}/token",service="reg",scope="repository:x:pull"`;
    registry.addManifest("v1", { a: 1 });
    registry.fault = ({ path, headers }) => {
      if (path === "/v2/" || headers.get("authorization") === `Bearer ${valid}`) return undefined;
      return problem(401, "UNAUTHORIZED", "", { "WWW-Authenticate": challenge });
    };
    service.fault = (seen) => {
      if (seen.path === "/v2/") return undefined;
      const answer = Response.json({ token: valid, expires_in: 300 });
      tokens.push({ seen, answer });
      return answer;
    };
  });
  afterEach(() => {
    registry[Symbol.dispose]();
    service[Symbol.dispose]();
  });
  const open = (options: RegistryOptions = {}) =>
    openRegistry(parseReference(`${registry.host}/x`), {
      registriesConf: textFile("empty.conf", ""),
      authFile: join(temporary.path, "none.json"),
      retry: { retries: 1, baseMs: 5, stallMs: 1000 },
      ...options,
    });

  test("anonymous, once for many requests, with the scope that is needed", async () => {
    const client = open();
    await Promise.all([1, 2, 3, 4].map(() => client.manifest(ctx, "v1")));
    await client.manifest(ctx, "v1");
    expect(tokens.length).toBe(1);
    expect(tokens[0]?.seen.query).toBe("?service=reg&scope=repository%3Ax%3Apull");
    expect(tokens[0]?.seen.headers.get("authorization")).toBeNull();
  });

  test("with a password the token service gets it and the registry does not", async () => {
    await open({ credentials: { username: "me", password: "pw" } }).manifest(ctx, "v1");
    expect(tokens[0]?.seen.headers.get("authorization")).toBe(`Basic ${btoa("me:pw")}`);
    expect(tokens[0]?.seen.query).toContain("account=me");
    const sent = registry.seen.map((s) => s.headers.get("authorization"));
    expect(sent.every((header) => header === null || header.startsWith("Bearer "))).toBe(true);
  });

  test("with an identity token it is exchanged by POST", async () => {
    const auths = { [registry.host]: { identitytoken: "refresh" } };
    await open({ authFile: textFile("identity.json", JSON.stringify({ auths })) }).manifest(ctx, "v1");
    expect(tokens[0]?.seen.method).toBe("POST");
    expect(tokens[0]?.seen.query).toBe("");
  });

  test("a token that has been withdrawn is replaced once", async () => {
    const client = open();
    await client.manifest(ctx, "v1");
    valid = "another-token";
    challenge += ',error="invalid_token"';
    await client.manifest(ctx, "v1");
    expect(tokens.length).toBe(2);
  });

  test("a scope the registry names in addition is asked for", async () => {
    challenge = challenge.replace("repository:x:pull", "repository:y:pull");
    await open().manifest(ctx, "v1");
    expect(tokens.at(-1)?.seen.query).toContain("repository%3Ay%3Apull");
  });

  test("access_token, no lifetime", async () => {
    service.fault = ({ path }) => (path === "/token" ? Response.json({ access_token: valid }) : undefined);
    await open().manifest(ctx, "v1");
  });

  test.each([
    ["refused", () => problem(401, "UNAUTHORIZED"), "unauthenticated", "login-required"],
    ["too many", () => problem(429, "TOOMANYREQUESTS"), "resource-exhausted", "token-service"],
    ["no token", () => Response.json({}), "unauthenticated", "token-answer"],
    ["not JSON", () => new Response("<html>"), "unauthenticated", "token-answer"],
    ["header injection", () => Response.json({ token: "a\r\nX: y" }), "unauthenticated", "token-answer"],
  ])("token service: %s", async (_name, answer, kind, reason) => {
    service.fault = ({ path }) => (path === "/token" ? answer() : undefined);
    expect(await failure(open().manifest(ctx, "v1"))).toMatchObject({ kind, reason });
  });

  test.each([
    ["no realm", "Bearer service=x", "token-realm"],
    ["a file as realm", 'Bearer realm="file:///etc/passwd"', "token-realm"],
    ["plain HTTP to elsewhere", 'Bearer realm="http://token.invalid/"', "plain-http"],
  ])("%s is not asked", async (_name, header, reason) => {
    challenge = header;
    expect(await failure(open().manifest(ctx, "v1"))).toMatchObject({ reason });
  });

  test("a registry that is never satisfied", async () => {
    valid = "never";
    service.fault = ({ path }) => (path === "/token" ? Response.json({ token: "other" }) : undefined);
    expect(await failure(open().manifest(ctx, "v1"))).toMatchObject({ kind: "unauthenticated" });
    expect(registry.count("GET", "/manifests/")).toBeLessThanOrEqual(3);
  });
});

describe("credentials", () => {
  const encode = (text: string) => Buffer.from(text).toString("base64");
  const look = (repository: string, file: object) =>
    findLogin(ctx, repository, { authFile: textFile("auth.json", JSON.stringify(file)) });

  test("the longest key wins", () => {
    const auths = {
      "quay.io": { auth: encode("host:1") },
      "quay.io/team": { auth: encode("team:2") },
      "quay.io/team/app": { auth: encode("app:3") },
    };
    expect(look("quay.io/team/app", { auths })).toEqual({ username: "app", password: "3" });
    expect(look("quay.io/team/other", { auths })).toEqual({ username: "team", password: "2" });
    expect(look("quay.io/teams", { auths })).toEqual({ username: "host", password: "1" });
    expect(look("other.io/team", { auths })).toBeUndefined();
  });

  test.each(["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io"])(
    "%s is Docker's own registry",
    (key) => {
      expect(look("docker.io/library/x", { auths: { [key]: { auth: encode("a:b:c") } } })).toEqual({
        username: "a",
        password: "b:c",
      });
    },
  );

  test("forms of an entry", () => {
    const one = (entry: object) => look("h:5000/x", { auths: { "h:5000": entry } });
    expect(one({ username: "u", password: "p" })).toEqual({ username: "u", password: "p" });
    expect(one({ auth: encode("u:p\0\0") })).toEqual({ username: "u", password: "p" });
    expect(one({ auth: encode("<token>:t") })).toEqual({ identityToken: "t" });
    expect(one({ auth: encode("u:p"), identitytoken: "t" })).toEqual({ identityToken: "t", username: "u" });
    expect(one({})).toBeUndefined();
    expect(look("h/x", { auths: null, credHelpers: [] })).toBeUndefined();
  });

  test("a malformed file or entry is named and its content is not shown", () => {
    const path = textFile("broken.json", '{"auths": s3cret');
    expect(() => findLogin(ctx, "h/x", { authFile: path })).toThrow(
      `cannot read the credentials file "${path}": it is not a valid JSON object`,
    );
    expect(() => look("h/x", { auths: { h: { auth: encode("s3cret") } } })).toThrow(
      /^credentials for "h" in .* are malformed$/,
    );
  });

  test("a helper is asked for its hosts", () => {
    const answer = 'read host; printf \'{"ServerURL":"%s","Username":"for","Secret":"%s"}\' "$host" "$host"';
    const bin = dirname(
      textFile("bin/docker-credential-test", `#!/bin/sh\n[ "$1" = get ] || exit 9\n${answer}\n`),
    );
    textFile(
      "bin/docker-credential-none",
      "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n",
    );
    textFile("bin/docker-credential-bad", "#!/bin/sh\necho s3cret; exit 3\n");
    for (const name of ["test", "none", "bad"]) chmodSync(join(bin, `docker-credential-${name}`), 0o755);
    const before = process.env["PATH"];
    process.env["PATH"] = `${bin}:${before}`;
    try {
      const file = {
        credHelpers: { "h:1": "test", "none.io": "none", "bad.io": "bad", "x.io": "../x", "gone.io": "gone" },
      };
      expect(look("h:1/a", file)).toEqual({ username: "for", password: "h:1" });
      expect(look("none.io/a", file)).toBeUndefined();
      expect(look("docker.io/library/a", { credsStore: "test" })).toEqual({
        username: "for",
        password: "https://index.docker.io/v1/",
      });
      expect(() => look("bad.io/a", file)).toThrow(
        /^credential helper "docker-credential-bad" failed for "bad.io" \(status 3\)$/,
      );
      expect(() => look("x.io/a", file)).toThrow(/is not the name of a credential helper/);
      expect(() => look("gone.io/a", file)).toThrow(/cannot be run/);
    } finally {
      process.env["PATH"] = before;
    }
  });
});
