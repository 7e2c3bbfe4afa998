import { describe, expect, test } from "bun:test";
import {
  convertIndex,
  type Converted,
  convertManifest,
  layerCompression,
  layerMediaType,
} from "./convert.ts";
import { digestOf } from "./digest.ts";
import type { Index, Manifest } from "./image.ts";
import { parseManifest } from "./manifest.ts";

const DIGEST = (char: string) => `sha256:${char.repeat(64)}`;
const text = (value: object) => new TextEncoder().encode(JSON.stringify(value, null, 4));
const parsed = (bytes: Uint8Array) => JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;

const oci = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: DIGEST("c"), size: 7, unknown: 1 },
  layers: [
    {
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      digest: DIGEST("1"),
      size: 1,
      annotations: { a: "b" },
      unknown: true,
    },
    {
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
      digest: DIGEST("2"),
      size: 2,
      urls: ["https://a.example/x"],
    },
  ],
  annotations: { x: "y" },
  subject: { mediaType: "x/y", digest: DIGEST("5"), size: 1 },
  unknown: [1],
};

function manifestOf(document: object): { bytes: Uint8Array; manifest: Manifest } {
  const bytes = text(document);
  return { bytes, manifest: parseManifest(bytes) as Manifest };
}

describe("a manifest", () => {
  test("that needs no change keeps its bytes", () => {
    const original = manifestOf(oci);
    const same = convertManifest(original, { format: "oci", layers: original.manifest.layers });
    expect(same).toMatchObject({ changed: false, digest: digestOf(original.bytes) });
    expect(same.bytes).toBe(original.bytes);
  });

  test("with another layer keeps what is unknown, but not what was said of the layer that is gone", () => {
    const original = manifestOf(oci);
    const fresh = { mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", digest: DIGEST("9"), size: 9 };
    const [, foreign] = original.manifest.layers;
    const made = convertManifest(original, { format: "oci", layers: [fresh, foreign as never] });
    expect(parsed(made.bytes)).toEqual({ ...oci, layers: [fresh, oci.layers[1]] });
    expect(made.digest).toBe(digestOf(made.bytes));
  });

  test("in Docker's words has only what Docker knows, and comes back as OCI's with the same blobs", () => {
    const original = manifestOf(oci);
    const docker = convertManifest(original, { format: "docker", layers: original.manifest.layers });
    expect(parsed(docker.bytes)).toEqual({
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.v2+json",
      config: { mediaType: "application/vnd.docker.container.image.v1+json", digest: DIGEST("c"), size: 7 },
      layers: [
        { mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", digest: DIGEST("1"), size: 1 },
        {
          mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar",
          digest: DIGEST("2"),
          size: 2,
          urls: ["https://a.example/x"],
        },
      ],
    });
    const again = manifestOf(parsed(docker.bytes));
    const back = convertManifest(again, { format: "oci", layers: again.manifest.layers });
    const layers = parsed(back.bytes)["layers"] as { mediaType: string }[];
    expect(layers.map((layer) => layer.mediaType)).toEqual(oci.layers.map((layer) => layer.mediaType));
  });

  test("with zstd layers, or of an artifact, does not fit into Docker's words", () => {
    const zstd = { mediaType: "application/vnd.oci.image.layer.v1.tar+zstd", digest: DIGEST("9"), size: 9 };
    const image = manifestOf({ ...oci, layers: [zstd] });
    expect(() => convertManifest(image, { format: "docker", layers: image.manifest.layers })).toThrow(
      "has no zstd layers",
    );
    const artifact = manifestOf({ ...oci, config: { ...oci.config, mediaType: "a/b" }, layers: [] });
    expect(() => convertManifest(artifact, { format: "docker", layers: [] })).toThrow(
      'an artifact of type "a/b"',
    );
  });
});

test("an index names its converted children, with their size and type, and nothing inline", () => {
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      {
        mediaType: oci.mediaType,
        digest: DIGEST("a"),
        size: 1,
        data: "AA==",
        platform: { os: "linux", architecture: "amd64" },
        annotations: { kept: "yes" },
      },
      { mediaType: oci.mediaType, digest: DIGEST("b"), size: 2 },
    ],
    annotations: { x: "y" },
  };
  const bytes = text(index);
  const original = { bytes, index: parseManifest(bytes) as Index };
  expect(convertIndex(original, { format: "oci", children: new Map() })).toMatchObject({
    changed: false,
    bytes,
  });
  const child: Converted = {
    bytes: new Uint8Array(77),
    digest: DIGEST("d"),
    mediaType: "application/vnd.docker.distribution.manifest.v2+json",
    changed: true,
  };
  const { manifests } = parsed(
    convertIndex(original, { format: "oci", children: new Map([[DIGEST("a"), child]]) }).bytes,
  ) as unknown as Index;
  const [first, second] = manifests;
  expect(first).toEqual({
    mediaType: child.mediaType,
    digest: DIGEST("d"),
    size: 77,
    platform: { os: "linux", architecture: "amd64" },
    annotations: { kept: "yes" },
  });
  expect(second).toEqual(index.manifests[1] as never);
  const docker = convertIndex(original, { format: "docker", children: new Map([[DIGEST("a"), child]]) });
  expect(parsed(docker.bytes)).toEqual({
    schemaVersion: 2,
    mediaType: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifests: [
      {
        mediaType: child.mediaType,
        size: 77,
        digest: DIGEST("d"),
        platform: { os: "linux", architecture: "amd64" },
      },
      { mediaType: oci.mediaType, size: 2, digest: DIGEST("b") },
    ],
  });
});

test("media types of layers say their compression, and are made of it again", () => {
  for (const format of ["oci", "docker"] as const)
    for (const compression of ["none", "gzip", "zstd"] as const)
      for (const isForeign of [false, true])
        expect(layerCompression(layerMediaType(format, compression, isForeign))).toBe(compression);
});
