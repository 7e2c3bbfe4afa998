/**
 * Images as the OCI image specification 1.1 words them. Pure formats, no I/O.
 *
 * Vocabulary: a *descriptor* names bytes by digest and size. A *manifest* lists a config and
 * layers; an *index* lists manifests per platform. *digest* is of the bytes as stored or sent
 * (compressed); *diffId* is the digest of a layer's uncompressed tar; *chainId* names a stack of
 * layers: chain(1) = diff(1), chain(n) = sha256(chain(n-1) + " " + diff(n)). The *image id* is the
 * digest of the config. Manifests and configs are kept byte-exact and never re-serialised.
 *
 * Worked example: "alpine:3.20" → parseReference → registry "docker.io", repository
 * "library/alpine", tag "3.20" → index → selectPlatform → manifest → config + layers.
 */

/** `algorithm:hex`, validated by parseDigest (digest.ts) before it may become a path or URL. */
export type Digest = string & { readonly __digest?: never };

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  /** Bytes; never negative. */
  size: number;
  urls?: string[];
  annotations?: Record<string, string>;
  platform?: Platform;
  artifactType?: string;
  /** Base64; verified against digest and size before use. */
  data?: string;
}

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
  "os.version"?: string;
  "os.features"?: string[];
}

export interface Manifest {
  schemaVersion: 2;
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Record<string, string>;
  subject?: Descriptor;
  artifactType?: string;
}

export interface Index {
  schemaVersion: 2;
  mediaType: string;
  manifests: Descriptor[];
  annotations?: Record<string, string>;
  subject?: Descriptor;
  artifactType?: string;
}

export interface HistoryEntry {
  created?: string;
  created_by?: string;
  author?: string;
  comment?: string;
  empty_layer?: boolean;
}

export interface Healthcheck {
  Test?: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

/** The `config` object inside an image config; names and casing are the specification's. */
export interface ContainerConfig {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: string[];
  Entrypoint?: string[];
  Cmd?: string[];
  Volumes?: Record<string, object>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Healthcheck?: Healthcheck;
  Shell?: string[];
  OnBuild?: string[];
}

export interface ImageConfig {
  created?: string;
  author?: string;
  architecture: string;
  os: string;
  variant?: string;
  "os.version"?: string;
  config: ContainerConfig;
  rootfs: { type: "layers"; diff_ids: Digest[] };
  history: HistoryEntry[];
}

/** A parsed image reference; at least one of `tag` and `digest` after `withDefaultTag`. */
export interface Reference {
  /** Host and port: "docker.io", "127.0.0.1:5000". */
  registry: string;
  /** Path on the registry: "library/alpine". */
  repository: string;
  tag?: string;
  digest?: Digest;
}
