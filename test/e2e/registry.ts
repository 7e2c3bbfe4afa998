/** What tests of pull and push put into a registry by hand: indexes, broken blobs; and a busybox image as a registry keeps it. */
import { digestOf, type FakeRegistry } from "../fake/registry.ts";

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
}

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
}

export interface Stored {
  /** Digest of the manifest. */
  digest: string;
  size: number;
  layer: string;
  config: string;
}

/** Puts an image of one layer into the fake registry under this tag. `layer` is a tar, stored as gzip. */
export function putImage(
  registry: FakeRegistry,
  tag: string,
  image: {
    tar: Uint8Array<ArrayBuffer>;
    platform?: Platform;
    cmd?: string[];
    labels?: Record<string, string>;
  },
): Stored {
  const layer = registry.addBlob(Bun.gzipSync(image.tar));
  const config = registry.addBlob(
    JSON.stringify({
      ...(image.platform ?? { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch }),
      config: { Cmd: image.cmd ?? ["/bin/sh"], Env: ["PATH=/bin:/sbin"], Labels: image.labels ?? {} },
      rootfs: { type: "layers", diff_ids: [digestOf(image.tar)] },
      history: [],
    }),
  );
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { ...config, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: [{ ...layer, mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }],
  };
  const digest = registry.addManifest(tag, manifest);
  return { digest, size: JSON.stringify(manifest).length, layer: layer.digest, config: config.digest };
}

/** Puts an index of these images under the tag. */
export function putIndex(
  registry: FakeRegistry,
  tag: string,
  images: { stored: Stored; platform: Platform }[],
): string {
  const manifests = images.map(({ stored, platform }): Descriptor & { platform: Platform } => ({
    mediaType: OCI_MANIFEST,
    digest: stored.digest,
    size: stored.size,
    platform,
  }));
  return registry.addManifest(tag, { schemaVersion: 2, mediaType: OCI_INDEX, manifests }, OCI_INDEX);
}
