/**
 * Signs images as cosign 2 (simple signing, attached by tag) and cosign 3 (Sigstore bundle, attached by subject) do: with a key, or
 * with a certificate of an authority of our own, on record in a log of our own where that is wanted.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
export const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";
export const SIGN_TYPE = "https://sigstore.dev/cosign/sign/v1";

export interface KeyPair {
  publicKey: KeyObject;
  privateKey: KeyObject;
  /** SubjectPublicKeyInfo. */
  pem: string;
}

export type KeyType = "P-256" | "P-384" | "P-521" | "rsa" | "rsa-1024" | "ed25519";

export function makeKey(type: KeyType = "P-256"): KeyPair {
  const pair = generate(type);
  return { ...pair, pem: pair.publicKey.export({ type: "spki", format: "pem" }) as string };
}

function generate(type: KeyType) {
  if (type === "ed25519") return generateKeyPairSync("ed25519");
  if (type.startsWith("rsa")) {
    return generateKeyPairSync("rsa", { modulusLength: type === "rsa" ? 2048 : 1024 });
  }
  return generateKeyPairSync("ec", { namedCurve: type });
}

function signed(key: KeyPair, bytes: Uint8Array, hash = "sha256"): Buffer {
  return sign(key.privateKey.asymmetricKeyType === "ed25519" ? undefined : hash, bytes, key.privateKey);
}

const b64 = (bytes: Uint8Array | string): string => Buffer.from(bytes as string).toString("base64");
const sha256 = (bytes: Uint8Array | string): Buffer => createHash("sha256").update(bytes).digest();
const spki = (key: KeyPair): Buffer => Buffer.from(key.publicKey.export({ type: "spki", format: "der" }));

export interface Attachment {
  payload: Buffer;
  annotations: Record<string, string>;
}

export interface SignOptions {
  log?: FakeLog;
  certificate?: Certificate;
  /** When the log says that it was made. */
  at?: Date;
}

/** What `cosign sign` of version 2 writes; `reference` with a tag is what podman and skopeo write. */
export function cosign2(
  key: KeyPair,
  claim: { digest: string; reference: string },
  { log, certificate, at }: SignOptions = {},
): Attachment {
  const payload = Buffer.from(
    JSON.stringify({
      critical: {
        identity: { "docker-reference": claim.reference },
        image: { "docker-manifest-digest": claim.digest },
        type: "cosign container image signature",
      },
      optional: null,
    }),
  );
  return attachment(key, payload, {
    ...(log && { log }),
    ...(certificate && { certificate }),
    ...(at && { at }),
  });
}

/** Any payload, signed. */
export function attachment(key: KeyPair, payload: Buffer, options: SignOptions = {}): Attachment {
  const signature = signed(key, payload);
  const annotations: Record<string, string> = { "dev.cosignproject.cosign/signature": b64(signature) };
  const { log, certificate, at } = options;
  if (certificate !== undefined) {
    annotations["dev.sigstore.cosign/certificate"] = certificate.pem;
    if (certificate.chain !== undefined) annotations["dev.sigstore.cosign/chain"] = certificate.chain;
  }
  if (log !== undefined) {
    const body = hashedRekord(payload, signature, certificate?.pem ?? key.pem);
    const { integratedTime, logIndex, logID, set } = log.promise(body, at);
    annotations["dev.sigstore.cosign/bundle"] = JSON.stringify({
      SignedEntryTimestamp: set,
      Payload: { body: b64(body), integratedTime, logIndex, logID },
    });
  }
  return { payload, annotations };
}

function hashedRekord(payload: Uint8Array, signature: Uint8Array, verifier: string): string {
  return JSON.stringify({
    apiVersion: "0.0.1",
    kind: "hashedrekord",
    spec: {
      data: { hash: { algorithm: "sha256", value: sha256(payload).toString("hex") } },
      signature: { content: b64(signature), publicKey: { content: b64(verifier) } },
    },
  });
}

export interface Statement {
  digest: string;
  name?: string;
  predicateType?: string;
  payloadType?: string;
  type?: string;
  hash?: string;
}

/** What `cosign sign` of version 3 writes. */
export function cosign3(key: KeyPair, statement: Statement, options: SignOptions = {}): object {
  const { digest, name, predicateType = SIGN_TYPE, payloadType = "application/vnd.in-toto+json" } = statement;
  const [algorithm = "", hex] = digest.split(":");
  const payload = JSON.stringify({
    _type: statement.type ?? "https://in-toto.io/Statement/v1",
    subject: [{ ...(name === undefined ? {} : { name }), digest: { [algorithm]: hex } }],
    predicateType,
    predicate: {},
  });
  const pae = `DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} ${payload}`;
  const signature = signed(key, Buffer.from(pae), statement.hash);
  const verifier = options.certificate?.pem ?? key.pem;
  const body = JSON.stringify({
    apiVersion: "0.0.1",
    kind: "dsse",
    spec: {
      envelopeHash: { algorithm: "sha256", value: "00" },
      payloadHash: { algorithm: "sha256", value: sha256(payload).toString("hex") },
      signatures: [{ signature: b64(signature), verifier: b64(verifier) }],
    },
  });
  return {
    mediaType: BUNDLE_TYPE,
    verificationMaterial: material(key, body, { kind: "dsse", options }),
    dsseEnvelope: { payload: b64(payload), payloadType, signatures: [{ sig: b64(signature) }] },
  };
}

/** A bundle over the manifest's bytes themselves. */
export function messageBundle(key: KeyPair, manifest: Uint8Array, options: SignOptions = {}): object {
  const signature = signed(key, manifest);
  const body = hashedRekord(manifest, signature, options.certificate?.pem ?? key.pem);
  return {
    mediaType: BUNDLE_TYPE,
    verificationMaterial: material(key, body, { kind: "hashedrekord", options }),
    messageSignature: {
      messageDigest: { algorithm: "SHA2_256", digest: b64(sha256(manifest)) },
      signature: b64(signature),
    },
  };
}

function material(
  key: KeyPair,
  body: string,
  { kind, options }: { kind: string; options: SignOptions },
): object {
  const { log, certificate, at } = options;
  const signer =
    certificate === undefined
      ? { publicKey: { hint: b64(sha256(spki(key))) } }
      : { certificate: { rawBytes: certificate.pem.replace(/-----[^-]+-----|\s/g, "") } };
  return { ...signer, tlogEntries: log === undefined ? [] : [log.entry(body, kind, at)] };
}

/** A transparency log as Rekor 1 is one, with one entry. */
export class FakeLog {
  readonly key: KeyPair;
  readonly #name: string;

  constructor(type: KeyType = "P-256", name = "rekor.example") {
    this.key = makeKey(type);
    this.#name = name;
  }

  get id(): Buffer {
    return sha256(spki(this.key));
  }

  /** A signed entry timestamp. */
  promise(body: string, at = new Date()) {
    const integratedTime = Math.floor(at.getTime() / 1000);
    const logID = this.id.toString("hex");
    const said = JSON.stringify({ body: b64(body), integratedTime, logID, logIndex: 7 });
    return { integratedTime, logIndex: 7, logID, set: b64(signed(this.key, Buffer.from(said))) };
  }

  entry(body: string, kind: string, at?: Date): object {
    const { integratedTime, set } = this.promise(body, at);
    const root = sha256(Buffer.concat([Buffer.from([0]), Buffer.from(body)]));
    const note = `${this.#name} - 1\n1\n${b64(root)}\n`;
    const signature = Buffer.concat([this.id.subarray(0, 4), signed(this.key, Buffer.from(note))]);
    return {
      logIndex: "7",
      logId: { keyId: b64(this.id) },
      kindVersion: { kind, version: "0.0.1" },
      integratedTime: String(integratedTime),
      inclusionPromise: { signedEntryTimestamp: set },
      inclusionProof: {
        logIndex: "0",
        rootHash: b64(root),
        treeSize: "1",
        hashes: [],
        checkpoint: { envelope: `${note}\n\u2014 ${this.#name} ${b64(signature)}\n` },
      },
      canonicalizedBody: b64(body),
    };
  }
}

export interface Certificate {
  pem: string;
  /** Intermediates and root, PEM. */
  chain?: string;
}

export interface CertificateRequest {
  email?: string;
  issuer?: string;
  /** openssl's words for the extended key usage. */
  usage?: string;
  extra?: string;
  days?: number;
}

/** An authority that gives out certificates as Fulcio does: root, intermediate, leaves. Made with openssl. */
export class FakeAuthority implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "berth-authority-"));
  #next = 0;

  constructor() {
    this.#make("root", { ca: true });
    this.#make("intermediate", { ca: true, from: "root" });
  }

  get root(): string {
    return this.#read("root.crt");
  }

  get intermediate(): string {
    return this.#read("intermediate.crt");
  }

  /** For the key; from the intermediate unless the root is asked for. */
  issue(key: KeyPair, request: CertificateRequest & { from?: "root" } = {}): Certificate {
    const {
      email = "ann@example.com",
      issuer = "https://accounts.example.com",
      usage = "codeSigning",
    } = request;
    const name = `leaf${this.#next++}`;
    const pem = key.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    writeFileSync(join(this.#dir, `${name}.key`), pem);
    const extensions = [
      `subjectAltName=critical,email:${email}`,
      `extendedKeyUsage=${usage}`,
      `1.3.6.1.4.1.57264.1.1=DER:${Buffer.from(issuer).toString("hex")}`,
      `1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:${issuer}`,
      ...(request.extra === undefined ? [] : [request.extra]),
    ];
    const from = request.from ?? "intermediate";
    this.#make(name, { extensions, from, ...(request.days === undefined ? {} : { days: request.days }) });
    return { pem: this.#read(`${name}.crt`), chain: `${this.intermediate}${this.root}` };
  }

  #make(
    name: string,
    {
      ca = false,
      from = name,
      extensions = [],
      days = 10,
    }: { ca?: boolean; from?: string; extensions?: string[]; days?: number },
  ): void {
    const key = join(this.#dir, `${name}.key`);
    if (ca) this.#openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key);
    const all = ca
      ? ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
      : ["keyUsage=critical,digitalSignature", ...extensions];
    writeFileSync(join(this.#dir, "ext"), `[e]\n${all.join("\n")}\n`);
    this.#openssl("req", "-new", "-key", key, "-subj", `/O=test/CN=${name}`, "-out", join(this.#dir, "csr"));
    const issuer =
      from === name
        ? ["-signkey", key]
        : [
            "-CA",
            join(this.#dir, `${from}.crt`),
            "-CAkey",
            join(this.#dir, `${from}.key`),
            "-CAcreateserial",
          ];
    const request = ["x509", "-req", "-in", join(this.#dir, "csr"), "-days", String(days), "-sha256"];
    const out = [
      "-extfile",
      join(this.#dir, "ext"),
      "-extensions",
      "e",
      "-out",
      join(this.#dir, `${name}.crt`),
    ];
    this.#openssl(...request, ...issuer, ...out);
  }

  #openssl(...args: string[]): void {
    const { exitCode, stderr } = Bun.spawnSync(["openssl", ...args], { stdout: "ignore", stderr: "pipe" });
    if (exitCode !== 0) throw new Error(`openssl ${args[0]}: ${stderr.toString()}`);
  }

  #read(name: string): string {
    return readFileSync(join(this.#dir, name), "latin1");
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

export interface StoredDocument {
  mediaType: string;
  bytes: Uint8Array;
}

/** The manifest that cosign keeps under `sha256-HEX.sig`, with its blobs. */
export function attachedManifest(attachments: Attachment[]): { manifest: object; blobs: Uint8Array[] } {
  const config = Buffer.from(
    JSON.stringify({ architecture: "", os: "", config: {}, rootfs: { type: "layers", diff_ids: [] } }),
  );
  const layers = attachments.map(({ payload, annotations }) => ({
    ...described(payload, PAYLOAD_TYPE),
    annotations,
  }));
  return {
    manifest: {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: described(config, "application/vnd.oci.image.config.v1+json"),
      layers,
    },
    blobs: [config, ...attachments.map((one) => one.payload)],
  };
}

/** The manifest that cosign 3 attaches to a subject, with its blobs. */
export function bundleManifest(
  bundle: object | string,
  subject: { mediaType: string; digest: string; size: number },
): { manifest: object; blobs: Uint8Array[] } {
  const bytes = Buffer.from(typeof bundle === "string" ? bundle : JSON.stringify(bundle));
  const empty = Buffer.from("{}");
  return {
    manifest: {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      artifactType: BUNDLE_TYPE,
      config: described(empty, "application/vnd.oci.empty.v1+json"),
      layers: [described(bytes, BUNDLE_TYPE)],
      subject,
      annotations: {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": SIGN_TYPE,
      },
    },
    blobs: [empty, bytes],
  };
}

function described(
  bytes: Uint8Array,
  mediaType: string,
): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: `sha256:${sha256(bytes).toString("hex")}`, size: bytes.length };
}
