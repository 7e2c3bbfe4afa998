import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  familiarName,
  familiarReference,
  formatReference,
  isFullyQualified,
  parseReference,
  repositoryName,
  withDefaultTag,
} from "./reference.ts";

const SHA = `sha256:${"ab".repeat(32)}`;

// input → full form, docker's short form
const VALID: [input: string, full: string, familiar: string][] = [
  ["alpine", "docker.io/library/alpine", "alpine"],
  ["alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"],
  ["docker.io/alpine", "docker.io/library/alpine", "alpine"],
  ["index.docker.io/library/alpine", "docker.io/library/alpine", "alpine"],
  ["library/alpine", "docker.io/library/alpine", "alpine"],
  ["grafana/loki:1", "docker.io/grafana/loki:1", "grafana/loki:1"],
  ["docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"],
  [`alpine@${SHA}`, `docker.io/library/alpine@${SHA}`, `alpine@${SHA}`],
  [`alpine:edge@${SHA}`, `docker.io/library/alpine:edge@${SHA}`, `alpine:edge@${SHA}`],
  ["localhost/x", "localhost/x", "localhost/x"],
  ["localhost:5000/x/y:t", "localhost:5000/x/y:t", "localhost:5000/x/y:t"],
  ["127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"],
  ["[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"],
  ["[2001:db8::1]/a/b:v", "[2001:db8::1]/a/b:v", "[2001:db8::1]/a/b:v"],
  ["quay.io/a/b/c/d", "quay.io/a/b/c/d", "quay.io/a/b/c/d"],
  ["UPPER/x", "UPPER/x", "UPPER/x"],
  ["Example.COM:443/x", "Example.COM:443/x", "Example.COM:443/x"],
  ["localhost", "docker.io/library/localhost", "localhost"],
  ["a--b/c__d.e:T_A.g-1", "docker.io/a--b/c__d.e:T_A.g-1", "a--b/c__d.e:T_A.g-1"],
  ["xn--n3h.com/x", "xn--n3h.com/x", "xn--n3h.com/x"],
  ["host:1234", "docker.io/library/host:1234", "host:1234"],
  [`${"a".repeat(63)}`, `docker.io/library/${"a".repeat(63)}`, "a".repeat(63)],
  [`x:${"t".repeat(128)}`, `docker.io/library/x:${"t".repeat(128)}`, `x:${"t".repeat(128)}`],
];

test.each(VALID)("%s is read as docker does", (input, full, familiar) => {
  const reference = parseReference(input);
  expect(formatReference(reference)).toBe(full);
  expect(familiarReference(reference)).toBe(familiar);
  expect(parseReference(familiarReference(reference))).toEqual(reference);
});

const INVALID: [input: string, part: RegExp][] = [
  ["", /empty/],
  [":tag", /empty/],
  [`@${SHA}`, /empty/],
  ["Alpine", /must be lowercase/],
  ["quay.io/Foo/bar", /must be lowercase/],
  ["a//b", /invalid reference format "a\/\/b"/],
  ["/a", /invalid reference format/],
  ["a/", /invalid reference format/],
  ["a:", /is not a tag/],
  ["a:-x", /is not a tag/],
  [`a:${"t".repeat(129)}`, /is not a tag/],
  ["a:b:c", /is not a tag/],
  ["a@b", /is not a digest/],
  ["a@sha256:abc", /is not a digest/],
  [`a@sha256:${"ab".repeat(31)}`, /invalid digest/],
  [`a@md5:${"ab".repeat(16)}`, /unsupported algorithm/],
  [`a@${SHA}@${SHA}`, /is not a digest/],
  ["a b", /invalid reference format/],
  ["a\nb", /invalid reference format "a\?b"/],
  ["-a", /invalid reference format/],
  ["a-", /invalid reference format/],
  ["a___b", /invalid reference format/],
  ["a..b", /invalid reference format/],
  ["a._b", /invalid reference format/],
  ["http://a/b", /invalid reference format/],
  ["-x.com/a", /not a host name/],
  ["x.com:port/a", /not a host name/],
  ["[::1/a", /not a host name/],
  ["../a", /not a host name/],
  ["localhost/../a", /invalid reference format/],
  ["ab".repeat(32), /64 hexadecimal/],
  [`quay.io/${"a".repeat(256)}`, /more than 255/],
  ["a/".repeat(5000), /too long/],
  ["é", /invalid reference format/],
];

test.each(INVALID)("%p is refused", (input, part) => {
  expect(() => parseReference(input)).toThrow(part);
});

test("the default tag is added only to a bare name", () => {
  expect(withDefaultTag(parseReference("a")).tag).toBe("latest");
  expect(withDefaultTag(parseReference("a:b")).tag).toBe("b");
  expect(withDefaultTag(parseReference(`a@${SHA}`)).tag).toBeUndefined();
});

test("names without tag", () => {
  expect(familiarName(parseReference("docker.io/library/x:1"))).toBe("x");
  expect(repositoryName(parseReference("x:1"))).toBe("docker.io/library/x");
  expect(isFullyQualified("x/y")).toBe(false);
  expect(isFullyQualified("localhost/y")).toBe(true);
});

test("a library path that reads as a host keeps its registry in the short form", () => {
  const reference = parseReference("docker.io/a.b/c");
  expect(familiarName(reference)).toBe("docker.io/a.b/c");
  expect(parseReference(familiarName(reference))).toEqual(reference);
});

const component = fc.stringMatching(/^[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}$/);

test("whatever is parsed formats to something that parses to the same", () => {
  const reference = fc
    .tuple(
      fc.constantFrom("docker.io/", "localhost/", "quay.io/", "127.0.0.1:5000/", "[::1]:1/", "Reg/"),
      fc.array(component, { minLength: 1, maxLength: 3 }),
      fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/), { nil: undefined }),
      fc.boolean(),
    )
    .map(
      ([host, path, tag, digest]) =>
        `${host}${path.join("/")}${tag ? `:${tag}` : ""}${digest ? `@${SHA}` : ""}`,
    );
  fc.assert(
    fc.property(reference, (text) => {
      const parsed = parseReference(text);
      expect(parseReference(formatReference(parsed))).toEqual(parsed);
      expect(parseReference(familiarReference(parsed))).toEqual(parsed);
    }),
  );
});

test("any text is either parsed or refused with invalid-argument, quickly", () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 300, unit: fc.constantFrom(..."aB0.-_/:@[] \n".split("")) }),
      (text) => {
        try {
          formatReference(parseReference(text));
        } catch (error) {
          expect((error as { kind?: string }).kind).toBe("invalid-argument");
        }
      },
    ),
  );
});
