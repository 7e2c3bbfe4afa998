/** An index of two platforms and an attestation, as a store has it that has pulled all of them. */
import { createCtx } from "../../src/core/ctx.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { digestOf } from "../../src/image/digest.ts";
import { makeImage, type MadeImage, streamOf, tarOf } from "./engine.ts";

export interface StoredIndex {
  bytes: Uint8Array;
  digest: string;
  mediaType: string;
  /** For linux/amd64 and linux/s390x. */
  images: MadeImage[];
  /** Platform unknown/unknown; an index of Docker's family has none. */
  statement: MadeImage;
}

const INDEX = {
  oci: "application/vnd.oci.image.index.v1+json",
  docker: "application/vnd.docker.distribution.manifest.list.v2+json",
};

export function makeIndex(family: "oci" | "docker" = "oci"): StoredIndex {
  const images = ["amd64", "s390x"].map((architecture) =>
    makeImage([tarOf({ "etc/arch": architecture })], { family, config: { architecture } }),
  );
  const statement = makeImage([tarOf({ statement: "{}" })]);
  const entry = (image: MadeImage, os: string, architecture: string) => ({
    mediaType: image.mediaType,
    digest: image.manifestDigest,
    size: image.manifest.length,
    platform: { os, architecture },
  });
  const [amd64, s390x] = images as [MadeImage, MadeImage];
  const manifests = [entry(amd64, "linux", "amd64"), entry(s390x, "linux", "s390x")];
  if (family === "oci") manifests.push(entry(statement, "unknown", "unknown"));
  const mediaType = INDEX[family];
  // Indented so that nobody's JSON writer gives the same bytes.
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }, null, 3));
  return { bytes, digest: digestOf(bytes), mediaType, images, statement };
}

/** Into the store under the name; of a sparse one only the first image is there. */
export async function storeIndex(
  engine: Engine,
  name: string,
  options: { sparse?: boolean; family?: "oci" | "docker" } = {},
): Promise<StoredIndex> {
  const index = makeIndex(options.family);
  const { bytes, digest, mediaType, images, statement } = index;
  using lease = engine.leases.take("load");
  for (const image of options.sparse === true ? images.slice(0, 1) : [...images, statement]) {
    for (const [blob, content] of image.blobs)
      await engine.content.ingest(createCtx(), streamOf(content), { digest: blob }, lease);
  }
  engine.manifests.put({ bytes, digest, mediaType, names: [name] });
  return index;
}

/** Files of an OCI layout with this index under a name. */
export function layoutFiles(index: StoredIndex, name: string): Record<string, string | Uint8Array> {
  const files: Record<string, string | Uint8Array> = {
    "oci-layout": '{"imageLayoutVersion":"1.0.0"}',
    [`blobs/sha256/${index.digest.slice(7)}`]: index.bytes,
    "index.json": JSON.stringify({
      schemaVersion: 2,
      manifests: [
        {
          mediaType: index.mediaType,
          digest: index.digest,
          size: index.bytes.length,
          annotations: { "org.opencontainers.image.ref.name": name },
        },
      ],
    }),
  };
  for (const image of [...index.images, index.statement])
    for (const [digest, bytes] of image.blobs) files[`blobs/sha256/${digest.slice(7)}`] = bytes;
  return files;
}
