import { afterAll, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  attachment,
  BUNDLE_TYPE,
  cosign2,
  cosign3,
  FakeAuthority,
  FakeLog,
  type KeyPair,
  type KeyType,
  makeKey,
  messageBundle,
} from "../../test/fake/signer.ts";
import { tempDir } from "../../test/fake/temp-dir.ts";
import { createCtx } from "../core/ctx.ts";
import { EngineError, messageOf } from "../core/error.ts";
import { digestOf } from "../image/digest.ts";
import { parseReference } from "../image/reference.ts";
import { checkRequirements } from "./check.ts";
import { parsePolicy } from "./policy.ts";
import { requirementsFor } from "./scope.ts";
import type { Candidate, FoundSignature, SignatureSource } from "./trust.ts";

const bytes = Buffer.from('{"schemaVersion":2}');
const digest = digestOf(bytes);
const indexBytes = Buffer.from('{"schemaVersion":2,"manifests":[]}');
const index = digestOf(indexBytes);
const NAME = "localhost:5000/team/app:1";
const key = makeKey();
const log = new FakeLog();
const authority = new FakeAuthority();
const dir = tempDir("trust");
afterAll(() => {
  authority[Symbol.dispose]();
  dir[Symbol.dispose]();
});

type Signatures = Record<string, (FoundSignature | object)[]>;

function sourceOf(signatures: Signatures): SignatureSource & { asked: string[]; given: number } {
  const source = {
    asked: [] as string[],
    given: 0,
    async *find(_: unknown, wanted: string) {
      source.asked.push(wanted);
      for (const one of signatures[wanted] ?? []) {
        source.given++;
        yield foundOf(one);
      }
    },
  };
  return source;
}

function foundOf(one: FoundSignature | object): FoundSignature {
  if ("kind" in one) return one;
  if ("payload" in one) return { kind: "attachment", ...(one as ReturnType<typeof cosign2>) };
  return { kind: "bundle", bytes: Buffer.from(JSON.stringify(one)) };
}

const data = (text: string): string => Buffer.from(text).toString("base64");

function signedBy(pair: KeyPair, more: object = {}): object {
  return { type: "sigstoreSigned", keyData: data(pair.pem), ...more };
}

const ANY_TAG = { signedIdentity: { type: "matchRepository" } };

async function check(
  requirements: object | object[],
  signatures: Signatures | SignatureSource,
  candidate: Partial<Candidate> = {},
): Promise<string> {
  const text = JSON.stringify({ default: Array.isArray(requirements) ? requirements : [requirements] });
  const policy = parsePolicy({ file: "/p.json", bytes: Buffer.from(text) });
  const whole: Candidate = {
    transport: "docker",
    reference: parseReference(NAME),
    documents: [
      { digest, bytes },
      { digest: index, bytes: indexBytes },
    ],
    ...candidate,
  };
  const source = "find" in signatures ? (signatures as SignatureSource) : sourceOf(signatures);
  const decision = requirementsFor(policy, whole);
  try {
    await checkRequirements(createCtx(), { policy, decision, candidate: whole, signatures: source });
    return "allowed";
  } catch (error) {
    expect(error, String(error)).toBeInstanceOf(EngineError);
    return messageOf(error);
  }
}

describe("cosign 2: simple signing by key", () => {
  test.each<KeyType>(["P-256", "P-384", "P-521", "rsa", "ed25519"])("a key of type %s", async (type) => {
    const pair = makeKey(type);
    const signature = cosign2(pair, { digest, reference: NAME });
    expect(await check(signedBy(pair), { [digest]: [signature] })).toBe("allowed");
    expect(await check(signedBy(makeKey(type)), { [digest]: [signature] })).toContain(
      "not by a key of the policy",
    );
  });

  test("over the index admits what was chosen from it, over the manifest too", async () => {
    const onIndex = cosign2(key, { digest: index, reference: NAME });
    expect(await check(signedBy(key), { [index]: [onIndex] })).toBe("allowed");
    // Attached to one document and over the other counts for neither.
    expect(await check(signedBy(key), { [digest]: [onIndex] })).toContain("for the digest");
  });

  test("one of several keys, one of several signatures is enough", async () => {
    const [a, b] = [makeKey(), makeKey("ed25519")];
    const keys = { type: "sigstoreSigned", keyDatas: [data(a.pem), data(b.pem)] };
    const wrong = cosign2(makeKey(), { digest, reference: NAME });
    const right = cosign2(b, { digest, reference: NAME });
    expect(await check(keys, { [digest]: [wrong, right] })).toBe("allowed");
    expect(await check(keys, { [digest]: [wrong, wrong] })).toContain("none of its 2 counts");
  });

  test("all requirements must hold, and each signature is fetched once", async () => {
    const other = makeKey();
    const both = [signedBy(key), signedBy(other)];
    const source = sourceOf({
      [digest]: [cosign2(key, { digest, reference: NAME }), cosign2(other, { digest, reference: NAME })],
    });
    expect(await check(both, source)).toBe("allowed");
    expect(source).toMatchObject({ asked: [index, digest], given: 2 });
    expect(await check(both, { [digest]: [cosign2(key, { digest, reference: NAME })] })).toContain(
      "its only one does not count",
    );
    expect(await check([signedBy(key), { type: "reject" }], source)).toContain("rejects it");
  });

  test("nothing more is fetched once one counts", async () => {
    const right = cosign2(key, { digest, reference: NAME });
    const source = sourceOf({ [digest]: [right, right, right] });
    expect(await check(signedBy(key), source)).toBe("allowed");
    expect(source.given).toBe(1);
  });

  test.each<[string, FoundSignature | object, string]>([
    ["another digest", cosign2(key, { digest: digestOf("x"), reference: NAME }), "for the digest"],
    ["another repository", cosign2(key, { digest, reference: "localhost:5000/team/other:1" }), "it is for"],
    ["another tag", cosign2(key, { digest, reference: "localhost:5000/team/app:2" }), "it is for"],
    ["no tag", cosign2(key, { digest, reference: "localhost:5000/team/app" }), "it is for"],
    ["no name", cosign2(key, { digest, reference: "" }), "no image name"],
    ["a name that is none", cosign2(key, { digest, reference: "a b\u001b[31m" }), "no image name"],
    ["no signature", { payload: Buffer.from("{}"), annotations: {} }, "lacks the annotation"],
    ["a payload that is no JSON", attachment(key, Buffer.from("{")), "not JSON"],
    ["a payload that is a list", attachment(key, Buffer.from("[]")), "not an object"],
    ["a digest said twice", attachment(key, twice()), "stands twice"],
    [
      "an unknown field",
      attachment(key, Buffer.from('{"critical":{},"optional":null,"x":1}')),
      "unknown key",
    ],
    ["another type", attachment(key, payload({ type: "atomic container signature" })), "its type is"],
    ["something gone", { kind: "unusable", problem: "it is gone" }, "it is gone"],
  ])("%s does not count", async (_, signature, problem) => {
    const said = await check(signedBy(key), { [digest]: [signature] });
    expect(said).toContain(problem);
    expect(said).toContain('the default in the policy "/p.json" demands a signature by a key in the policy');
    expect(said).not.toMatch(/\p{Cc}/u);
  });

  function payload(critical: object): Buffer {
    return Buffer.from(
      JSON.stringify({
        critical: {
          type: "cosign container image signature",
          image: { "docker-manifest-digest": digest },
          identity: { "docker-reference": NAME },
          ...critical,
        },
        optional: null,
      }),
    );
  }

  function twice(): Buffer {
    const text = payload({}).toString();
    return Buffer.from(
      text.replace(`"docker-manifest-digest"`, `"docker-manifest-digest":"x","docker-manifest-digest"`),
    );
  }

  test("a changed payload, a changed signature", async () => {
    const right = cosign2(key, { digest, reference: NAME });
    const changed = { ...right, payload: Buffer.from(right.payload.toString().replace("app:1", "app:2")) };
    expect(await check(signedBy(key), { [digest]: [changed] })).toContain("not by a key of the policy");
    const cut = { "dev.cosignproject.cosign/signature": "AAAA" };
    expect(await check(signedBy(key), { [digest]: [{ ...right, annotations: cut }] })).toContain(
      "not by a key of the policy",
    );
  });

  test("none at all says so, and how many reasons there are", async () => {
    expect(await check(signedBy(key), {})).toEndWith("and it has none");
    const many = ["a", "b", "c", "d", "e"].map((problem): FoundSignature => ({ kind: "unusable", problem }));
    expect(await check(signedBy(key), { [digest]: many })).toEndWith(
      "none of its 5 counts: a; b; c; and 2 more",
    );
  });
});

describe("cosign 3: Sigstore bundles by key", () => {
  test.each<KeyType>(["P-256", "P-384", "P-521", "rsa", "ed25519"])("a key of type %s", async (type) => {
    const pair = makeKey(type);
    expect(await check(signedBy(pair, ANY_TAG), { [digest]: [cosign3(pair, { digest })] })).toBe("allowed");
    expect(
      await check(signedBy(makeKey(type), ANY_TAG), { [digest]: [cosign3(pair, { digest })] }),
    ).toContain("signature verification failed");
  });

  test("the hash that goes with the curve", async () => {
    const pair = makeKey("P-384");
    const bundle = cosign3(pair, { digest, hash: "sha384" });
    expect(await check(signedBy(pair, ANY_TAG), { [digest]: [bundle] })).toBe("allowed");
  });

  test("a signature over the manifest itself", async () => {
    expect(await check(signedBy(key, ANY_TAG), { [digest]: [messageBundle(key, bytes)] })).toBe("allowed");
    expect(await check(signedBy(key, ANY_TAG), { [digest]: [messageBundle(key, indexBytes)] })).toContain(
      "over other bytes",
    );
  });

  test("without a name it counts for any tag or a digest, never for one tag", async () => {
    const bundle = { [digest]: [cosign3(key, { digest })] };
    const by = (type: string, more = {}) => signedBy(key, { signedIdentity: { type, ...more } });
    const repository = { dockerRepository: "example.com/x" };
    expect(await check(by("matchRepository"), bundle)).toBe("allowed");
    expect(await check(by("exactRepository", repository), bundle)).toBe("allowed");
    expect(await check(signedBy(key), bundle)).toContain("it names no image");
    expect(await check(by("matchExact"), bundle)).toContain("it names no image");
    const pinned = { reference: parseReference(`localhost:5000/team/app@${digest}`) };
    expect(await check(signedBy(key), bundle, pinned)).toBe("allowed");
    expect(await check(by("matchExact"), bundle, pinned)).toContain("it names no image");
    expect(await check(by("exactReference", { dockerReference: NAME }), bundle, pinned)).toContain(
      "it names no image",
    );
  });

  test("a name in it must be the right one", async () => {
    expect(await check(signedBy(key), { [digest]: [cosign3(key, { digest, name: NAME })] })).toBe("allowed");
    const other = cosign3(key, { digest, name: "localhost:5000/team/other:1" });
    expect(await check(signedBy(key, ANY_TAG), { [digest]: [other] })).toContain("it is for");
  });

  test.each<[string, object, string]>([
    ["another digest", cosign3(key, { digest: digestOf("x") }), "for another digest"],
    [
      "a bill of materials",
      cosign3(key, { digest, predicateType: "https://spdx.dev/Document" }),
      "no signature",
    ],
    ["no statement", cosign3(key, { digest, payloadType: "text/plain" }), 'over "text/plain"'],
    ["another kind of statement", cosign3(key, { digest, type: "x" }), "no in-toto statement"],
    ["nothing", {}, "invalid bundle"],
    ["only a media type", { mediaType: BUNDLE_TYPE }, "invalid bundle"],
    ["no signer", { ...cosign3(key, { digest }), verificationMaterial: {} }, "invalid bundle"],
    ["numbers", { mediaType: BUNDLE_TYPE, verificationMaterial: 1, dsseEnvelope: 2 }, "invalid bundle"],
    ["no content", { ...cosign3(key, { digest }), dsseEnvelope: undefined }, "invalid bundle"],
  ])("%s does not count", async (_, bundle, problem) => {
    const said = await check(signedBy(key, ANY_TAG), { [digest]: [bundle] });
    expect(said).toContain("its only one does not count");
    expect(said.toLowerCase()).toContain(problem.toLowerCase());
  });

  test("text that is no bundle, or a huge one", async () => {
    const found = (text: string): Signatures => ({
      [digest]: [{ kind: "bundle", bytes: Buffer.from(text) }],
    });
    for (const text of ["", "null", "[]", "{", '{"a":1,"a":2}', "\u0000", "[".repeat(100_000)]) {
      expect(await check(signedBy(key, ANY_TAG), found(text))).toContain("does not count");
    }
    expect(await check(signedBy(key, ANY_TAG), found(" ".repeat(2_000_000)))).toContain("limit");
  });

  test("a certificate where a key is asked for, and the other way round", async () => {
    const bundle = cosign3(key, { digest }, { log, certificate: authority.issue(key) });
    expect(await check(signedBy(key, ANY_TAG), { [digest]: [bundle] })).toContain("by a certificate");
    expect(await check(keyless(), { [digest]: [cosign3(key, { digest }, { log })] })).toContain("by a key");
  });
});

describe("on record", () => {
  const recorded = (pair: KeyPair, record = log) =>
    signedBy(pair, { ...ANY_TAG, rekorPublicKeyData: data(record.key.pem) });

  test.each(["P-256", "ed25519"] as const)("in a log whose key is %s", async (type) => {
    const own = new FakeLog(type);
    expect(await check(recorded(key, own), { [digest]: [cosign3(key, { digest }, { log: own })] })).toBe(
      "allowed",
    );
    expect(await check(recorded(key, own), { [digest]: [messageBundle(key, bytes, { log: own })] })).toBe(
      "allowed",
    );
    const attached = cosign2(key, { digest, reference: NAME }, { log: own });
    expect(await check(recorded(key, own), { [digest]: [attached] })).toBe("allowed");
  });

  test("a record is not looked at where none is asked for", async () => {
    const elsewhere = { log: new FakeLog() };
    expect(await check(signedBy(key, ANY_TAG), { [digest]: [cosign3(key, { digest }, elsewhere)] })).toBe(
      "allowed",
    );
  });

  test("without one, or in another log, it does not count", async () => {
    expect(await check(recorded(key), { [digest]: [cosign3(key, { digest })] })).toContain("tlog entries");
    expect(await check(recorded(key), { [digest]: [cosign2(key, { digest, reference: NAME })] })).toContain(
      "lacks",
    );
    const elsewhere = { log: new FakeLog() };
    expect(await check(recorded(key), { [digest]: [cosign3(key, { digest }, elsewhere)] })).toContain(
      "tlog entries",
    );
    const attached = cosign2(key, { digest, reference: NAME }, elsewhere);
    expect(await check(recorded(key), { [digest]: [attached] })).toContain("tlog entries");
  });

  test("another signature's record does not count", async () => {
    const [mine, others] = [cosign3(key, { digest }), cosign3(makeKey(), { digest: digestOf("x") }, { log })];
    const { verificationMaterial } = others as { verificationMaterial: { tlogEntries: unknown } };
    const { tlogEntries } = verificationMaterial;
    const mixed = { ...mine, verificationMaterial: { publicKey: { hint: "x" }, tlogEntries } };
    expect(await check(recorded(key), { [digest]: [mixed] })).toContain("mismatch");
    const attached = cosign2(key, { digest, reference: NAME });
    const other = cosign2(key, { digest, reference: "x/y" }, { log });
    const stolen = { ...other.annotations, ...attached.annotations };
    expect(await check(recorded(key), { [digest]: [{ ...attached, annotations: stolen }] })).toContain(
      "mismatch",
    );
  });

  test("a record that names another signer does not count", async () => {
    const certified = cosign2(key, { digest, reference: NAME }, { log, certificate: authority.issue(key) });
    expect(await check(recorded(key), { [digest]: [certified] })).toContain("another key or certificate");
  });

  test.each([
    "{}",
    "[]",
    "x",
    '{"SignedEntryTimestamp":"","Payload":{}}',
    '{"Payload":1,"SignedEntryTimestamp":"AA"}',
  ])("a malformed record: %s", async (text) => {
    const attached = cosign2(key, { digest, reference: NAME });
    attached.annotations["dev.sigstore.cosign/bundle"] = text;
    expect(await check(recorded(key), { [digest]: [attached] })).toContain("does not count");
  });
});

function keyless(more: object = {}, fulcio: object = {}): object {
  return {
    type: "sigstoreSigned",
    fulcio: {
      caData: data(authority.root),
      oidcIssuer: "https://accounts.example.com",
      subjectEmail: "ann@example.com",
      ...fulcio,
    },
    rekorPublicKeyData: data(log.key.pem),
    ...ANY_TAG,
    ...more,
  };
}

describe("by certificate", () => {
  const signer = makeKey();
  const both = (certificate: ReturnType<FakeAuthority["issue"]>, at?: Date): [string, object][] => {
    const options = { log, certificate, ...(at === undefined ? {} : { at }) };
    return [
      ["attachment", cosign2(signer, { digest, reference: NAME }, options)],
      ["bundle", cosign3(signer, { digest }, options)],
    ];
  };
  const withIntermediate = { caData: data(authority.root + authority.intermediate) };

  test("of the pinned authority, for the right person, in its time", async () => {
    for (const [kind, signature] of both(authority.issue(signer))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toBe("allowed");
    }
    // Cosign 2 brings the intermediate along, a bundle has the leaf alone.
    const [[, attached], [, bundle]] = both(authority.issue(signer)) as [[string, object], [string, object]];
    expect(await check(keyless(), { [digest]: [attached] })).toBe("allowed");
    expect(await check(keyless(), { [digest]: [bundle] })).toContain("not from the pinned authority");
    // An authority that is not the top of its own chain can be pinned too.
    const pinned = { caData: data(authority.intermediate) };
    expect(await check(keyless({}, pinned), { [digest]: [bundle] })).toBe("allowed");
  });

  test("for somebody else, or vouched for by somebody else", async () => {
    for (const [kind, signature] of both(authority.issue(signer, { email: "eve@example.com" }))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain(
        '"eve@example.com"',
      );
    }
    for (const [kind, signature] of both(authority.issue(signer, { issuer: "https://evil.example.com" }))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain("evil");
    }
  });

  test("expired when it was made", async () => {
    const late = new Date(Date.now() + 40 * 24 * 3600 * 1000);
    for (const [kind, signature] of both(authority.issue(signer), late)) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain(
        "was not valid",
      );
    }
  });

  test("of another authority, even if it brings that along", async () => {
    using rogue = new FakeAuthority();
    for (const [kind, signature] of both(rogue.issue(signer))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain(
        "not from the pinned authority",
      );
    }
  });

  test("issued by somebody who is no authority", async () => {
    const leaf = authority.issue(signer);
    const pinned = { caData: data(leaf.pem) };
    for (const [kind, signature] of both(authority.issue(signer))) {
      expect(await check(keyless({}, pinned), { [digest]: [signature] }), kind).toContain(
        "not from the pinned",
      );
    }
  });

  test("for other uses, or with an extension nobody knows", async () => {
    for (const [kind, signature] of both(authority.issue(signer, { usage: "serverAuth" }))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain(
        "signing code",
      );
    }
    for (const [kind, signature] of both(authority.issue(signer, { extra: "1.2.3.4=critical,ASN1:NULL" }))) {
      expect(await check(keyless({}, withIntermediate), { [digest]: [signature] }), kind).toContain(
        "critical extension",
      );
    }
  });

  test("not on record", async () => {
    const certificate = authority.issue(signer);
    expect(
      await check(keyless({}, withIntermediate), {
        [digest]: [cosign3(signer, { digest }, { certificate })],
      }),
    ).toContain("timestamps");
    const attached = cosign2(signer, { digest, reference: NAME }, { certificate });
    expect(await check(keyless({}, withIntermediate), { [digest]: [attached] })).toContain("lacks");
  });

  test("garbage for a certificate", async () => {
    const attached = cosign2(
      signer,
      { digest, reference: NAME },
      { log, certificate: authority.issue(signer) },
    );
    for (const pem of ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]) {
      const annotations = { ...attached.annotations, "dev.sigstore.cosign/certificate": pem };
      const said = await check(keyless({}, withIntermediate), { [digest]: [{ ...attached, annotations }] });
      expect(said).toContain("does not count");
    }
  });
});

describe("what a policy asks in vain", () => {
  test.each<[object, string]>([
    [
      { type: "signedBy", keyType: "GPGKeys", keyPath: "/k" },
      '"signedBy" (OpenPGP signatures), which berth cannot verify',
    ],
    [
      { type: "sigstoreSigned", pki: { caRootsPath: "/r", subjectEmail: "a@b" } },
      '"pki", which berth cannot verify',
    ],
    [{ type: "sigstoreSigned", keyPath: "relative.pub" }, "its path is not absolute"],
    [{ type: "sigstoreSigned", keyPath: "/nonexistent/key.pub" }, '"/nonexistent/key.pub"'],
    [{ type: "sigstoreSigned", keyPath: "/dev/zero" }, "it is not a file"],
    [{ type: "sigstoreSigned", keyData: data("nonsense") }, "no public key in PEM"],
    [signedBy(makeKey("rsa-1024")), "fewer than 2048"],
  ])("%j", async (requirement, problem) => {
    const right = { [digest]: [cosign2(key, { digest, reference: NAME })] };
    const said = await check(requirement, right);
    expect(said).toContain(problem);
  });

  test("a private key in place of a public one", async () => {
    const pem = key.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const path = `${dir.path}/private.pem`;
    await Bun.write(path, pem);
    const said = await check({ type: "sigstoreSigned", keyPath: path }, {});
    expect(said).toContain(`"${path}"`);
    expect(said).not.toContain("PRIVATE");
  });
});

describe("bytes that somebody has meddled with", () => {
  const other = makeKey();
  const options = { log, certificate: authority.issue(other) };
  const originals: [string, object, Buffer][] = [
    ["a bundle", signedBy(key, ANY_TAG), Buffer.from(JSON.stringify(cosign3(key, { digest })))],
    [
      "a bundle with a certificate",
      keyless(),
      Buffer.from(JSON.stringify(cosign3(other, { digest }, options))),
    ],
  ];

  test.each(originals)("%s: refused or as before, never a crash", async (_, requirement, original) => {
    const bundle = fc
      .array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const changed = Buffer.from(original);
        for (const [at, byte] of changes) changed[at] = byte;
        return changed;
      });
    await fc.assert(
      fc.asyncProperty(bundle, async (changed) => {
        const said = await check(requirement, { [digest]: [{ kind: "bundle", bytes: changed }] });
        // What is signed must be what it was; what is not (the key's hint, a name of a field without meaning) may differ.
        const isSame = (field: string) => partOf(changed, field) === partOf(original, field);
        if (said === "allowed") expect(isSame("payload") && isSame("payloadType")).toBe(true);
        else expect(said).toContain("its only one does not count");
      }),
      { numRuns: 300 },
    );
  });

  function partOf(bytes: Buffer, field: string): unknown {
    try {
      const bundle = JSON.parse(bytes.toString()) as { dsseEnvelope?: Record<string, unknown> };
      const value = bundle.dsseEnvelope?.[field];
      return field === "payload" ? Buffer.from(String(value), "base64").toString("hex") : value;
    } catch {
      return undefined;
    }
  }

  test("payloads and annotations of any kind", async () => {
    const keys = ["signature", "bundle", "certificate", "chain"];
    const annotations = fc.dictionary(
      fc.constantFrom(
        "dev.cosignproject.cosign/signature",
        ...keys.map((name) => `dev.sigstore.cosign/${name}`),
      ),
      fc.oneof(fc.string(), fc.base64String(), fc.json()),
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array(), annotations, async (payload, given) => {
        const found = { kind: "attachment", payload, annotations: given } as const;
        for (const requirement of [signedBy(key), keyless()]) {
          expect(await check(requirement, { [digest]: [found] })).toContain("does not count");
        }
      }),
      { numRuns: 200 },
    );
  });
});
