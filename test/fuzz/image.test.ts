/**
 * Fuzzing the documents of images and of those who say which may be used: manifests, indexes, configs, policy.json, and the
 * documents of archives and layouts through the engine. Whatever comes, there is a result that keeps to its type, or an EngineError,
 * soon, and the store is as it was. BERTH_FUZZ_RUNS raises the number of runs.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { createCtx } from "../../src/core/ctx.ts";
import { EngineError } from "../../src/core/error.ts";
import { copyImage } from "../../src/engine/copy-image.ts";
import { load } from "../../src/engine/load.ts";
import { parsePlace } from "../../src/engine/transfer/place.ts";
import { collectGarbage } from "../../src/storage/gc.ts";
import { chainIds } from "../../src/image/chain.ts";
import { parseConfig } from "../../src/image/config.ts";
import { digestHex, isDigest } from "../../src/image/digest.ts";
import { isIndex, parseManifest } from "../../src/image/manifest.ts";
import { formatPlatform, hostPlatform, platformMatches, selectPlatform } from "../../src/image/platform.ts";
import { parsePolicy } from "../../src/trust/policy.ts";
import { dockerArchive } from "../fake/archives.ts";
import {
  describe as describeBytes,
  engineFixture,
  type EngineFixture,
  makeImage,
  streamOf,
  tarOf,
} from "../fake/engine.ts";

const RUNS = Number(process.env["BERTH_FUZZ_RUNS"] ?? 300);
const ctx = createCtx();
/** A document of these sizes is read in a few milliseconds; this is for machines that do something else. */
const SOON_MS = 2000;

/** The value, or undefined for an error that people can read. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    expectReadable(error);
    return undefined;
  }
}

function expectReadable(error: unknown): void {
  if (!(error instanceof EngineError)) throw error;
  expect(error.kind).not.toBe("internal");
  expect(error.message.length).toBeLessThan(4000);
  // oxlint-disable-next-line no-control-regex -- what a document says must not write to a terminal
  expect(error.message).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What readers stumble over. */
const hostile: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json[]>(
    null,
    true,
    0,
    -1,
    1.5,
    1e300,
    Number.MAX_SAFE_INTEGER + 1,
    "",
    "../../x",
    "sha256:../../x",
    `sha256:${"0".repeat(64)}`,
    `sha512:${"0".repeat(64)}`,
    "\u001b[2J",
    "__proto__",
    "constructor",
    "x".repeat(5000),
    [],
    {},
    [null],
    [[]],
    ["x"],
    { "": "" },
    { constructor: "x" },
  ),
  fc.jsonValue() as fc.Arbitrary<Json>,
);

interface Change {
  /** Which of all places in the document. */
  at: number;
  how: "replace" | "remove" | "repeat" | "add" | "rename";
  value: Json;
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(10_000),
  how: fc.constantFrom("replace", "replace", "replace", "remove", "repeat", "add", "rename"),
  value: hostile,
});

/** Where something is: what holds it, and its key in there. */
type Place = [holder: Json[] | { [key: string]: Json }, key: string | number];

function places(value: Json): Place[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) => [[value, key] as Place, ...places(item)]);
}

function changed(document: Json, changes: Change[]): Json {
  const root: { [key: string]: Json } = { root: structuredClone(document) };
  for (const { at, how, value } of changes) {
    const all = places(root);
    const [holder, key] = all[at % all.length] ?? [root, "root"];
    const map = holder as { [key: string]: Json };
    if (how === "replace") map[key] = structuredClone(value);
    else if (how === "add") map[typeof value === "string" ? value : `${key}s`] = structuredClone(value);
    else if (key === "root") continue;
    else if (how === "remove") delete map[key];
    else if (how === "repeat") map[Array.isArray(holder) ? holder.length : `${key}2`] = map[key] as Json;
    else {
      map[String(key).toUpperCase()] = map[key] as Json;
      delete map[key];
    }
  }
  return root["root"] as Json;
}

/** The document with some things in it changed, as text that may be damaged. */
function spoilt(...documents: Json[]): fc.Arbitrary<Uint8Array> {
  const text = fc
    .tuple(fc.constantFrom(...documents), fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([document, changes]) => Buffer.from(JSON.stringify(changed(document, changes)) ?? "null"));
  const damaged = fc
    .tuple(text, fc.array(fc.tuple(fc.nat(5000), fc.nat(255)), { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([bytes, flips, isCut]) => {
      for (const [at, byte] of flips) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return isCut ? bytes.subarray(0, (flips[0]?.[0] ?? 0) % (bytes.length + 1)) : bytes;
    });
  return fc.oneof({ weight: 4, arbitrary: text }, { weight: 1, arbitrary: damaged });
}

const json = (bytes: Uint8Array): Json => JSON.parse(Buffer.from(bytes).toString()) as Json;

const first = tarOf({ "etc/one": "1" });
const image = makeImage([first, tarOf({ "etc/two": "2" })], {
  config: {
    config: {
      Cmd: ["a"],
      Env: ["A=b"],
      Labels: { a: "b" },
      Volumes: { "/v": {} },
      ExposedPorts: { "80/tcp": {} },
      Healthcheck: { Test: ["CMD", "x"], Interval: 5 },
    },
    history: [{ created_by: "x" }, { empty_layer: true }, { comment: "y" }],
  },
});
const entry = describeBytes(image.mediaType, image.manifest);
const index = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.index.v1+json",
  manifests: [
    { ...entry, platform: { os: "linux", architecture: "amd64" } },
    { ...entry, platform: { os: "linux", architecture: "arm", variant: "v7" }, annotations: { a: "b" } },
  ],
  annotations: { a: "b" },
} as unknown as Json;

function check(bytes: Uint8Array, run: (bytes: Uint8Array) => void): void {
  const started = performance.now();
  run(bytes);
  expect(performance.now() - started).toBeLessThan(SOON_MS);
}

describe("documents", () => {
  test("manifests and indexes keep to their type", () => {
    const read = (bytes: Uint8Array): void => {
      for (const mediaType of [undefined, image.mediaType, "application/vnd.oci.image.index.v1+json"]) {
        const document = attempt(() => parseManifest(bytes, mediaType));
        if (document === undefined) continue;
        const listed = isIndex(document) ? document.manifests : [document.config, ...document.layers];
        for (const { digest, size } of listed) {
          expect(isDigest(digest)).toBe(true);
          expect(Number.isSafeInteger(size) && size >= 0).toBe(true);
        }
        if (isIndex(document)) attempt(() => selectPlatform(document, hostPlatform()));
      }
    };
    fc.assert(
      fc.property(spoilt(json(image.manifest), index), (bytes) => check(bytes, read)),
      { numRuns: RUNS * 3 },
    );
  });

  test("configs keep to their type", () => {
    const read = (bytes: Uint8Array): void => {
      const config = attempt(() => parseConfig(bytes));
      if (config === undefined) return;
      expect(config.rootfs.diff_ids.every(isDigest)).toBe(true);
      expect(chainIds(config.rootfs.diff_ids).length).toBe(config.rootfs.diff_ids.length);
      const { Cmd = [], Env = [], Labels = {}, Volumes = {} } = config.config;
      for (const text of [...Cmd, ...Env, ...Object.values(Labels)]) expect(typeof text).toBe("string");
      expect(typeof Volumes).toBe("object");
      platformMatches(hostPlatform(), config);
      expect(typeof formatPlatform(config)).toBe("string");
    };
    fc.assert(
      fc.property(spoilt(json(image.config)), (bytes) => check(bytes, read)),
      { numRuns: RUNS * 2 },
    );
  });
});

describe("policy.json", () => {
  const policy: Json = {
    default: [{ type: "reject" }],
    transports: {
      docker: {
        "": [{ type: "insecureAcceptAnything" }],
        "quay.io/team": [
          {
            type: "sigstoreSigned",
            keyPath: "/k.pub",
            signedIdentity: { type: "remapIdentity", prefix: "a.test", signedPrefix: "b.test" },
          },
        ],
        "*.example.com": [{ type: "sigstoreSigned", keyPaths: ["/a", "/b"], rekorPublicKeyData: "YQ==" }],
        "one.test/a:1": [
          {
            type: "sigstoreSigned",
            fulcio: { caData: "YQ==", oidcIssuer: "https://x", subjectEmail: "a@b" },
            rekorPublicKeyPath: "/r",
            signedIdentity: { type: "exactReference", dockerReference: "one.test/a:1" },
          },
        ],
      },
      dir: { "/a": [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/k" }] },
    },
  };

  test("is understood, or refused with its name", () => {
    const read = (bytes: Uint8Array): void => {
      let said = "";
      try {
        const parsed = parsePolicy({ file: "/x/policy.json", bytes });
        expect(parsed.default.length).toBeGreaterThan(0);
      } catch (error) {
        expectReadable(error);
        said = (error as Error).message;
        expect(said).toContain("/x/policy.json");
      }
    };
    fc.assert(
      fc.property(spoilt(policy), (bytes) => check(bytes, read)),
      { numRuns: RUNS * 3 },
    );
    read(Buffer.from("[".repeat(100_000)));
    read(Buffer.from(`{"default":${'[{"a":'.repeat(50_000)}`));
  });
});

describe("through the engine:", () => {
  let fixture: EngineFixture;
  beforeAll(() => {
    fixture = engineFixture("fuzz-image");
  });
  afterAll(() => fixture[Symbol.dispose]());

  /** What was stored goes again, and nothing must be left; a failure leaves nothing to begin with. */
  async function attemptAll(work: () => Promise<unknown>): Promise<void> {
    const { engine } = fixture;
    const started = performance.now();
    let failed = false;
    try {
      await work();
    } catch (error) {
      expectReadable(error);
      failed = true;
    }
    expect(performance.now() - started).toBeLessThan(SOON_MS * 5);
    if (!failed) {
      for (const { id } of engine.images.list()) engine.images.remove(id, { force: true, inUse: () => [] });
      for (const { digest } of engine.manifests.list()) engine.manifests.remove(digest);
      collectGarbage(engine.store);
    }
    expect(engine.images.list()).toEqual([]);
    expect(engine.db.all("SELECT digest FROM blobs")).toEqual([]);
    expect(engine.db.all("SELECT chain_id FROM layers")).toEqual([]);
    expect(readdirSync(engine.paths.ingest)).toEqual([]);
  }

  const blobs = Object.fromEntries(
    [...image.blobs].map(([digest, bytes]) => [`blobs/sha256/${digestHex(digest)}`, bytes]),
  );
  const layoutIndex = {
    schemaVersion: 2,
    manifests: [
      { ...entry, annotations: { "org.opencontainers.image.ref.name": "localhost/a:1" } },
      { ...entry },
    ],
  } as unknown as Json;

  test("index.json of a layout that is loaded", async () => {
    await fc.assert(
      fc.asyncProperty(spoilt(layoutIndex), fc.boolean(), async (bytes, isFile) => {
        const archive = tarOf({
          "oci-layout": '{"imageLayoutVersion":"1.0.0"}',
          ...blobs,
          "index.json": bytes,
        });
        const source = isFile ? { path: fixture.file("archive.tar", archive) } : streamOf(archive);
        await attemptAll(() => load(ctx, fixture.engine, { source }));
      }),
      { numRuns: RUNS / 6 },
    );
  }, 600_000);

  test("manifest.json of a docker-archive that is loaded", async () => {
    const files = dockerArchive(image, [first, tarOf({ "etc/two": "2" })], ["x:1", "y:2"]);
    const manifest = JSON.parse(files["manifest.json"] as string) as Json;
    await fc.assert(
      fc.asyncProperty(spoilt(manifest), fc.boolean(), async (bytes, isFile) => {
        const archive = tarOf({ ...files, "manifest.json": bytes });
        const source = isFile ? { path: fixture.file("archive.tar", archive) } : streamOf(archive);
        await attemptAll(() => load(ctx, fixture.engine, { source }));
      }),
      { numRuns: RUNS / 6 },
    );
  }, 600_000);

  test("all documents of a layout that is copied", async () => {
    const from = join(fixture.path, "layout");
    const to = join(fixture.path, "copied");
    mkdirSync(join(from, "blobs/sha256"), { recursive: true });
    writeFileSync(join(from, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    for (const [name, bytes] of Object.entries(blobs)) writeFileSync(join(from, name), bytes);
    const copy = async (destination: string): Promise<void> => {
      await copyImage(ctx, fixture.engine, {
        source: parsePlace(`oci:${from}`),
        destination: parsePlace(destination),
        sourceRegistry: {},
        destinationRegistry: {},
        multiArch: "all",
        preserveDigests: false,
        referrers: false,
        names: [],
      });
    };
    await fc.assert(
      fc.asyncProperty(
        spoilt(layoutIndex),
        spoilt(json(image.manifest), index),
        fc.boolean(),
        async (top, inner, isInner) => {
          const described = describeBytes(image.mediaType, inner);
          writeFileSync(join(from, "blobs/sha256", digestHex(described.digest)), inner);
          const list = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [described] }));
          writeFileSync(join(from, "index.json"), isInner ? list : top);
          await attemptAll(() => copy("berth:localhost/copied:1"));
          await attemptAll(() => copy(`oci:${to}`));
          if (existsSync(to)) rmSync(to, { recursive: true });
          rmSync(join(from, "blobs/sha256", digestHex(described.digest)));
          for (const [name, bytes] of Object.entries(blobs)) writeFileSync(join(from, name), bytes);
        },
      ),
      { numRuns: RUNS / 6 },
    );
  }, 600_000);
});
