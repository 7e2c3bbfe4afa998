/** Media types of the OCI image specification 1.1 and of Docker schema 2, and what each of them means. */

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
export const OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
export const OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
/** Of `{}`: the config of an artifact that has none, and the one layer of an artifact without files. */
export const OCI_EMPTY = "application/vnd.oci.empty.v1+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
export const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
export const DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/** Cosign 2: the payload of one signature, as a layer; and what holds such layers where it is attached as a referrer. */
export const COSIGN_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json";
export const COSIGN_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json";
const DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1";

/** What a client asks a registry for, best first. */
export const MANIFEST_ACCEPT = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");

export function isIndexType(mediaType: string): boolean {
  return mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
}

export function isSchema1Type(mediaType: string): boolean {
  return mediaType.startsWith(DOCKER_SCHEMA1);
}

/** True for the two kinds of config that describe a file system to run; anything else is an artifact. */
export function isImageConfigType(mediaType: string): boolean {
  return mediaType === OCI_CONFIG || mediaType === DOCKER_CONFIG;
}

/** True for a layer that is a tar archive, compressed or not, distributable or not. */
export function isLayerType(mediaType: string): boolean {
  return (
    /^application\/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?$/.test(mediaType) ||
    /^application\/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?$/.test(mediaType)
  );
}

/** Layers that are pulled from their `urls` and never pushed. */
export function isForeignLayerType(mediaType: string): boolean {
  return mediaType.includes(".nondistributable.") || mediaType.includes(".foreign.");
}

/** The media type without parameters, lower case: what a Content-Type header names. */
export function bareMediaType(contentType: string): string {
  return (contentType.split(";")[0] as string).trim().toLowerCase();
}

/** A Sigstore bundle of any version: "application/vnd.dev.sigstore.bundle.v0.3+json", "…bundle+json;version=0.2". */
export function isSigstoreBundleType(mediaType: string): boolean {
  return /^application\/vnd\.dev\.sigstore\.bundle(\.v\d+\.\d+\+json|\+json(;version=\d+\.\d+)?)$/.test(
    mediaType,
  );
}
