/**
 * The client of an OCI distribution registry (distribution-spec 1.1). Knows nothing of the store:
 * `engine/pull.ts` joins the two (source → sink).
 *
 * A client is for one reference's repository, with the mirrors of registries.conf tried in order before the location itself (reads only).
 * Credentials never leave for another host and never reach a log. Plain HTTP only for loopback
 * (127.0.0.0/8, ::1, localhost) and registries marked insecure. Errors: not-found (manifest
 * unknown), unauthenticated, permission-denied, resource-exhausted (429), unavailable, data-loss.
 */
import type { Ctx } from "../core/ctx.ts";
import type { Descriptor, Digest, Reference } from "../image/image.ts";

export interface FetchedManifest {
  bytes: Uint8Array;
  descriptor: Descriptor;
}

/** How a blob got to the registry. */
export type PushedBlob = "exists" | "mounted" | "uploaded";

export interface RegistryClient {
  /** Manifest or index by tag or digest; at most 4 MiB; digest verified when asked by digest or when the registry names one. */
  manifest(ctx: Ctx, tagOrDigest: string): Promise<FetchedManifest>;
  /** The blob's bytes from `offset`; size and digest are verified by the receiver. Broken connections are resumed with Range, with back-off. */
  blob(ctx: Ctx, descriptor: Descriptor, offset?: number): AsyncIterable<Uint8Array>;
  hasBlob(ctx: Ctx, digest: Digest): Promise<boolean>;
  /**
   * Nothing is sent if the registry has the blob, or can mount it from one of `from`, other repositories on the same host.
   * `open` is called for every try and gives the bytes from the beginning. A broken upload goes on where it stopped, in its session.
   */
  pushBlob(
    ctx: Ctx,
    descriptor: Descriptor,
    open: () => AsyncIterable<Uint8Array>,
    from?: string | readonly string[],
  ): Promise<PushedBlob>;
  /** As {@link pushBlob} for a blob whose bytes are not at hand: undefined where they would have to be sent. */
  mountBlob(
    ctx: Ctx,
    digest: Digest,
    from?: readonly string[],
  ): Promise<Exclude<PushedBlob, "uploaded"> | undefined>;
  /**
   * Returns the digest the registry knows it by. A manifest with a `subject` is found by {@link referrers} afterwards: where the
   * registry does not see to that itself, the index at the fall-back tag is brought up to date (distribution-spec,
   * "Pushing Manifests with Subject"). Errors: aborted if others keep writing that index.
   */
  pushManifest(ctx: Ctx, tagOrDigest: string, mediaType: string, bytes: Uint8Array): Promise<Digest>;
  /**
   * Removes a manifest, with every tag that stands for it; where it was listed as a referrer by hand, its entry goes too.
   * Errors: not-found, permission-denied (the registry does not delete).
   */
  deleteManifest(ctx: Ctx, digest: Digest): Promise<void>;
  /**
   * What is attached to a manifest, of one artifact type or of all; empty where nothing is (also for an unknown subject). From
   * the referrers API, page by page, else from the index at the fall-back tag. `artifactType` and `annotations` are as the
   * attached manifest has them, as far as the registry and whoever pushed it kept to the specification; nothing in the list is verified
   * but its form. Errors: resource-exhausted for lists without an end, those of the registry.
   */
  referrers(ctx: Ctx, subject: Digest, artifactType?: string): Promise<Descriptor[]>;
  tags(ctx: Ctx): Promise<string[]>;
}

export interface Credentials {
  username: string;
  password: string;
}

export interface RegistryOptions {
  credentials?: Credentials;
  /** No credentials are looked for. */
  anonymous?: boolean;
  /** `--tls-verify=false`: allows plain HTTP and unverified TLS for this call. */
  tlsVerify?: boolean;
  /** Alternative to /etc/containers/registries.conf (and its .d), for tests and `--registries-conf`. */
  registriesConf?: string;
  /** Alternative to the files of containers-auth.json(5) and Docker's config.json. */
  authFile?: string;
  /** Alternative to the file of short names that were chosen before. */
  shortNameAliases?: string;
  /** Asks a person which of several images a short name means; undefined if there is nobody to ask. */
  choose?: ChooseImage;
  /** Holds `*.crt`, `*.cert` and `*.key` for this call, in place of certs.d. */
  certDir?: string;
  /** Other patience than the default; for tests and impatient callers. */
  retry?: Partial<RetryPolicy>;
}

export interface ShortNameQuestion {
  /** As the person wrote it. */
  name: string;
  candidates: string[];
}

/** One of the candidates. */
export type ChooseImage = (ctx: Ctx, question: ShortNameQuestion) => Promise<string | undefined>;

export interface RetryPolicy {
  /** Tries after the first one without progress. Default 5. */
  retries: number;
  /** First pause; doubles every time up to a minute. Default 1000. */
  baseMs: number;
  /** A connection that gives nothing for this long is taken for dead. Default 30,000. */
  stallMs: number;
}

/** Signature of `openRegistry` in client.ts. */
export type OpenRegistry = (reference: Reference, options?: RegistryOptions) => RegistryClient;
