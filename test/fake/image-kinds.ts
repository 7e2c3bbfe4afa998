/** Images of every kind, as OCI layouts on disk that nobody's writer has touched: to be copied about and compared byte for byte. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { digestOf } from "../../src/image/digest.ts";
import type { Descriptor } from "../../src/image/image.ts";
import { describe, type MadeImage, makeImage, tarOf } from "./engine.ts";

export interface Kind {
  /** The top document. */
  top: Descriptor;
  bytes: Uint8Array;
  /** Everything that belongs to it, the top document too. */
  blobs: Map<string, Uint8Array>;
}

/** Layers of their own for each kind: the store keeps a layer once, in the compression it came with first. */
function layersOf(kind: string): [Uint8Array, Uint8Array] {
  return [
    tarOf({ "etc/one": `${kind}\n`, "usr/share/big": Buffer.alloc(300_000, `${kind} `) }),
    tarOf({ "etc/two": `${kind}\n` }),
  ];
}

function kindOf(image: MadeImage): Kind {
  const { manifest, manifestDigest, mediaType, blobs } = image;
  return { top: { mediaType, digest: manifestDigest, size: manifest.length }, bytes: manifest, blobs };
}

/** An index of these, with spaces in it as people write JSON. */
export function indexOf(entries: { kind: Kind; more?: object }[], fields: object = {}): Kind {
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const manifests = entries.map(({ kind, more }) => ({ ...kind.top, ...more }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests, ...fields }, null, 3));
  const blobs = new Map(entries.flatMap(({ kind }) => [...kind.blobs]));
  return withTop(describe(mediaType, bytes), bytes, blobs);
}

function withTop(top: Descriptor, bytes: Uint8Array, blobs: Map<string, Uint8Array>): Kind {
  return { top, bytes, blobs: new Map([...blobs, [top.digest, bytes]]) };
}

/** Not an image: config of its own type, a layer of any type. */
export function artifact(fields: object = {}, content = "hello"): Kind {
  const config = Buffer.from("{}");
  const layer = Buffer.from(content);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const bytes = Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType,
        artifactType: "application/vnd.example+type",
        config: { ...describe("application/vnd.oci.empty.v1+json", config), data: "e30=" },
        layers: [
          {
            ...describe("text/plain", layer),
            annotations: { "org.opencontainers.image.title": "hello.txt" },
          },
        ],
        ...fields,
      },
      null,
      1,
    ),
  );
  const blobs = new Map<string, Uint8Array>([config, layer].map((blob) => [digestOf(blob), blob]));
  return withTop(describe(mediaType, bytes), bytes, blobs);
}

/** An image whose blobs and manifest have sha512 digests. */
function sha512(): Kind {
  const [, two] = layersOf("sha512");
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: [digestOf(two)] },
    }),
  );
  const long = (mediaType: string, bytes: Uint8Array): Descriptor => ({
    mediaType,
    digest: digestOf(bytes, "sha512"),
    size: bytes.length,
  });
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: long("application/vnd.oci.image.config.v1+json", config),
      layers: [long("application/vnd.oci.image.layer.v1.tar", two)],
    }),
  );
  const blobs = new Map<string, Uint8Array>([config, two].map((blob) => [digestOf(blob, "sha512"), blob]));
  return withTop(long(mediaType, bytes), bytes, blobs);
}

const amd64 = { platform: { os: "linux", architecture: "amd64" } };
const arm64 = { platform: { os: "linux", architecture: "arm64" } };
const attestation = {
  platform: { os: "unknown", architecture: "unknown" },
  annotations: { "vnd.docker.reference.type": "attestation-manifest" },
};

export function imageKinds() {
  const oci = kindOf(makeImage(layersOf("oci")));
  const arm = kindOf(makeImage(layersOf("arm"), { config: { architecture: "arm64" } }));
  const [first, second] = layersOf("twice");
  const flat = indexOf([
    { kind: oci, more: amd64 },
    { kind: arm, more: arm64 },
    { kind: artifact({ artifactType: "application/vnd.in-toto+json" }, "statement"), more: attestation },
  ]);
  return {
    oci,
    docker: kindOf(makeImage(layersOf("docker"), { family: "docker" })),
    zstd: kindOf(makeImage(layersOf("zstd"), { formats: ["zstd", "none"] })),
    empty: kindOf(makeImage([])),
    twice: kindOf(makeImage([second, first, second])),
    index: flat,
    nested: indexOf(
      [
        { kind: flat, more: amd64 },
        { kind: arm, more: arm64 },
      ],
      { annotations: { a: "b" } },
    ),
    artifact: artifact(),
    sha512: sha512(),
  };
}

export type KindName = keyof ReturnType<typeof imageKinds>;

/** Writes the kind as a layout, named `ref`; returns the directory. */
export function writeLayout(directory: string, { top, blobs }: Kind, ref = "v1"): string {
  const write = (name: string, bytes: Uint8Array | string): void => {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), bytes);
  };
  for (const [digest, bytes] of blobs) write(`blobs/${digest.replace(":", "/")}`, bytes);
  write("oci-layout", '{"imageLayoutVersion":"1.0.0"}');
  const manifests = [{ ...top, annotations: { "org.opencontainers.image.ref.name": ref } }];
  write("index.json", JSON.stringify({ schemaVersion: 2, manifests }));
  return directory;
}
