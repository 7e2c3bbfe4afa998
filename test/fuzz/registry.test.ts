/**
 * Fuzzing what registries, people and other programs write: challenges, references, registries.conf, files of credentials.
 * Whatever comes, there is an answer or an EngineError, soon. BERTH_FUZZ_RUNS raises the number of runs.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { EngineError } from "../../src/core/error.ts";
import { formatReference, isFullyQualified, parseReference } from "../../src/image/reference.ts";
import { type AuthFile, entryOf, loginIn, parseAuthFile } from "../../src/registry/auth-file.ts";
import { parseChallenges } from "../../src/registry/challenge.ts";
import { proxyFor } from "../../src/registry/proxy.ts";
import { findRegistry, loadRegistriesConf } from "../../src/registry/registries-conf.ts";
import { qualifiedNames } from "../../src/registry/short-names.ts";
import { sourceOfHost, sourcesOf } from "../../src/registry/sources.ts";
import { tempDir } from "../fake/temp-dir.ts";

const RUNS = Number(process.env["BERTH_FUZZ_RUNS"] ?? 300);
const temporary = tempDir("fuzz-registry");
afterAll(() => temporary[Symbol.dispose]());

/** The value, or undefined for an error that people can read. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    expect(error.kind).not.toBe("internal");
    expect(error.message.length).toBeLessThan(4000);
    return undefined;
  }
}

/** Text of the pieces a grammar is made of, so that most of it nearly parses. */
function soup(pieces: string[], maxLength = 25): fc.Arbitrary<string> {
  return fc
    .array(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...pieces) }, fc.string({ maxLength: 4 })), {
      maxLength,
    })
    .map((parts) => parts.join(""));
}

describe("challenges", () => {
  const text = soup([
    "Bearer",
    "Basic",
    "Digest",
    " ",
    ",",
    "=",
    '"',
    "\\",
    "realm",
    "scope",
    "error",
    "https://a/t",
    "x",
    '="a,b"',
    "\t",
  ]);
  test("any text", () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.string({ unit: "binary" })), (header) => {
        for (const challenge of parseChallenges(header)) {
          expect(["basic", "bearer"]).toContain(challenge.scheme);
          expect(typeof challenge.realm).toBe("string");
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("what is written by the rules is read back, in whatever order and spacing", () => {
    const value = fc.string({
      unit: fc.constantFrom("a", "/", ":", ",", " ", "=", '"', "\\", "é"),
      maxLength: 12,
    });
    const part = fc.record({
      scheme: fc.constantFrom("Bearer", "bEARER"),
      realm: value,
      scope: value,
      service: value,
    });
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.constantFrom(",", ", ", " ,\t"),
        (parts, comma) => {
          const quoted = (text: string): string => `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
          const header = parts
            .map(
              ({ scheme, ...rest }) =>
                `${scheme} ${Object.entries(rest)
                  .map(([k, v]) => `${k}=${quoted(v)}`)
                  .join(comma)}`,
            )
            .join(comma);
          expect(parseChallenges(header)).toEqual(
            parts.map((one) => ({ ...one, scheme: "bearer" as const })),
          );
        },
      ),
      { numRuns: RUNS },
    );
  });

  test("a long one takes no long time", () => {
    for (const piece of ['a="', "\\", '"\\"', "Bearer ", "a=", ",", "a", " "]) {
      const started = performance.now();
      parseChallenges(`Bearer realm="${piece.repeat(1_000_000)}`);
      expect(performance.now() - started).toBeLessThan(1000);
    }
  });
});

describe("references", () => {
  const text = soup([
    "a",
    "b-c",
    "x__y",
    ".",
    "/",
    ":",
    "@",
    "5000",
    "localhost",
    "docker.io",
    "[::1]",
    `sha256:${"a".repeat(64)}`,
    "A",
    "-",
    "_",
    "library",
  ]);
  test("any text: what parses reads back as itself", () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.string({ unit: "binary" })), (name) => {
        const reference = attempt(() => parseReference(name));
        if (reference === undefined) return;
        const full = formatReference(reference);
        expect(parseReference(full)).toEqual(reference);
        expect(isFullyQualified(full)).toBe(true);
        // It becomes part of URLs and paths.
        expect(full).not.toMatch(/[\s?#%\\]|\/\/|(^|\/)\.{1,2}(\/|$)/);
      }),
      { numRuns: RUNS * 4 },
    );
  });

  test("a long one takes no long time", () => {
    for (const piece of ["a/", "a-", "-", "a__", ":", "@", "a."]) {
      const started = performance.now();
      attempt(() => parseReference(`${piece.repeat(500_000)}!`));
      attempt(() => parseReference(`${piece.repeat(300)}!`));
      expect(performance.now() - started).toBeLessThan(500);
    }
  });
});

describe("registries.conf", () => {
  const file = `${temporary.path}/registries.conf`;
  const options = { registriesConf: file, shortNameAliases: `${temporary.path}/none` };
  const names = [
    "a",
    "team/app",
    "one.test/a",
    "one.test:5000/a/b",
    "x.two.test/a",
    "localhost/a",
    "docker.io/library/a",
  ];

  function use(text: string): void {
    writeFileSync(file, text);
    const conf = attempt(() => loadRegistriesConf(file));
    if (conf === undefined) return;
    for (const name of names) {
      findRegistry(conf, name);
      attempt(() => sourceOfHost(name.split("/", 1)[0] as string, options));
      for (const reference of attempt(() => qualifiedNames(name, options)) ?? []) {
        const sources = attempt(() => sourcesOf(reference, options)) ?? [];
        for (const source of sources)
          expect(`${source.registry}/${source.repository}`).not.toMatch(/^\/|\/$/);
        for (const mirror of sources.slice(0, -1)) expect(mirror.writable).toBe(false);
        expect(sources.at(-1)?.writable ?? true).toBe(true);
      }
    }
  }

  const line = fc.constantFrom(
    "[[registry]]",
    "[[registry.mirror]]",
    "[aliases]",
    "[registry]",
    "[registries.search]",
    "#",
    "]]",
    '"',
    "'''",
  );
  const key = fc.constantFrom(
    "prefix",
    "location",
    "insecure",
    "blocked",
    "mirror-by-digest-only",
    "pull-from-mirror",
    "short-name-mode",
    "unqualified-search-registries",
    "credential-helpers",
    "registry",
    "mirror",
    "aliases",
    "a",
    '"team/app"',
    '"x.y/z"',
  );
  const value = fc.oneof(
    fc.constantFrom(
      '"one.test"',
      '"one.test:5000/a"',
      '"*.two.test"',
      '"*"',
      '"https://x"',
      '""',
      '"/"',
      "true",
      "false",
      "7",
      "[]",
      "{}",
      '["one.test"]',
      '["one.test", "two.test:1"]',
      '"all"',
      '"digest-only"',
      '"enforcing"',
      '"docker.io"',
      '[{location="x.test"}]',
      "1979-05-27",
    ),
    fc.string({ maxLength: 8 }).map((text) => JSON.stringify(text)),
  );
  const conf = fc
    .array(
      fc.oneof(
        line,
        fc.tuple(key, value).map(([k, v]) => `${k} = ${v}`),
      ),
      { maxLength: 14 },
    )
    .map((lines) => lines.join("\n"));

  test("files that nearly are some", () => {
    fc.assert(fc.property(conf, use), { numRuns: RUNS });
  });

  test("any text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200 }), use), { numRuns: RUNS / 3 });
  });
});

describe("files of credentials", () => {
  const login = fc.oneof(
    fc.record({
      username: fc.string({ minLength: 1 }).filter((name) => !name.includes(":") && name !== "<token>"),
      password: fc.string().filter((password) => !password.includes("\0")),
    }),
    fc.record({ identityToken: fc.string({ minLength: 1 }) }),
  );
  const keys = ["h", "h/team", "docker.io", "__proto__", "constructor", "h:5000"];

  test("what is kept is read back", () => {
    fc.assert(
      fc.property(fc.constantFrom(...keys), login, (key, kept) => {
        const text = `{"auths":{${JSON.stringify(key)}:${JSON.stringify(entryOf(kept))}}}`;
        const found = loginIn(parseAuthFile("auth.json", text), [key]);
        expect(found).toMatchObject(kept);
      }),
      { numRuns: RUNS },
    );
  });

  test("any JSON, and any text, without showing it", () => {
    const secret = "s3cret";
    const entry = fc.oneof(
      fc.jsonValue(),
      fc.record({ auth: fc.oneof(fc.base64String(), fc.string(), fc.constant(btoa(secret))) }),
    );
    const shaped = fc
      .record({
        auths: fc.oneof(fc.jsonValue(), fc.dictionary(fc.constantFrom(...keys), entry)),
        credHelpers: fc.jsonValue(),
        credsStore: fc.jsonValue(),
      })
      .map((value) => JSON.stringify(value));
    const text = fc.oneof(
      shaped,
      fc.json(),
      fc.string().map((end) => `{"auths":{"h":{"auth":"${secret}${end}`),
    );
    fc.assert(
      fc.property(text, (content) => {
        let file: AuthFile | undefined;
        try {
          file = parseAuthFile("auth.json", content);
          for (const key of keys) loginIn(file, [key]);
        } catch (error) {
          if (!(error instanceof EngineError)) throw error;
          expect(Bun.inspect(error)).not.toContain(secret);
        }
      }),
      { numRuns: RUNS },
    );
  });
});

test("proxies: any environment and host", () => {
  const list = soup(
    [
      "*",
      ".",
      ",",
      "example.com",
      "10.0.0.0",
      "/8",
      "/",
      ":",
      "443",
      "[::1]",
      "2001:db8::",
      "1.2.3.4",
      "%eth0",
      "::ffff:1.2.3.4",
    ],
    10,
  );
  const host = fc.constantFrom(
    "example.com",
    "a.example.com:5000",
    "10.1.2.3",
    "[2001:db8::7]:5000",
    "[::ffff:10.1.2.3]",
    "127.0.0.1",
  );
  fc.assert(
    fc.property(
      host,
      list,
      fc.oneof(soup(["http://", "u:s3cret@", "h", ":", "1", "//", "@"], 6), fc.constant("p:1")),
      (name, exceptions, proxy) => {
        const url = new URL(`https://${name}/v2/`);
        try {
          const chosen = proxyFor(url, { HTTPS_PROXY: proxy, NO_PROXY: exceptions });
          if (chosen !== undefined) expect(chosen.protocol).toMatch(/^https?:$/);
        } catch (error) {
          if (!(error instanceof EngineError)) throw error;
          expect(Bun.inspect(error)).not.toContain("s3cret");
        }
      },
    ),
    { numRuns: RUNS },
  );
});
