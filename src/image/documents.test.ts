// Manifests, indexes and configs: what is read, what is refused, and that nothing but an EngineError ever comes out.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { chainIds } from "./chain.ts";
import { MAX_CONFIG_BYTES, parseConfig } from "./config.ts";
import { digestAlgorithm, digestHex, digestOf, isDigest, parseDigest } from "./digest.ts";
import type { Manifest } from "./image.ts";
import { isIndex, MAX_MANIFEST_BYTES, parseManifest } from "./manifest.ts";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  isLayerType,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER_GZIP,
  OCI_MANIFEST,
} from "./media-types.ts";

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error("it was not refused");
}

const DIGEST = `sha256:${"0a".repeat(32)}`;
const bytes = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const descriptor = { mediaType: OCI_CONFIG, digest: DIGEST, size: 7 };
const manifest = {
  schemaVersion: 2,
  mediaType: OCI_MANIFEST,
  config: descriptor,
  layers: [{ mediaType: OCI_LAYER_GZIP, digest: DIGEST, size: 9 }],
};
const index = {
  schemaVersion: 2,
  mediaType: OCI_INDEX,
  manifests: [{ ...descriptor, mediaType: OCI_MANIFEST }],
};
const { mediaType: _, ...untyped } = manifest;

describe("digests", () => {
  test("the registered algorithms with their exact length", () => {
    expect(parseDigest(DIGEST)).toBe(DIGEST);
    const long = `sha512:${"0a".repeat(64)}`;
    expect([digestAlgorithm(parseDigest(long)), digestHex(long)]).toEqual(["sha512", "0a".repeat(64)]);
    expect(digestOf("")).toBe("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  });

  test.each([
    "",
    "sha256",
    "sha256:",
    `sha256:${"0A".repeat(32)}`,
    `sha256:${"0a".repeat(31)}`,
    `sha256:${"0a".repeat(33)}`,
    `sha512:${"0a".repeat(32)}`,
    `md5:${"0a".repeat(16)}`,
    `sha256:../../${"0".repeat(58)}`,
    `sha256:${"0a".repeat(32)}\n`,
    ` sha256:${"0a".repeat(32)}`,
    "constructor:aa",
    `sha256:${"a".repeat(10_000_000)}`,
  ])("%.40p is refused", (text) => {
    expect(isDigest(text)).toBe(false);
    expect(() => parseDigest(text)).toThrow(/^invalid digest "/);
    try {
      parseDigest(text);
    } catch (error) {
      expect((error as Error).message.length).toBeLessThan(200);
    }
  });
});

test("chain ids follow the specification", () => {
  const [a, b, c] = [digestOf("a"), digestOf("b"), digestOf("c")];
  const ab = digestOf(`${a} ${b}`);
  expect(chainIds([a, b, c])).toEqual([a, ab, digestOf(`${ab} ${c}`)]);
  expect(chainIds([])).toEqual([]);
});

describe("manifests", () => {
  test("image and index, with and without a media type", () => {
    expect(parseManifest(bytes(manifest))).toEqual(manifest as Manifest);
    expect(isIndex(parseManifest(bytes(index), OCI_INDEX))).toBe(true);
    expect(parseManifest(bytes(untyped)).mediaType).toBe(OCI_MANIFEST);
    expect(parseManifest(bytes(untyped), DOCKER_MANIFEST).mediaType).toBe(DOCKER_MANIFEST);
    expect(parseManifest(bytes({ schemaVersion: 2, manifests: null }), "application/json").mediaType).toBe(
      OCI_INDEX,
    );
    expect(parseManifest(bytes({ ...untyped, layers: null })) as Manifest).toMatchObject({ layers: [] });
    expect(parseManifest(bytes({ ...manifest, "x-unknown": [1, { a: 2 }] })) as Manifest).toEqual(
      manifest as Manifest,
    );
  });

  const refused: [name: string, document: unknown, expected: string | undefined, part: RegExp][] = [
    ["layers and manifests", { ...manifest, manifests: [] }, undefined, /both manifests and layers/],
    ["the same in another case", { ...index, Layers: [] }, undefined, /both manifests and layers/],
    ["index served as manifest", index, OCI_MANIFEST, /served as/],
    ["manifest served as index", untyped, OCI_INDEX, /does not fit/],
    ["docker served as OCI", { ...manifest, mediaType: DOCKER_MANIFEST }, OCI_MANIFEST, /served as/],
    ["typed as index", { ...manifest, mediaType: DOCKER_LIST }, undefined, /does not fit/],
    ["unknown type", { ...manifest, mediaType: "text/x" }, undefined, /unknown media type "text\/x"/],
    ["schema 1", { schemaVersion: 1, fsLayers: [], name: "x" }, undefined, /schema 1/],
    ["schema 1 by header", manifest, "application/vnd.docker.distribution.manifest.v1+prettyjws", /schema 1/],
    ["version 3", { ...manifest, schemaVersion: 3 }, undefined, /schemaVersion/],
    ["no config", { ...manifest, config: undefined }, undefined, /config is not an object/],
    ["null layer", { ...manifest, layers: [null] }, undefined, /layers\[0\] is not an object/],
    ["layers not a list", { ...manifest, layers: {} }, undefined, /not a list/],
    ["negative size", { ...manifest, config: { ...descriptor, size: -1 } }, undefined, /config.size/],
    ["fractional size", { ...manifest, config: { ...descriptor, size: 1.5 } }, undefined, /config.size/],
    ["huge size", { ...manifest, config: { ...descriptor, size: 1e300 } }, undefined, /config.size/],
    ["text size", { ...manifest, config: { ...descriptor, size: "7" } }, undefined, /config.size/],
    [
      "path as digest",
      { ...manifest, config: { ...descriptor, digest: "sha256:../../x" } },
      undefined,
      /invalid digest/,
    ],
    ["list", [], undefined, /not an object/],
    ["null", "null", undefined, /not an object/],
    ["not JSON", "{", undefined, /not JSON/],
    ["nothing", "", undefined, /not JSON/],
    ["deep nesting", `{"a":${"[".repeat(100_000)}`, undefined, /nested deeper/],
    ["annotations of numbers", { ...manifest, annotations: { a: 1 } }, undefined, /annotations "a"/],
  ];
  test.each(refused)("%s is refused", (_name, document, expected, part) => {
    expect(() => parseManifest(bytes(document), expected)).toThrow(part);
  });

  test("more than 4 MiB and bad UTF-8 are refused", () => {
    expect(() => parseManifest(new Uint8Array(MAX_MANIFEST_BYTES + 1))).toThrow(/more than the limit/);
    expect(() => parseManifest(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))).toThrow(/UTF-8/);
  });

  test("what a document says does not reach the terminal as it is", () => {
    const texts = [
      "\u001b[2J",
      `{"annotations":{"\u001b[2J":7},"schemaVersion":2,"manifests":[]}`,
      "x".repeat(100_000),
    ];
    for (const text of texts) {
      const problem = messageOf(() => parseManifest(bytes(text)));
      expect(problem).toMatch(/^invalid manifest: \P{Cc}+$/u);
      expect(problem.length).toBeLessThan(600);
    }
  });

  test("hostile keys are data", () => {
    const parsed = parseManifest(bytes(`{"schemaVersion":2,"manifests":[],"annotations":{"__proto__":"x"}}`));
    expect(Object.keys(parsed.annotations ?? {})).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
  });

  test("any JSON gives a manifest or an EngineError", () => {
    const field = fc.oneof(
      fc.jsonValue(),
      fc.constant([descriptor]),
      fc.constant(descriptor),
      fc.constant(2),
    );
    const document = fc.dictionary(
      fc.constantFrom(
        "schemaVersion",
        "mediaType",
        "config",
        "layers",
        "manifests",
        "annotations",
        "subject",
      ),
      field,
    );
    fc.assert(
      fc.property(fc.oneof(document, fc.jsonValue()), (value) => {
        for (const parse of [parseManifest, parseConfig]) {
          try {
            parse(bytes(value));
          } catch (error) {
            expect((error as Error).name).toBe("EngineError");
          }
        }
      }),
    );
  });
});

test("layer types", () => {
  expect(isLayerType(OCI_LAYER_GZIP)).toBe(true);
  expect(isLayerType("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")).toBe(true);
  expect(isLayerType("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd")).toBe(true);
  expect(isLayerType("application/vnd.in-toto+json")).toBe(false);
});

describe("configs", () => {
  const rootfs = { type: "layers", diff_ids: [DIGEST] };

  test("nulls everywhere", () => {
    const parsed = parseConfig(
      bytes({
        architecture: "arm64",
        os: "linux",
        created: null,
        author: null,
        history: null,
        config: {
          Env: null,
          Cmd: null,
          Entrypoint: null,
          Labels: null,
          Volumes: null,
          ExposedPorts: { "80/tcp": null },
        },
        rootfs: { type: "layers", diff_ids: null },
      }),
    );
    expect(parsed).toEqual({
      architecture: "arm64",
      os: "linux",
      config: { ExposedPorts: { "80/tcp": {} } },
      rootfs: { type: "layers", diff_ids: [] },
      history: [],
    });
    expect(parseConfig(bytes({ rootfs, config: null })).os).toBe("linux");
  });

  test("everything a config can say", () => {
    const config = {
      User: "1:2",
      ExposedPorts: { "80/tcp": {} },
      Env: ["A=b"],
      Entrypoint: ["/x"],
      Cmd: ["y"],
      Volumes: { "/v": {} },
      WorkingDir: "/w",
      Labels: { a: "b" },
      StopSignal: "SIGINT",
      Healthcheck: {
        Test: ["CMD", "x"],
        Interval: 1,
        Timeout: 2,
        StartPeriod: 3,
        StartInterval: 4,
        Retries: 5,
      },
      Shell: ["/bin/bash", "-c"],
      OnBuild: ["RUN x"],
    };
    const history = [{ created: "t", created_by: "b", author: "a", comment: "c" }, { empty_layer: true }];
    const whole = {
      created: "t",
      author: "me",
      architecture: "arm",
      os: "linux",
      variant: "v7",
      config,
      rootfs,
      history,
    };
    const parsed = parseConfig(bytes({ ...whole, id: "ignored", "docker-extension": 1 }));
    expect(JSON.parse(JSON.stringify(parsed))).toEqual(whole);
    expect(parseConfig(bytes({ rootfs, config: { Cmd: "sh" } })).config.Cmd).toEqual(["sh"]);
  });

  test.each([
    ["no rootfs", {}, /rootfs is not an object/],
    ["rootfs of another type", { rootfs: { type: "base" } }, /rootfs.type/],
    ["a diff id that is a path", { rootfs: { type: "layers", diff_ids: ["../x"] } }, /invalid digest/],
    ["too much history", { rootfs, history: [{}, {}] }, /names 2 layers but rootfs has 1/],
    ["null history entry", { rootfs, history: [null] }, /history\[0\]/],
    ["env of numbers", { rootfs, config: { Env: [1] } }, /config.Env/],
    ["config as a list", { rootfs, config: [] }, /config is not an object/],
  ] as [string, unknown, RegExp][])("%s is refused", (_name, document, part) => {
    expect(() => parseConfig(bytes(document))).toThrow(part);
  });

  test("the size limit", () => {
    expect(() => parseConfig(new Uint8Array(MAX_CONFIG_BYTES + 1))).toThrow(/more than the limit/);
  });
});
