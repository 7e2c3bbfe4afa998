import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { messageOf } from "../core/error.ts";
import { parseReference } from "../image/reference.ts";
import { identityProblem, parseIdentity } from "./identity.ts";
import { parsePolicy, readPolicy } from "./policy.ts";
import { requirementsFor, scopesOf } from "./scope.ts";
import type { Candidate } from "./trust.ts";

const dir = tempDir("policy");
afterAll(() => dir[Symbol.dispose]());

const ACCEPT = '[{"type":"insecureAcceptAnything"}]';
const REJECT = '[{"type":"reject"}]';

function problemOf(text: string): string | undefined {
  try {
    parsePolicy({ file: "/p.json", bytes: Buffer.from(text) });
    return undefined;
  } catch (error) {
    expect(messageOf(error)).toStartWith('"/p.json": ');
    return messageOf(error);
  }
}

const requirement = (text: string): string => `{"default":[${text}]}`;
const signed = (text: string): string => requirement(`{"type":"sigstoreSigned",${text}}`);
const identity = (text: string): string => signed(`"keyPath":"/k","signedIdentity":${text}`);
const scope = (transport: string, name: string): string =>
  `{"default":${ACCEPT},"transports":{"${transport}":{"${name}":${REJECT}}}}`;

/** Text, and whether it is a policy; the peer must think the same. */
const POLICIES: [text: string, isPolicy: boolean][] = [
  [`{"default":${ACCEPT}}`, true],
  [`{"default":${REJECT},"transports":{}}`, true],
  [`{"default":${ACCEPT},"transports":{"docker":{"":${REJECT}},"elsewhere":{"x":${REJECT}}}}`, true],
  ["", false],
  ["null", false],
  ["[]", false],
  ["{}", false],
  ['{"default":[]}', false],
  ['{"default":{}}', false],
  ['{"default":null}', false],
  [`{"default":${ACCEPT},"default":${REJECT}}`, false],
  [`{"default":${ACCEPT},"Default":${REJECT}}`, false],
  [`{"default":${ACCEPT},"comment":"x"}`, false],
  [`{"default":${ACCEPT}} x`, false],
  [`{"default":${ACCEPT},"transports":{"docker":{"a":${REJECT},"a":${ACCEPT}}}}`, false],
  [`{"default":${ACCEPT},"transports":{"docker":{"a":${REJECT},"\\u0061":${ACCEPT}}}}`, false],
  [`{"default":${ACCEPT},"transports":{"docker":{},"docker":{}}}`, false],
  [`{"default":${ACCEPT},"transports":{"docker":{"a":[]}}}`, false],
  [`{"default":${ACCEPT},"transports":{"docker":[]}}`, false],
  [requirement('{"type":"accept"}'), false],
  [requirement("{}"), false],
  [requirement("1"), false],
  [requirement('{"type":"reject","x":1}'), false],
  [requirement('{"type":"reject","type":"insecureAcceptAnything"}'), false],
  [requirement('{"type":"insecureAcceptAnything","keyPath":"/k"}'), false],
  [requirement('{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}'), true],
  [requirement('{"type":"signedBy","keyType":"GPGKeys","keyPaths":["/k","/l"]}'), true],
  [requirement('{"type":"signedBy","keyType":"GPGKeys"}'), false],
  [requirement('{"type":"signedBy","keyType":"X","keyPath":"/k"}'), false],
  [requirement('{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyData":"AAAA"}'), false],
  [signed('"keyPath":"/k"'), true],
  [signed('"keyData":"AAAA"'), true],
  [signed('"keyData":"A*"'), false],
  [signed('"keyData":1'), false],
  [signed('"keyPath":"/k","keyData":"AAAA"'), false],
  [signed('"x":1'), false],
  [signed('"keyPath":"/k","x":1'), false],
  [identity('{"type":"matchExact"}'), true],
  [identity('{"type":"matchRepository"}'), true],
  [identity('{"type":"matchExact","x":1}'), false],
  [identity('{"type":"matchAll"}'), false],
  [identity("{}"), false],
  [identity('{"type":"exactReference","dockerReference":"docker.io/library/a:1"}'), true],
  [identity('{"type":"exactReference","dockerReference":"docker.io/library/a"}'), false],
  [identity('{"type":"exactReference","dockerReference":""}'), false],
  [identity('{"type":"exactRepository","dockerRepository":"docker.io/library/a"}'), true],
  [identity('{"type":"exactRepository","dockerReference":"docker.io/library/a"}'), false],
  [identity('{"type":"remapIdentity","prefix":"a.example:5000/x","signedPrefix":"b.example"}'), true],
  [identity('{"type":"remapIdentity","prefix":"a.example/x:1","signedPrefix":"b.example"}'), false],
  [identity('{"type":"remapIdentity","prefix":"a.example/x"}'), false],
  [scope("dir", "/tmp/x"), true],
  [scope("dir", "tmp"), false],
  [scope("dir", "/"), false],
  [scope("dir", "/tmp/../x"), false],
  [scope("dir", "/tmp/"), false],
  [scope("oci", "/tmp/x:tag"), true],
  [scope("oci", "x:tag"), false],
  [scope("oci-archive", "/tmp/x.tar"), true],
  [scope("docker-archive", "/tmp/x.tar"), false],
  [scope("docker-archive", ""), true],
  [scope("tarball", "/tmp/x.tar"), false],
  [scope("docker", "*.example.com"), true],
];

/** Newer than the peer at hand. */
const NEWER: [text: string, isPolicy: boolean][] = [
  [signed('"keyPaths":["/k","/l"]'), true],
  [signed('"keyPaths":[]'), false],
  [signed('"keyPaths":"/k"'), false],
  [signed('"keyDatas":["AAAA"]'), true],
  [signed('"keyPath":"/k","rekorPublicKeyPath":"/r"'), true],
  [signed('"keyPath":"/k","rekorPublicKeyPath":"/r","rekorPublicKeyData":"AAAA"'), false],
  [signed('"rekorPublicKeyPath":"/r"'), false],
  [
    signed('"fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyDatas":["AAAA"]'),
    true,
  ],
  [signed('"fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"}'), false],
  [signed('"fulcio":{"oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyPath":"/r"'), false],
  [signed('"fulcio":{"caPath":"/c","subjectEmail":"e"},"rekorPublicKeyPath":"/r"'), false],
  [
    signed(
      '"fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"},"keyPath":"/k","rekorPublicKeyPath":"/r"',
    ),
    false,
  ],
  [signed('"pki":{"caRootsPath":"/r","subjectEmail":"e"}'), true],
];

test.each([...POLICIES, ...NEWER])("%s: a policy: %p", (text, isPolicy) => {
  expect(problemOf(text) === undefined).toBe(isPolicy);
});

const haveSkopeo = existsSync("/usr/bin/skopeo") && existsSync("/usr/bin/tar");
if (!haveSkopeo) console.warn("skip: policies against skopeo: it is not installed");

/** An image in a directory, as small as can be. */
function image(path: string): string {
  mkdirSync(path, { recursive: true });
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [] },
  });
  const digest = new Bun.CryptoHasher("sha256").update(config).digest("hex");
  writeFileSync(join(path, digest), config);
  const type = "application/vnd.oci.image.config.v1+json";
  writeFileSync(join(path, "version"), "Directory Transport Version: 1.1\n");
  writeFileSync(
    join(path, "manifest.json"),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { mediaType: type, digest: `sha256:${digest}`, size: config.length },
      layers: [],
    }),
  );
  return path;
}

/** undefined: allowed. */
function skopeo(text: string, source: string): string | undefined {
  const policy = join(dir.path, "policy.json");
  writeFileSync(policy, text);
  const to = `dir:${join(dir.path, "copied")}`;
  const argv = ["skopeo", "--policy", policy, "copy", "-q", source, to];
  const { exitCode, stderr } = Bun.spawnSync(argv, { stdout: "ignore", stderr: "pipe" });
  return exitCode === 0 ? undefined : stderr.toString();
}

describe.skipIf(!haveSkopeo)("skopeo thinks the same", () => {
  const source = `dir:${image(join(dir.path, "source"))}`;

  test("of what is a policy", () => {
    const different = POLICIES.filter(([text, isPolicy]) => {
      const said = skopeo(text, source);
      const refusedOnly = said === undefined || /rejected|no signature exists|signature/.test(said);
      const isMalformed = said !== undefined && /loading trust policy|invalid policy/i.test(said);
      return (isMalformed ? false : refusedOnly) !== isPolicy;
    });
    expect(different).toEqual([]);
  }, 60_000);

  const at = join(dir.path, "a/b");
  const oci = join(dir.path, "layout");

  test.each<[transport: "dir" | "oci", scopes: Record<string, string>]>([
    ["dir", {}],
    ["dir", { "": REJECT }],
    ["dir", { [at]: REJECT }],
    ["dir", { [dir.path]: REJECT }],
    ["dir", { [dir.path]: REJECT, [at]: ACCEPT }],
    ["dir", { [dir.path]: REJECT, [`${dir.path}/a`]: ACCEPT }],
    ["dir", { [`${dir.path}/a/bb`]: REJECT }],
    ["oci", { [oci]: REJECT }],
    ["oci", { [`${oci}:v2`]: REJECT }],
    ["oci", { [dir.path]: REJECT }],
    ["oci", { "": ACCEPT }],
  ])("of %s with scopes %j", (transport, scopes) => {
    image(at);
    if (!existsSync(oci)) {
      const made = Bun.spawnSync(["skopeo", "--insecure-policy", "copy", "-q", source, `oci:${oci}:v1`]);
      expect(made.exitCode).toBe(0);
    }
    for (const byDefault of [ACCEPT, REJECT]) {
      const list = Object.entries(scopes).map(([name, value]) => `${JSON.stringify(name)}:${value}`);
      const text = `{"default":${byDefault},"transports":{"${transport}":{${list.join(",")}}}}`;
      const candidate: Candidate =
        transport === "dir"
          ? { transport, path: at, documents: [] }
          : { transport, path: oci, refName: "v1", documents: [] };
      const policy = parsePolicy({ file: "/p.json", bytes: Buffer.from(text) });
      const [first] = requirementsFor(policy, candidate).requirements;
      const theirs = skopeo(text, transport === "dir" ? `dir:${at}` : `oci:${oci}:v1`) === undefined;
      expect(first?.type === "insecureAcceptAnything", text).toBe(theirs);
    }
  });
});

describe("scopes, most specific first", () => {
  const scopes = (name: string) =>
    scopesOf({ transport: "docker", reference: parseReference(name), documents: [] });

  test("of a registry's images", () => {
    expect(scopes("alpine:3")).toEqual([
      "docker.io/library/alpine:3",
      "docker.io/library/alpine",
      "docker.io/library",
      "docker.io",
      "*.io",
    ]);
    const digest = `sha256:${"a".repeat(64)}`;
    // The digest decides; the tag beside it says nothing.
    expect(scopes(`a.b.example.com:5000/x/y:1@${digest}`)).toEqual([
      `a.b.example.com:5000/x/y@${digest}`,
      "a.b.example.com:5000/x/y",
      "a.b.example.com:5000/x",
      "a.b.example.com:5000",
      "*.b.example.com",
      "*.example.com",
      "*.com",
    ]);
    expect(scopes("localhost:5000/a:1")).toEqual([
      "localhost:5000/a:1",
      "localhost:5000/a",
      "localhost:5000",
    ]);
  });

  test("of a layout, its names first, as the manual has it (skopeo passes over scopes with a name)", () => {
    const candidate: Candidate = { transport: "oci", path: "/a/b", refName: "v1", documents: [] };
    expect(scopesOf(candidate)).toEqual(["/a/b:v1", "/a/b", "/a"]);
  });

  test("of what has no place", () => {
    expect(scopesOf({ transport: "docker-archive", path: "/x", documents: [] })).toEqual([]);
    expect(scopesOf({ transport: "oci-archive", documents: [] })).toEqual([]);
    expect(scopesOf({ transport: "tarball", documents: [] })).toEqual([]);
  });
});

describe("identities", () => {
  const D = `sha256:${"a".repeat(64)}`;
  const cases: [identity: object | undefined, signed: string, wanted: string | undefined, counts: boolean][] =
    [
      [undefined, "h.example/a:1", "h.example/a:1", true],
      [undefined, "h.example/a:2", "h.example/a:1", false],
      [undefined, "h.example/a", "h.example/a:1", false],
      [undefined, "h.example/a:1", `h.example/a@${D}`, true],
      [undefined, "h.example/a", `h.example/a@${D}`, false],
      [undefined, "h.example/b", `h.example/a@${D}`, false],
      [undefined, "h.example/a:2", `h.example/a:1@${D}`, true],
      [undefined, "h.example/a:1", undefined, false],
      [undefined, "alpine:3", "docker.io/library/alpine:3", true],
      [undefined, "index.docker.io/library/alpine:3", "docker.io/library/alpine:3", true],
      [{ type: "matchExact" }, "h.example/a:1", "h.example/a:1", true],
      [{ type: "matchExact" }, "h.example/a:1", `h.example/a@${D}`, false],
      [{ type: "matchExact" }, `h.example/a@${D}`, `h.example/a@${D}`, true],
      [{ type: "matchRepository" }, "h.example/a:9", "h.example/a:1", true],
      [{ type: "matchRepository" }, "h.example/a", "h.example/a:1", true],
      [{ type: "matchRepository" }, "h.example/ab", "h.example/a:1", false],
      [{ type: "matchRepository" }, "h.example/a", undefined, false],
      [{ type: "exactReference", dockerReference: "p.example/a:1" }, "p.example/a:1", "h.example/a:2", true],
      [{ type: "exactReference", dockerReference: "p.example/a:1" }, "p.example/a:2", "p.example/a:2", false],
      [{ type: "exactReference", dockerReference: "p.example/a:1" }, "p.example/a:1", undefined, true],
      [{ type: "exactRepository", dockerRepository: "p.example/a" }, "p.example/a:7", "h.example/x:2", true],
      [{ type: "exactRepository", dockerRepository: "p.example/a" }, "p.example/b:7", "h.example/x:2", false],
      [
        { type: "remapIdentity", prefix: "m.example/v", signedPrefix: "p.example" },
        "p.example/a:1",
        "m.example/v/a:1",
        true,
      ],
      [
        { type: "remapIdentity", prefix: "m.example/v", signedPrefix: "p.example" },
        "m.example/v/a:1",
        "m.example/v/a:1",
        false,
      ],
      [
        { type: "remapIdentity", prefix: "m.example/v", signedPrefix: "p.example" },
        "m.example/w/a:1",
        "m.example/w/a:1",
        true,
      ],
      [
        { type: "remapIdentity", prefix: "m.example/v", signedPrefix: "p.example" },
        "p.example/x/a:1",
        "m.example/vx/a:1",
        false,
      ],
      [
        { type: "remapIdentity", prefix: "m.example", signedPrefix: "p.example" },
        "p.example/x:9",
        `m.example/x@${D}`,
        true,
      ],
      [
        { type: "remapIdentity", prefix: "m.example/a", signedPrefix: "p.example/b" },
        "p.example/b:1",
        "m.example/a:1",
        true,
      ],
    ];

  test.each(cases)("%j: signed as %s, asked for as %s: %p", (kind, name, wanted, counts) => {
    const asked = wanted === undefined ? undefined : parseReference(wanted);
    expect(identityProblem(parseIdentity("x", kind), name, asked) === undefined).toBe(counts);
  });
});

describe("the file", () => {
  test("the user's before the system's, and a given one before both", () => {
    const home = process.env["HOME"];
    try {
      process.env["HOME"] = join(dir.path, "home");
      mkdirSync(join(dir.path, "home/.config/containers"), { recursive: true });
      const mine = join(dir.path, "home/.config/containers/policy.json");
      writeFileSync(mine, `{"default":${REJECT}}`);
      expect(readPolicy()?.file).toBe(mine);
      const given = join(dir.path, "given.json");
      writeFileSync(given, `{"default":${ACCEPT}}`);
      expect(readPolicy(given)?.file).toBe(given);
    } finally {
      process.env["HOME"] = home;
    }
  });

  test("one that is given and missing, or a directory, lets nothing in", () => {
    expect(() => readPolicy(join(dir.path, "none.json"))).toThrow("no such file");
    expect(() => readPolicy(dir.path)).toThrow("cannot read the policy");
    const path = join(dir.path, "big.json");
    writeFileSync(path, " ".repeat(5_000_000));
    chmodSync(path, 0o600);
    expect(() => readPolicy(path)).toThrow("limit");
  });
});
